//! The block allocation table of an image being written.

use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, Output, SECTOR, StepSink};

use crate::raw::{ENTRY_LEN, UNUSED};

/// How many entries are kept until they are written: blocks of 2 MiB for 32 GiB.
const CHUNK: u64 = 16 << 10;

/// A block allocation table being written: in ascending order, so that what lies behind can go.
#[derive(Debug)]
pub(crate) struct TableWriter {
    /// The byte offset of the table in the file.
    at: u64,
    entries: u64,
    /// How many entries have been written: whole chunks.
    written: u64,
    /// Entries as they will be written, from `written` on. Those behind its end are unused.
    chunk: Vec<u8>,
}

impl TableWriter {
    /// A table at byte `at` with `entries` entries, all unused.
    pub(crate) const fn new(at: u64, entries: u64) -> Self {
        Self { at, entries, written: 0, chunk: Vec::new() }
    }

    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    /// Sets entry `index`, which lies behind all that were set before, to the sector where its block is.
    pub(crate) fn set<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        index: u64,
        sector: u64,
    ) -> Result<(), Error> {
        while index >= self.written + CHUNK {
            self.write_chunk(output, CHUNK)?;
        }
        let no_room = Error::new(ErrorKind::TooLarge, self.at, "a block beyond the block allocation table");
        let sector = u32::try_from(sector).ok().filter(|&sector| sector != UNUSED).ok_or(no_room)?;
        self.fill_to(index - self.written);
        self.chunk.extend_from_slice(&sector.to_be_bytes());
        Ok(())
    }

    /// Writes the rest of the table, to the end of its last sector.
    pub(crate) fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        while self.written < self.entries {
            let left = self.entries - self.written;
            self.write_chunk(output, left.next_multiple_of(SECTOR / ENTRY_LEN).min(CHUNK))?;
        }
        Ok(())
    }

    fn write_chunk<S: StepSink>(&mut self, output: &Output<'_, S>, entries: u64) -> Result<(), Error> {
        self.fill_to(entries);
        let dst = self.at + self.written * ENTRY_LEN;
        output.write(dst, &self.chunk)?;
        self.written += entries;
        self.chunk.clear();
        Ok(())
    }

    /// Marks as unused what is left of the first `entries` entries of the chunk.
    fn fill_to(&mut self, entries: u64) {
        let len = usize::try_from(entries.min(CHUNK) * ENTRY_LEN).unwrap_or(usize::MAX);
        // Never shorter: entries are set in ascending order.
        self.chunk.resize(len.max(self.chunk.len()), 0xff);
    }
}
