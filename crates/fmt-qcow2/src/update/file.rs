//! The image file while it is changed: what is read of it, what is done to it, and what waits for what.

use fmt_core::{Error, FileId, Output, ReadAt, Source, StepSink};

/// The image file.
///
/// Steps that wait for none of the others are *unsettled*: whoever takes them may do so in any order. A read sees all
/// steps before it, so it settles them.
#[derive(Debug)]
pub(super) struct File<'s, R, S> {
    image: &'s R,
    output: Output<'s, S>,
    /// What the file has for certain: its length to begin with, or the end of the last step behind that.
    end: u64,
    unsettled: bool,
}

impl<'s, R: ReadAt, S: StepSink> File<'s, R, S> {
    /// The file `file`, which `image` reads, and which never needs more than `max_len` bytes.
    pub(super) fn new(image: &'s R, sink: &'s S, file: FileId, max_len: u64) -> Self {
        let end = image.file_len();
        Self { image, output: Output::resume(sink, file, end, max_len), end, unsettled: false }
    }

    pub(super) fn id(&self) -> FileId {
        self.output.file
    }

    /// How many bytes the file has for certain.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Reads what lies at byte `at`: zeros where the file has ended.
    pub(super) fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let (there, beyond) = bytes.split_at_mut(left.min(bytes.len()));
        beyond.fill(0);
        if !there.is_empty() {
            self.image.read_exact_at(at, there)?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Waits for all steps so far.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        if self.unsettled { self.read(0, &mut [0]) } else { Ok(()) }
    }

    /// Writes `bytes` of a table at byte `dst`.
    pub(super) fn write(&mut self, dst: u64, bytes: &[u8]) -> Result<(), Error> {
        self.reach(dst, bytes.len() as u64)?;
        self.output.write(dst, bytes)
    }

    /// Writes `len` bytes of `source` at byte `dst`, if that is any.
    pub(super) fn fill(&mut self, dst: u64, len: u64, source: Source) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        self.reach(dst, len)?;
        self.output.fill(dst, len, source)
    }

    /// Makes room for a step. Places in the file are below 2<sup>57</sup>.
    fn reach(&mut self, dst: u64, len: u64) -> Result<(), Error> {
        self.output.reserve(dst + len)?;
        self.end = self.end.max(dst + len);
        self.unsettled = true;
        Ok(())
    }

    /// Cuts off what the file was made longer by and was not needed.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.output.finish(self.end)
    }
}
