//! The output files as writers see them.

use core::ops::{Range, RangeInclusive};

use fmt_core::{Error, FileId, Source, Step, StepSink};

/// How much longer a file becomes at least when it is too short, in bytes: an eighth, within these bounds. Each time,
/// all that was said before is waited for; and what is more than is needed may be more than a device has.
const GROWTH: RangeInclusive<u64> = (4 << 20)..=(64 << 30);

/// An output file.
#[derive(Debug)]
pub(crate) struct Output<'s, S> {
    pub(crate) sink: &'s S,
    pub(crate) file: FileId,
    /// Its length so far in bytes.
    len: u64,
    /// The length that it will not need to exceed.
    max_len: u64,
}

impl<'s, S: StepSink> Output<'s, S> {
    /// A file that is `len` bytes long at first.
    pub(crate) fn begin(sink: &'s S, file: FileId, len: u64, max_len: u64) -> Result<Self, Error> {
        sink.step(Step::SetLen { file, len })?;
        Ok(Self { sink, file, len, max_len })
    }

    /// Makes the file at least `len` bytes long.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<(), Error> {
        if len <= self.len {
            return Ok(());
        }
        let more = (self.len / 8).clamp(*GROWTH.start(), *GROWTH.end());
        self.set_len(self.len.saturating_add(more).min(self.max_len).max(len))
    }

    pub(crate) fn write(&self, dst: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sink.step(Step::Write { file: self.file, dst, bytes })
    }

    pub(crate) fn fill(&self, dst: u64, len: u64, source: Source) -> Result<(), Error> {
        self.sink.step(Step::Fill { file: self.file, dst, len, source })
    }

    /// Writes zeros over `range` of the file, if there is any of it.
    pub(crate) fn zero(&self, range: Range<u64>) -> Result<(), Error> {
        match range.end.saturating_sub(range.start) {
            0 => Ok(()),
            len => self.fill(range.start, len, Source::Zero),
        }
    }

    /// Ends with a file of `len` bytes.
    pub(crate) fn finish(mut self, len: u64) -> Result<(), Error> {
        self.set_len(len)
    }

    fn set_len(&mut self, len: u64) -> Result<(), Error> {
        if len == self.len {
            return Ok(());
        }
        self.len = len;
        self.sink.step(Step::SetLen { file: self.file, len })
    }
}
