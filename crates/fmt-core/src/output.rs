//! An output file as writers see it.

use core::cell::Cell;

use crate::{Error, FileId, Growth, Source, Step, StepSink};

/// An output file: where its steps go, its number, and its length.
#[derive(Debug)]
pub struct Output<'s, S> {
    /// Whoever takes the steps.
    pub sink: &'s S,
    /// The file.
    pub file: FileId,
    growth: Cell<Growth>,
}

impl<'s, S: StepSink> Output<'s, S> {
    /// A file that is `len` bytes long at first, and never needs more than `max_len`.
    ///
    /// # Errors
    ///
    /// Those of the sink, as for everything here.
    pub fn begin(sink: &'s S, file: FileId, len: u64, max_len: u64) -> Result<Self, Error> {
        Ok(Self { sink, file, growth: Cell::new(Growth::begin(sink, file, len, max_len)?) })
    }

    /// A file that is there already, of `len` bytes, which never needs more than `max_len`.
    pub const fn resume(sink: &'s S, file: FileId, len: u64, max_len: u64) -> Self {
        Self { sink, file, growth: Cell::new(Growth::resume(file, len, max_len)) }
    }

    /// Makes the file at least `len` bytes long.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn reserve(&self, len: u64) -> Result<(), Error> {
        let mut growth = self.growth.get();
        growth.reserve(self.sink, len)?;
        self.growth.set(growth);
        Ok(())
    }

    /// Ends with a file of `len` bytes.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn finish(&self, len: u64) -> Result<(), Error> {
        self.growth.get().finish(self.sink, len)
    }

    /// Writes `bytes` at byte `dst`.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn write(&self, dst: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sink.step(Step::Write { file: self.file, dst, bytes })
    }

    /// Writes `len` bytes of `source` at byte `dst`.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn fill(&self, dst: u64, len: u64, source: Source) -> Result<(), Error> {
        self.sink.step(Step::Fill { file: self.file, dst, len, source })
    }

    /// Writes `len` zeros at byte `dst`, if that is any.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn zero(&self, dst: u64, len: u64) -> Result<(), Error> {
        if len == 0 { Ok(()) } else { self.fill(dst, len, Source::Zero) }
    }
}
