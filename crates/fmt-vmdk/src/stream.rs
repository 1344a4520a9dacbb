//! A stream-optimized extent as it is written.
//!
//! *Virtual Disk Format 5.0* (VMware), "Stream-Optimized Compressed Sparse Extents":
//!
//! ```text
//! header, descriptor            up to the first grain
//! marker, compressed grain      each up to the next sector, in the order of the disk
//! marker, grain table           behind the grains that it is about
//! marker, grain directory
//! marker, footer                the header, with the directory's place
//! marker                        the end
//! ```
//!
//! `qemu-img` reads this, and writes another form: tables before the grains, and no footer.

use alloc::vec::Vec;
use core::fmt;

use fmt_core::{Error, ErrorKind, Extent, FileId, Output, SECTOR, Source, StepSink};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::head;
use crate::layout::{GRAIN_LEN, GTES_PER_GT, STREAM_GRAINS_AT, TABLE_LEN};
use crate::limits::MAX_FILE_LEN;
use crate::raw::{GTE_ZERO, GrainMarker, MARKER_DIRECTORY, MARKER_TABLE, MetadataMarker};
use crate::sparse::{GrainZeros, Manner, TOO_MANY_GRAINS};
use crate::tables::CHUNK;

/// How many bytes of the disk a grain table is about.
const COVERED: u64 = GTES_PER_GT * GRAIN_LEN;

/// The longest compressed grain: what readers take, its marker included, is two grains.
const MAX_PACKED_LEN: u64 = 2 * GRAIN_LEN - size_of::<GrainMarker>() as u64;

/// A stream being written. It holds one grain table, and of the grain directory a chunk for each 512 GiB of the disk in
/// which there is a grain.
pub(crate) struct Stream<'s, S> {
    tail: Tail<'s, S>,
    /// The size of the disk in bytes, in whole sectors.
    size: u64,
    manner: Manner,
    /// The grain table that the last grain belongs to, and its number.
    table: Vec<u8>,
    table_index: u64,
    /// The grain directory, in chunks. Those that have no entry are empty.
    directory: Vec<Vec<u8>>,
}

impl<'s, S: StepSink> Stream<'s, S> {
    /// Begins a disk of `size` bytes, in whole sectors, in the output `file`, which ends where grains begin.
    pub(crate) fn begin(
        sink: &'s S,
        file: FileId,
        size: u64,
        manner: Manner,
        descriptor: &[u8],
    ) -> Result<Self, Error> {
        let mut tail = Tail {
            output: Output::resume(sink, file, STREAM_GRAINS_AT, MAX_FILE_LEN),
            at: 0,
            bytes: Vec::new(),
        };
        tail.put(&head::stream(size, manner.zeroed_grain, descriptor))?;
        Ok(Self { tail, size, manner, table: Vec::new(), table_index: 0, directory: Vec::new() })
    }

    /// Writes zeros. Everything else has to come compressed, and so have zeros that share a grain with other bytes.
    pub(crate) fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let whole = |at: u64| at.is_multiple_of(GRAIN_LEN);
        let last = self.size.saturating_sub(extent.end()) < SECTOR;
        match extent.source {
            Source::Zero if self.manner.zeros == GrainZeros::Absent => return Ok(()),
            Source::Zero if whole(extent.start) && (whole(extent.end()) || last) => {}
            _ => {
                let what = "a grain that is not compressed, in a stream-optimized VMDK";
                return Err(Error::new(ErrorKind::UnsupportedFeature, extent.start, what));
            }
        }
        for grain in extent.start / GRAIN_LEN..extent.end().div_ceil(GRAIN_LEN) {
            if self.manner.zeros == GrainZeros::Marked {
                self.enter(grain)?;
                set_entry(&mut self.table, grain % GTES_PER_GT, GTE_ZERO)?;
            } else {
                self.grain(grain, ZERO_GRAIN.len() as u64, |tail| tail.put(&ZERO_GRAIN))?;
            }
        }
        Ok(())
    }

    /// Writes the grain that begins at byte `start` of the disk, and was compressed to the `len` bytes at `source`.
    pub(crate) fn packed(&mut self, start: u64, source: Source, len: u64) -> Result<(), Error> {
        if len == 0 || len > MAX_PACKED_LEN {
            return Err(Error::new(ErrorKind::TooLarge, start, "a compressed grain"));
        }
        self.grain(start / GRAIN_LEN, len, |tail| tail.fill(len, source))
    }

    /// Writes a grain: its marker, and the `len` bytes that `put` writes.
    fn grain(
        &mut self,
        grain: u64,
        len: u64,
        put: impl FnOnce(&mut Tail<'s, S>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The table before it may come first.
        self.enter(grain)?;
        set_entry(&mut self.table, grain % GTES_PER_GT, self.tail.sector()?)?;
        let size = u32::try_from(len).map_err(|_| TOO_MANY_GRAINS)?;
        let marker = GrainMarker { lba: U64::new(grain * (GRAIN_LEN / SECTOR)), size: U32::new(size) };
        self.tail.put(marker.as_bytes())?;
        put(&mut self.tail)?;
        self.tail.pad()
    }

    /// Makes the table of this grain the one that entries are put into. The one before is written if it is another.
    fn enter(&mut self, grain: u64) -> Result<(), Error> {
        let index = grain / GTES_PER_GT;
        if index != self.table_index {
            self.end_table()?;
            self.table_index = index;
        }
        Ok(())
    }

    /// Writes the table, unless it has no entry.
    fn end_table(&mut self) -> Result<(), Error> {
        if self.table.is_empty() {
            return Ok(());
        }
        self.tail.put(MetadataMarker::new(TABLE_LEN / SECTOR, MARKER_TABLE).as_bytes())?;
        let sector = self.tail.sector()?;
        self.tail.entries(&self.table, TABLE_LEN)?;
        self.table.clear();

        let (chunk, index) = (self.table_index * 4 / CHUNK, self.table_index % (CHUNK / 4));
        while self.directory.len() as u64 <= chunk {
            self.directory.push(Vec::new());
        }
        self.directory.last_mut().map_or(Ok(()), |entries| set_entry(entries, index, sector))
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.end_table()?;
        let mut left = self.size.div_ceil(COVERED) * 4;
        let sectors = left.div_ceil(SECTOR);
        self.tail.put(MetadataMarker::new(sectors, MARKER_DIRECTORY).as_bytes())?;
        let sector = self.tail.sector()?;
        for chunk in self.directory {
            let len = left.min(CHUNK);
            self.tail.entries(&chunk, len)?;
            left -= len;
        }
        self.tail.entries(&[], left)?;
        self.tail.pad()?;
        self.tail.put(head::footer(self.size, self.manner.zeroed_grain, sector).as_bytes())?;
        self.tail.finish()
    }
}

