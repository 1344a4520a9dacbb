//! The output files as writers see them.

use core::ops::Range;

use fmt_core::{Error, FileId, Growth, Source, Step, StepSink};

/// An output file.
#[derive(Debug)]
pub(crate) struct Output<'s, S> {
    pub(crate) sink: &'s S,
    pub(crate) file: FileId,
    growth: Growth,
}

impl<'s, S: StepSink> Output<'s, S> {
    /// A file that is `len` bytes long at first, and never needs more than `max_len`.
    pub(crate) fn begin(sink: &'s S, file: FileId, len: u64, max_len: u64) -> Result<Self, Error> {
        Ok(Self { sink, file, growth: Growth::begin(sink, file, len, max_len)? })
    }

    /// Makes the file at least `len` bytes long.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<(), Error> {
        self.growth.reserve(self.sink, len)
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
    pub(crate) fn finish(self, len: u64) -> Result<(), Error> {
        self.growth.finish(self.sink, len)
    }
}
