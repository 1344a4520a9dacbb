//! Tables on their way into the output file, and the file as writers see it.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::RangeInclusive;

use fmt_core::{Error, ErrorKind, FileId, Source, Step, StepSink};

/// How many bytes of a table are held before they are written.
pub(crate) const PIECE_LEN: usize = 64 << 10;

/// How much longer a file becomes at least when it is too short, in bytes: an eighth, within these bounds. Each time,
/// all that was said before is waited for; and what is more than is needed may be more than a device has.
const GROWTH: RangeInclusive<u64> = (4 << 20)..=(64 << 30);

/// An output file.
#[derive(Debug)]
pub(crate) struct Output<'s, S> {
    pub(crate) sink: &'s S,
    pub(crate) file: FileId,
    /// Its length so far in bytes, once it has one.
    len: Cell<Option<u64>>,
    /// The length that it will not need to exceed.
    max_len: u64,
}

impl<'s, S: StepSink> Output<'s, S> {
    /// A file that has no length yet.
    pub(crate) fn new(sink: &'s S, file: FileId, max_len: u64) -> Self {
        Self { sink, file, len: Cell::new(None), max_len }
    }

    /// Makes the file `len` bytes long, unless it is.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Error> {
        if self.len.replace(Some(len)) == Some(len) {
            return Ok(());
        }
        self.sink.step(Step::SetLen { file: self.file, len })
    }

    /// Makes the file at least `len` bytes long.
    pub(crate) fn reserve(&self, len: u64) -> Result<(), Error> {
        let has = self.len.get().unwrap_or(0);
        if len <= has {
            return Ok(());
        }
        let more = (has / 8).clamp(*GROWTH.start(), *GROWTH.end());
        self.set_len(has.saturating_add(more).min(self.max_len).max(len))
    }

    pub(crate) fn write(&self, dst: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sink.step(Step::Write { file: self.file, dst, bytes })
    }

    pub(crate) fn zero(&self, dst: u64, len: u64) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        self.sink.step(Step::Fill { file: self.file, dst, len, source: Source::Zero })
    }
}

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