impl<S> fmt::Debug for Stream<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({} bytes, at table {})", self.tail.end(), self.table_index)
    }
}

/// Puts the entry `index` behind those that the table has, and zeros between them.
fn set_entry(table: &mut Vec<u8>, index: u64, entry: u32) -> Result<(), Error> {
    let at = usize::try_from(index * 4).map_err(|_| TOO_MANY_GRAINS)?;
    table.resize(at, 0);
    table.extend_from_slice(&entry.to_le_bytes());
    Ok(())
}

/// The end of a file that is written from front to back.
struct Tail<'s, S> {
    output: Output<'s, S>,
    /// Where `bytes` belong.
    at: u64,
    /// What has not been written yet.
    bytes: Vec<u8>,
}

impl<S: StepSink> Tail<'_, S> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() as u64 >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Puts the entries of a table, which has zeros behind them up to its length.
    fn entries(&mut self, entries: &[u8], len: u64) -> Result<(), Error> {
        self.put(entries)?;
        self.zeros(len.saturating_sub(entries.len() as u64))
    }

    /// Puts zeros: into the bytes, where they are few.
    fn zeros(&mut self, len: u64) -> Result<(), Error> {
        match usize::try_from(len) {
            Ok(few) if len <= TABLE_LEN => {
                self.bytes.resize(self.bytes.len() + few, 0);
                Ok(())
            }
            _ => self.fill(len, Source::Zero),
        }
    }

    fn fill(&mut self, len: u64, source: Source) -> Result<(), Error> {
        self.flush()?;
        let at = self.at;
        self.at = at.saturating_add(len);
        self.output.reserve(self.at)?;
        self.output.fill(at, len, source)
    }

    /// Puts zeros up to the next sector.
    fn pad(&mut self) -> Result<(), Error> {
        let end = self.end();
        self.zeros(end.next_multiple_of(SECTOR) - end)
    }

    /// The number of the sector that comes next.
    fn sector(&self) -> Result<u32, Error> {
        u32::try_from(self.end() / SECTOR).map_err(|_| TOO_MANY_GRAINS)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let end = self.end();
        self.output.reserve(end)?;
        self.output.write(self.at, &self.bytes)?;
        self.at = end;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        self.output.finish(self.at)
    }
}

impl<S> Tail<'_, S> {
    const fn end(&self) -> u64 {
        self.at.saturating_add(self.bytes.len() as u64)
    }
}

/// A grain of zeros, as a zlib stream: one block with codes of its own, and the sum.
const ZERO_GRAIN: [u8; 84] = {
    let mut stream = [0; 84];
    let (head, rest) = stream.split_at_mut(16);
    head.copy_from_slice(b"\x78\xda\xed\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08\x0a");
    let (_, end) = rest.split_at_mut(63);
    end.copy_from_slice(b"\x6a\0\x0f\0\x01");
    stream
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grain_of_zeros_is_one() {
        let grain = miniz_oxide::inflate::decompress_to_vec_zlib(&ZERO_GRAIN).unwrap();
        assert_eq!(grain, alloc::vec![0; 65_536]);
    }
}
