//! Grain directories and grain tables, as they are written.

use alloc::vec::Vec;
use core::fmt;

use fmt_core::{Error, ErrorKind, Output, SECTOR, StepSink};

use crate::layout::{Layout, TABLE_LEN};

/// How many bytes of tables are kept at most before they are written.
pub(crate) const CHUNK: u64 = 64 << 10;

/// Writes the grain directory at byte `at`, whose tables follow it.
pub(crate) fn write_directory<S: StepSink>(
    output: &Output<'_, S>,
    at: u64,
    layout: &Layout,
) -> Result<(), Error> {
    let first_table = at.saturating_add(layout.gd_len());
    let mut bytes = Vec::new();
    let mut dst = at;
    while dst < first_table {
        let end = dst.saturating_add(CHUNK).min(first_table);
        bytes.clear();
        for index in (dst - at) / 4..(end - at) / 4 {
            let table = first_table.saturating_add(index.saturating_mul(TABLE_LEN));
            let sector = if index < layout.tables { table / SECTOR } else { 0 };
            // Tables lie before grains, whose sectors are numbered in 32 bits.
            let sector = u32::try_from(sector).map_err(|_| TOO_LARGE)?;
            bytes.extend_from_slice(&sector.to_le_bytes());
        }
        output.write(dst, &bytes)?;
        dst = end;
    }
    Ok(())
}

const TOO_LARGE: Error = Error::new(ErrorKind::TooLarge, 0, "the grain tables");

/// The grain tables, taken as one long table, in two copies. Entries come in ascending order.
pub(crate) struct GrainTables {
    /// The byte offset of the first table of each copy.
    copies: [u64; 2],
    /// The length of all tables in bytes.
    len: u64,
    /// The tables' bytes from `chunk_at` on, as far as there are entries.
    chunk: Vec<u8>,
    /// A multiple of `CHUNK`.
    chunk_at: u64,
    /// Up to where the tables have been written, zeros left for later.
    written: u64,
}

impl GrainTables {
    pub(crate) const fn new(layout: &Layout) -> Self {
        let gd_len = layout.gd_len();
        Self {
            copies: [layout.rgd_at + gd_len, layout.gd_at + gd_len],
            len: layout.tables * TABLE_LEN,
            chunk: Vec::new(),
            chunk_at: 0,
            written: 0,
        }
    }

    /// Puts the entry of a grain: the sector of the file where it lies, or what else an entry can say.
    pub(crate) fn set<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        grain: u64,
        entry: u32,
    ) -> Result<(), Error> {
        let at = grain.saturating_mul(4);
        if at >= self.chunk_at.saturating_add(CHUNK) {
            self.flush(output)?;
            self.chunk_at = at - at % CHUNK;
        }
        let within = at.checked_sub(self.chunk_at).and_then(|within| usize::try_from(within).ok());
        let within = within.filter(|&within| within >= self.chunk.len());
        let order = Error::new(ErrorKind::Corrupt, grain, "extents out of order");
        self.chunk.resize(within.ok_or(order)?, 0);
        self.chunk.extend_from_slice(&entry.to_le_bytes());
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish<S: StepSink>(mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.flush(output)?;
        self.zero_to(output, self.len)
    }

    /// Writes the chunk, and the zeros before it.
    fn flush<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.zero_to(output, self.chunk_at)?;
        for copy in self.copies {
            let dst = copy.saturating_add(self.chunk_at);
            output.write(dst, &self.chunk)?;
        }
        self.written = self.chunk_at.saturating_add(self.chunk.len() as u64);
        self.chunk.clear();
        Ok(())
    }

    fn zero_to<S: StepSink>(&self, output: &Output<'_, S>, end: u64) -> Result<(), Error> {
        for copy in self.copies {
            output.zero(copy.saturating_add(self.written), end.saturating_sub(self.written))?;
        }
        Ok(())
    }
}

impl fmt::Debug for GrainTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrainTables({} bytes at {})", self.chunk.len(), self.chunk_at)
    }
}
