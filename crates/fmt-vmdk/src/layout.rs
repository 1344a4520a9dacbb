//! Where things lie in a sparse extent that is written: header, descriptor, the redundant grain directory and its
//! tables, the grain directory and its tables, grains. It is the layout that `qemu-img` writes.

use fmt_core::{Error, ErrorKind, SECTOR, round_up_to_sector};

use crate::limits::{MAX_FILE_LEN, MAX_GD_ENTRIES};

/// The length of a grain in bytes.
pub(crate) const GRAIN_LEN: u64 = 64 << 10;

/// How many entries a grain table has.
pub(crate) const GTES_PER_GT: u64 = 512;

/// The length of a grain table in bytes.
pub(crate) const TABLE_LEN: u64 = GTES_PER_GT * 4;

/// The length of the header and the embedded descriptor in bytes.
pub(crate) const HEAD_LEN: u64 = SECTOR + DESCRIPTOR_SECTORS * SECTOR;

/// How many sectors the embedded descriptor has.
pub(crate) const DESCRIPTOR_SECTORS: u64 = 20;

/// The largest disk in bytes: one whose grain directory is as long as readers allow.
pub(crate) const MAX_LEN: u64 = MAX_GD_ENTRIES * GTES_PER_GT * GRAIN_LEN;

/// Where things lie. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The disk's size, in whole sectors.
    pub(crate) size: u64,
    /// How many grain tables there are.
    pub(crate) tables: u64,
    /// The redundant grain directory; its tables follow it at the next sector.
    pub(crate) rgd_at: u64,
    /// The grain directory; its tables follow it at the next sector.
    pub(crate) gd_at: u64,
    /// The end of the last grain table.
    pub(crate) tables_end: u64,
    /// The first grain.
    pub(crate) grains_at: u64,
}

impl Layout {
    /// The layout of a disk of `size` bytes, rounded up to whole sectors.
    pub(crate) fn new(size: u64) -> Result<Self, Error> {
        if size == 0 {
            // Readers take a capacity of 0 for a header that only points to a descriptor.
            return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "a VMDK of an empty disk"));
        }
        let size = round_up_to_sector(size).filter(|&size| size <= MAX_LEN);
        let size = size.ok_or(Error::new(ErrorKind::TooLarge, 0, "the disk, for a VMDK"))?;
        // From here on all numbers are far below 2^50.
        let tables = size.div_ceil(GRAIN_LEN * GTES_PER_GT);
        let gd_len = (tables * 4).next_multiple_of(SECTOR);
        let rgd_at = HEAD_LEN;
        let gd_at = rgd_at + gd_len + tables * TABLE_LEN;
        let tables_end = gd_at + gd_len + tables * TABLE_LEN;
        Ok(Self {
            size,
            tables,
            rgd_at,
            gd_at,
            tables_end,
            grains_at: tables_end.next_multiple_of(GRAIN_LEN),
        })
    }

    /// The distance from a directory to its first table.
    pub(crate) const fn gd_len(&self) -> u64 {
        (self.tables * 4).next_multiple_of(SECTOR)
    }

    /// The length of the file when every grain is allocated.
    pub(crate) const fn dense_len(&self) -> u64 {
        self.grains_at + self.size.next_multiple_of(GRAIN_LEN)
    }

    /// The most that the file can become: sectors are numbered in 32 bits.
    pub(crate) fn max_len(&self) -> u64 {
        self.dense_len().min(MAX_FILE_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured: headers of files that `qemu-img create` wrote.
    #[test]
    fn the_layout_is_that_of_qemu_img() {
        for (size, gd, grains) in [
            (1 << 20, 26, 128),
            (1_000_448, 26, 128),
            (32 << 20, 26, 128),
            (33 << 20, 30, 128),
            (1 << 30, 150, 384),
            (10 << 30, 1304, 2688),
            (100 << 30, 12846, 25728),
            (600 << 30, 76971, 153_984),
            (2 << 40, 262_677, 525_440),
        ] {
            let layout = Layout::new(size).unwrap();
            let found = (layout.rgd_at / SECTOR, layout.gd_at / SECTOR, layout.grains_at / SECTOR);
            assert_eq!(found, (21, gd, grains), "{size}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(Layout::new(0).unwrap_err().kind, ErrorKind::UnsupportedFeature);
        assert_eq!(Layout::new(1).unwrap().size, 512);
        assert_eq!(Layout::new(MAX_LEN).unwrap().tables, MAX_GD_ENTRIES);
        assert!(Layout::new(MAX_LEN).unwrap().grains_at < MAX_FILE_LEN);
        assert_eq!(Layout::new(MAX_LEN + 1).unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(Layout::new(u64::MAX).unwrap_err().kind, ErrorKind::TooLarge);
    }
}
