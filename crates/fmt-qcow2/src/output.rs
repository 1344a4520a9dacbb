//! The output files, and tables on their way into them.

use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, Output, StepSink};

/// How many bytes of a table are held before they are written.
pub(crate) const PIECE_LEN: usize = 64 << 10;

/// The output files.
#[derive(Debug)]
pub(crate) struct Outputs<'s, S> {
    /// The image, which has the tables.
    pub(crate) image: Output<'s, S>,
    /// The external data file.
    pub(crate) data: Option<Output<'s, S>>,
}

impl<'s, S> Outputs<'s, S> {
    /// The file that has the disk's bytes.
    pub(crate) fn data(&self) -> &Output<'s, S> {
        self.data.as_ref().unwrap_or(&self.image)
    }
}

/// A table of big-endian 64-bit entries, written in ascending order through a piece of bounded size. All of it is
/// written: entries that are left out are zeros.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The byte offset in the file of what has not been written yet.
    at: u64,
    /// The byte offset in the file where the table ends.
    end: u64,
    /// What is to be written at `at`.
    piece: Vec<u8>,
}

impl Table {
    /// A table of `len` bytes, a multiple of eight, at byte `at` of the file.
    pub(crate) fn new(at: u64, len: u64) -> Self {
        Self { at, end: at + len, piece: Vec::new() }
    }

    /// A new table, after the last one was finished.
    pub(crate) fn restart(&mut self, at: u64, len: u64) {
        (self.at, self.end) = (at, at + len);
    }

    /// Puts `entry` behind `skipped` zero entries.
    pub(crate) fn push<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        skipped: u64,
        entry: u64,
    ) -> Result<(), Error> {
        let next = self.at + self.piece.len() as u64;
        let needed = skipped.checked_add(1).and_then(|entries| entries.checked_mul(8));
        if needed.is_none_or(|needed| needed > self.end - next) {
            return Err(Error::new(ErrorKind::TooLarge, next, "a table that has no more room"));
        }
        self.skip(output, skipped * 8)?;
        self.piece.extend_from_slice(&entry.to_be_bytes());
        if self.piece.len() >= PIECE_LEN { self.flush(output) } else { Ok(()) }
    }

    /// Writes what is left, up to the end of the table.
    pub(crate) fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.flush(output)?;
        output.zero(self.at, self.end - self.at)?;
        self.at = self.end;
        Ok(())
    }

    /// Zeros of `len` bytes: in the piece, where they fit.
    fn skip<S: StepSink>(&mut self, output: &Output<'_, S>, len: u64) -> Result<(), Error> {
        let room = PIECE_LEN - self.piece.len();
        match usize::try_from(len) {
            Ok(len) if len < room => self.piece.resize(self.piece.len() + len, 0),
            _ => {
                self.flush(output)?;
                output.zero(self.at, len)?;
                self.at += len;
            }
        }
        Ok(())
    }

    fn flush<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        if !self.piece.is_empty() {
            output.write(self.at, &self.piece)?;
            self.at += self.piece.len() as u64;
            self.piece.clear();
        }
        Ok(())
    }
}
