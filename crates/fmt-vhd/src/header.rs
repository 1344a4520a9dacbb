//! The dynamic disk header, checked: blocks, their allocation table, and the parent.

use fmt_core::{Error, ErrorKind, ReadAt, SECTOR};
use zerocopy::FromBytes;

use crate::footer::{DiskType, Footer, check_version};
use crate::parent::Parent;
use crate::raw::{self, ENTRY_LEN, FOOTER_LEN, HEADER_LEN};

/// The smallest block in bytes. The specification names none; below, tools do not agree whether a bitmap takes a
/// sector or none at all.
pub const MIN_BLOCK_SIZE: u32 = 4096;

/// The most entries of a block allocation table, as `qemu-img` has it.
const MAX_ENTRIES: u32 = i32::MAX as u32 / 4;

/// A checked dynamic disk header: its structures lie in the file, aligned and apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    at: u64,
    block_size: u32,
    table_offset: u64,
    entries: u32,
    parent: Option<Parent>,
}

impl Header {
    /// Reads the header that `footer`, the copy at the start of `source`, leads to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] for a header that contradicts itself, its footer or the file's length,
    /// [`ErrorKind::UnsupportedFeature`] for another version or blocks smaller than [`MIN_BLOCK_SIZE`], and those
    /// of reading.
    pub fn read<S: ReadAt + ?Sized>(source: &S, footer: &Footer) -> Result<Self, Error> {
        let at = footer.data_offset();
        let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
        // An offset that is wrong is the footer's mistake, at the start of the file.
        if !at.is_multiple_of(SECTOR) || at < FOOTER_LEN || !reaches(source, at, HEADER_LEN) {
            let what = "the footer leads to no place where a dynamic disk header can be";
            return Err(Error::new(ErrorKind::Corrupt, 0, what));
        }
        let mut bytes = [0; size_of::<raw::DynamicHeader>()];
        source.read_exact_at(at, &mut bytes)?;
        let header = raw::DynamicHeader::read_from_bytes(&bytes)
            .map_err(|_| corrupt("the dynamic disk header is too short"))?;
        if header.cookie != raw::HEADER_COOKIE {
            return Err(corrupt("there is no dynamic disk header where the footer leads to"));
        }
        if !header.is_sound() {
            return Err(corrupt("the checksum of the dynamic disk header is wrong"));
        }
        check_version(header.header_version.get(), at, "a dynamic disk header version other than 1")?;
        let header = Self {
            at,
            block_size: check_block_size(header.block_size.get(), at)?,
            table_offset: header.table_offset.get(),
            entries: header.max_table_entries.get(),
            parent: (footer.disk_type() == DiskType::Differencing).then(|| Parent::new(&header)),
        };
        header.check_table(source, footer.size())?;
        Ok(header)
    }

    fn check_table<S: ReadAt + ?Sized>(&self, source: &S, disk_size: u64) -> Result<(), Error> {
        let Self { at, table_offset, .. } = *self;
        let corrupt = |what| Err(Error::new(ErrorKind::Corrupt, at, what));
        if u64::from(self.entries) < disk_size.div_ceil(self.block_size()) {
            return corrupt("the block allocation table has fewer entries than the disk has blocks");
        }
        if self.entries > MAX_ENTRIES {
            return corrupt("the block allocation table has too many entries");
        }
        if !table_offset.is_multiple_of(SECTOR) {
            return corrupt("the block allocation table is not aligned to a sector");
        }
        if !reaches(source, table_offset, self.table_len()) {
            return corrupt("the block allocation table reaches beyond the end of the file");
        }
        let headers = [(0, FOOTER_LEN), (at, HEADER_LEN)];
        if headers.iter().any(|&place| overlap(place, (table_offset, self.table_len()))) {
            return corrupt("the block allocation table overlaps a header");
        }
        Ok(())
    }

    /// The length of a block in bytes, without its bitmap: a power of two, from [`MIN_BLOCK_SIZE`] to 2 GiB.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        u64::from(self.block_size)
    }

    /// The length in bytes of the bitmap before each block: one bit for each sector, in whole sectors.
    #[must_use]
    pub fn bitmap_len(&self) -> u64 {
        bitmap_len(self.block_size())
    }

    /// The byte offset of the block allocation table, a multiple of 512.
    #[must_use]
    pub const fn table_offset(&self) -> u64 {
        self.table_offset
    }

    /// How many entries the block allocation table has: at least one for each block of the disk.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// The parent, if the image is a differencing one.
    #[must_use]
    pub const fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// The length of the block allocation table in bytes.
    pub(crate) fn table_len(&self) -> u64 {
        u64::from(self.entries) * ENTRY_LEN
    }

    /// The byte offset of entry `index` of the block allocation table.
    pub(crate) fn entry_at(&self, index: u64) -> u64 {
        self.table_offset + index * ENTRY_LEN
    }

    /// The length of a block with its bitmap in bytes.
    pub(crate) fn stride(&self) -> u64 {
        self.bitmap_len() + self.block_size()
    }

    /// Where both the header and the block allocation table have ended, in whole sectors.
    pub(crate) fn end(&self) -> u64 {
        (self.at + HEADER_LEN).max(self.table_offset + self.table_len()).next_multiple_of(SECTOR)
    }

    /// The byte offset of the block, bitmap first, whose entry is `entry`; or why it cannot be there, in a file of
    /// `file_len` bytes.
    pub(crate) fn block_at(&self, entry: u32, file_len: u64) -> Result<u64, &'static str> {
        let start = u64::from(entry) * SECTOR;
        let block = (start, self.stride());
        if start + block.1 > file_len {
            return Err("a block reaches beyond the end of the file");
        }
        let others = [(0, FOOTER_LEN), (self.at, HEADER_LEN), (self.table_offset, self.table_len())];
        if others.iter().any(|&place| overlap(place, block)) {
            return Err("a block overlaps a header or the block allocation table");
        }
        Ok(start)
    }
}

/// The length in bytes of the bitmap of a block of `block_size` bytes: one bit for each sector, in whole sectors.
pub(crate) const fn bitmap_len(block_size: u64) -> u64 {
    block_size.div_ceil(8 * SECTOR).next_multiple_of(SECTOR)
}

fn check_block_size(block_size: u32, at: u64) -> Result<u32, Error> {
    if !block_size.is_power_of_two() {
        return Err(Error::new(ErrorKind::Corrupt, at, "the block size is not a power of two"));
    }
    if block_size < MIN_BLOCK_SIZE {
        return Err(Error::new(ErrorKind::UnsupportedFeature, at, "blocks of less than 4096 bytes"));
    }
    Ok(block_size)
}

/// Whether `len` bytes from byte `at` lie in the file.
fn reaches<S: ReadAt + ?Sized>(source: &S, at: u64, len: u64) -> bool {
    at.checked_add(len).is_some_and(|end| end <= source.file_len())
}

/// Whether two places, as byte offsets and lengths of places in a file, share a byte.
const fn overlap(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 < other.0 + other.1 && other.0 < one.0 + one.1
}
