//! The blocks of a dynamic or differencing image, and where its tables say they are.

use fmt_core::{Error, ErrorKind, Extent, FileId, ReadAt, SECTOR, Source, Window};

use crate::header::Header;
use crate::raw::{ENTRY_LEN, UNUSED};

/// How much of the block allocation table is kept: what describes 32 GiB of blocks of 2 MiB.
const TABLE_WINDOW: usize = 64 << 10;

/// How much of a bitmap is kept: that of a block of 2 MiB is one sector.
const BITMAP_WINDOW: usize = 4 << 10;

/// The tables of an image, through windows.
#[derive(Debug)]
pub(crate) struct Blocks {
    header: Header,
    /// Where the last block, the table and the header end in the file.
    end: u64,
    table: Window,
    bitmap: Window,
}

impl Blocks {
    /// The blocks that `header` describes, once every entry of the table has been found to lead into the file.
    ///
    /// `qemu-img` opens no other image; and whoever is about to overwrite something learns of it before.
    pub(crate) fn open<S: ReadAt + ?Sized>(source: &S, header: Header) -> Result<Self, Error> {
        let (end, table) = (header.end(), Window::new(TABLE_WINDOW));
        let mut blocks = Self { header, end, table, bitmap: Window::new(BITMAP_WINDOW) };
        let mut index = 0;
        while index < blocks.header.entries() {
            index = blocks.check_window(source, index)?;
        }
        Ok(blocks)
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// The byte offset in the file behind all blocks, the table and the header, in whole sectors.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// The extent that holds byte `at` of a disk of `size` bytes, where `at` lies.
    pub(crate) fn extent_at<S: ReadAt + ?Sized>(
        &mut self,
        source: &S,
        file: FileId,
        at: u64,
        size: u64,
    ) -> Result<Extent, Error> {
        let block_size = self.header.block_size();
        let index = at / block_size;
        let place = self.header.entry_at(index);
        let entry = self.table.be_u32(source, place)?;
        let start = index * block_size;
        let extent = if entry == UNUSED {
            let unused = self.unused_entries(source, place)?;
            Extent { start, len: unused.saturating_mul(block_size), source: self.elsewhere() }
        } else {
            let block = self.header.block_at(entry, source.file_len());
            let block = block.map_err(|what| Error::new(ErrorKind::Corrupt, place, what))?;
            let offset = block + self.header.bitmap_len();
            let whole = Extent { start, len: block_size, source: Source::Data { file, offset } };
            if self.is_differencing() { self.sectors_at(source, block, whole, at)? } else { whole }
        };
        // `at` lies in the extent and on the disk, so something is left.
        Ok(Extent { len: extent.len.min(size - extent.start), ..extent })
    }

    /// Checks the entries in the window that begins with entry `index`, and returns the first behind it.
    fn check_window<S: ReadAt + ?Sized>(&mut self, source: &S, index: u32) -> Result<u32, Error> {
        let place = self.header.entry_at(index.into());
        let bytes = self.table.look(source, place, size_of::<u32>())?;
        let mut next = index;
        for entry in entries(bytes) {
            if next == self.header.entries() {
                break;
            }
            if entry != UNUSED {
                let at = place + u64::from(next - index) * ENTRY_LEN;
                let block = self.header.block_at(entry, source.file_len());
                let block = block.map_err(|what| Error::new(ErrorKind::Corrupt, at, what))?;
                self.end = self.end.max(block + self.header.stride());
            }
            next += 1;
        }
        Ok(next)
    }

    /// How many entries from byte `place` on are unused, as far as the window shows.
    fn unused_entries<S: ReadAt + ?Sized>(&mut self, source: &S, place: u64) -> Result<u64, Error> {
        let bytes = self.table.look(source, place, size_of::<u32>())?;
        Ok(entries(bytes).take_while(|&entry| entry == UNUSED).count() as u64)
    }

    /// The sectors around byte `at` of the disk that come from one place, the block or the parent, in the extent
    /// `whole` of a block whose bitmap is at byte `bitmap`.
    ///
    /// Section "Differencing Hard Disk Images": a bit is 1 where the sector was written to this image. The first
    /// sector has the highest bit of the first byte.
    fn sectors_at<S: ReadAt + ?Sized>(
        &mut self,
        source: &S,
        bitmap: u64,
        whole: Extent,
        at: u64,
    ) -> Result<Extent, Error> {
        let sector = (at - whole.start) / SECTOR;
        let bytes = self.bitmap.look(source, bitmap + sector / 8, 1)?;
        let (here, run) = run_of_bits(bytes, (sector % 8) as u32);
        let skip = sector * SECTOR;
        let origin = if here { whole.source.after(skip) } else { self.elsewhere() };
        // The bits behind the block's last one fill a sector, and what follows them may be seen too.
        let len = run.saturating_mul(SECTOR).min(whole.len - skip);
        Ok(Extent { start: whole.start + skip, len, source: origin })
    }

    /// Where the bytes are that are not in this image.
    fn elsewhere(&self) -> Source {
        if self.is_differencing() { Source::Unallocated } else { Source::Zero }
    }

    fn is_differencing(&self) -> bool {
        self.header.parent().is_some()
    }
}

/// The whole entries in `bytes`.
fn entries(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (entries, _) = bytes.as_chunks();
    entries.iter().copied().map(u32::from_be_bytes)
}

/// The bit of `bytes` behind the first `skip`, which are less than eight, and how many are like it from there on.
fn run_of_bits(bytes: &[u8], skip: u32) -> (bool, u64) {
    let first = bytes.first().copied().unwrap_or_default();
    let set = (first << skip).leading_ones() > 0;
    let mut run = 0;
    let mut skip = skip;
    for &byte in bytes {
        let alike = if set { byte } else { !byte };
        // Shifting brings in zeros, which end the run.
        let ones = (alike << skip).leading_ones();
        run += u64::from(ones);
        if ones < 8 - skip {
            break;
        }
        skip = 0;
    }
    (set, run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_begin_with_the_highest() {
        assert_eq!(run_of_bits(&[0b1000_0000], 0), (true, 1));
        assert_eq!(run_of_bits(&[0b1000_0000], 1), (false, 7));
        assert_eq!(run_of_bits(&[0b0001_1100], 3), (true, 3));
        assert_eq!(run_of_bits(&[0b0000_0001, 0xff, 0b1100_0000], 7), (true, 11));
        assert_eq!(run_of_bits(&[0b0000_0001, 0xff, 0b1100_0000], 0), (false, 7));
        assert_eq!(run_of_bits(&[0xff; 9], 2), (true, 70));
        assert_eq!(run_of_bits(&[0; 9], 0), (false, 72));
    }
}
