//! Where things lie in a sparse extent that is written: header, descriptor, the redundant grain directory and its
//! tables, the grain directory and its tables, grains. It is the layout that `qemu-img` writes.

use fmt_core::{Error, ErrorKind, SECTOR, round_up_to_sector};

use crate::limits::{MAX_DISK_LEN, MAX_EXTENTS, MAX_FILE_LEN, MAX_GD_ENTRIES, MAX_STREAM_LEN};
use crate::options::Subformat;

/// The length of a grain in bytes.
pub(crate) const GRAIN_LEN: u64 = 64 << 10;

/// How many entries a grain table has.
pub(crate) const GTES_PER_GT: u64 = 512;

/// The length of a grain table in bytes.
pub(crate) const TABLE_LEN: u64 = GTES_PER_GT * 4;

/// The length of the header and the embedded descriptor in bytes.
pub(crate) const HEAD_LEN: u64 = SECTOR + DESCRIPTOR_LEN;

/// The length of the embedded descriptor's place in bytes.
pub(crate) const DESCRIPTOR_LEN: u64 = 20 * SECTOR;

/// The first grain of a stream.
pub(crate) const STREAM_GRAINS_AT: u64 = GRAIN_LEN;

/// The largest disk in bytes: one whose grain directory is as long as readers allow.
pub(crate) const MAX_LEN: u64 = MAX_GD_ENTRIES * GTES_PER_GT * GRAIN_LEN;

/// The size of a disk of at least `size` bytes, in whole sectors, if the subformat can hold it.
pub(crate) fn disk_size(size: u64, subformat: Subformat) -> Result<u64, Error> {
    if size == 0 {
        // Readers take a capacity of 0 for a header that only points to a descriptor.
        return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "a VMDK of an empty disk"));
    }
    let max_len = match subformat {
        Subformat::MonolithicSparse => MAX_LEN,
        Subformat::StreamOptimized => MAX_STREAM_LEN,
        Subformat::MonolithicFlat | Subformat::TwoGbMaxExtentSparse | Subformat::TwoGbMaxExtentFlat => {
            MAX_DISK_LEN
        }
    };
    let size = round_up_to_sector(size).filter(|&size| size <= max_len).ok_or(TOO_LARGE)?;
    parts(size, subformat)?;
    Ok(size)
}

const TOO_LARGE: Error = Error::new(ErrorKind::TooLarge, 0, "the disk, for a VMDK of this kind");

/// How many extents a disk of `size` bytes consists of.
pub(crate) fn parts(size: u64, subformat: Subformat) -> Result<u32, Error> {
    let parts = size.div_ceil(subformat.part_len());
    u32::try_from(parts).ok().filter(|&parts| parts as usize <= MAX_EXTENTS).ok_or(TOO_LARGE)
}

/// How many bytes of a disk of `size` bytes the extent `index`, counted from 0, has.
pub(crate) fn part_len(size: u64, subformat: Subformat, index: u32) -> u64 {
    let start = subformat.part_len().saturating_mul(index.into());
    subformat.part_len().min(size.saturating_sub(start))
}

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
    /// The layout of an extent of `size` bytes, in whole sectors, [`MAX_LEN`] at most.
    pub(crate) const fn new(size: u64) -> Self {
        // All numbers are far below 2^50.
        let tables = size.div_ceil(GRAIN_LEN * GTES_PER_GT);
        let gd_len = (tables * 4).next_multiple_of(SECTOR);
        let rgd_at = HEAD_LEN;
        let gd_at = rgd_at + gd_len + tables * TABLE_LEN;
        let tables_end = gd_at + gd_len + tables * TABLE_LEN;
        Self { size, tables, rgd_at, gd_at, tables_end, grains_at: tables_end.next_multiple_of(GRAIN_LEN) }
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
    use alloc::vec::Vec;

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
            let layout = Layout::new(size);
            let found = (layout.rgd_at / SECTOR, layout.gd_at / SECTOR, layout.grains_at / SECTOR);
            assert_eq!(found, (21, gd, grains), "{size}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        let sparse = |size| disk_size(size, Subformat::MonolithicSparse).map_err(|error| error.kind);
        assert_eq!(sparse(0), Err(ErrorKind::UnsupportedFeature));
        assert_eq!(sparse(1), Ok(512));
        assert_eq!(sparse(MAX_LEN), Ok(MAX_LEN));
        assert_eq!(Layout::new(MAX_LEN).tables, MAX_GD_ENTRIES);
        assert!(Layout::new(MAX_LEN).grains_at < MAX_FILE_LEN);
        for (subformat, max_len) in [
            (Subformat::MonolithicSparse, 1 << 50),
            (Subformat::MonolithicFlat, MAX_DISK_LEN),
            (Subformat::TwoGbMaxExtentSparse, 8 << 40),
            (Subformat::TwoGbMaxExtentFlat, 8 << 40),
            (Subformat::StreamOptimized, 64 << 40),
        ] {
            assert_eq!(disk_size(max_len, subformat), Ok(max_len));
            for size in [max_len + 1, u64::MAX] {
                assert_eq!(disk_size(size, subformat).unwrap_err().kind, ErrorKind::TooLarge);
            }
        }
    }

    #[test]
    fn a_disk_is_split_every_two_gigabytes() {
        let lens = |size| {
            let split = Subformat::TwoGbMaxExtentFlat;
            (0..parts(size, split).unwrap()).map(|index| part_len(size, split, index)).collect::<Vec<_>>()
        };
        assert_eq!(lens(512), [512]);
        assert_eq!(lens(2 << 30), [2 << 30]);
        assert_eq!(lens((4 << 30) + 512), [2 << 30, 2 << 30, 512]);
        assert_eq!(part_len(5 << 30, Subformat::MonolithicFlat, 0), 5 << 30);
    }
}
