//! The block allocation table: how it counts, and what an entry says.

use crate::raw::MIB;

/// The length of an entry in bytes.
pub const ENTRY_LEN: u64 = 8;

/// How many sectors one sector bitmap block describes (MS-VHDX section 2.4).
pub const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// The length of a sector bitmap block in bytes.
pub const BITMAP_LEN: u64 = MIB;

/// What an entry says about its payload block (MS-VHDX section 2.5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Nothing of it is in the file: the parent has it, or it reads as zeros.
    NotPresent,
    /// What it holds does not matter. It reads as zeros.
    Undefined,
    /// Zeros.
    Zero,
    /// It was given up. It reads as zeros.
    Unmapped,
    /// All of it is in the file.
    FullyPresent,
    /// The sector bitmap says which of its sectors are in the file, and which in the parent.
    PartiallyPresent,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatEntry(pub u64);

impl BatEntry {
    /// The bits of an entry that tell a byte offset in the file, in place.
    const OFFSET: u64 = !(MIB - 1);
    /// The bits of an entry that tell the state.
    const STATE: u64 = 7;
    const FULLY_PRESENT: u64 = 6;

    /// The entry of a block that nothing is said about, and of a sector bitmap block that is not in the file.
    pub const NOT_PRESENT: Self = Self(0);
    /// The entry of a block of zeros.
    pub const ZERO: Self = Self(2);

    /// The entry of a block that lies in the file at byte `offset`, a multiple of 1 MiB.
    #[must_use]
    pub const fn fully_present(offset: u64) -> Self {
        Self(offset & Self::OFFSET | Self::FULLY_PRESENT)
    }

    /// The state of the payload block, or `None` where the entry tells none that exists. An early draft of the format
    /// said 5 for unmapped.
    #[must_use]
    pub const fn state(self) -> Option<BlockState> {
        match self.0 & Self::STATE {
            0 => Some(BlockState::NotPresent),
            1 => Some(BlockState::Undefined),
            2 => Some(BlockState::Zero),
            3 | 5 => Some(BlockState::Unmapped),
            Self::FULLY_PRESENT => Some(BlockState::FullyPresent),
            7 => Some(BlockState::PartiallyPresent),
            _ => None,
        }
    }

    /// Whether the sector bitmap block is in the file, for an entry of one.
    #[must_use]
    pub const fn has_bitmap(self) -> bool {
        self.0 & Self::STATE == Self::FULLY_PRESENT
    }

    /// The byte offset of the block in the file.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 & Self::OFFSET
    }
}

/// How the table counts: after the entries of a chunk's payload blocks comes that of the chunk's sector bitmap block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatLayout {
    /// The length of a payload block in bytes.
    pub block_size: u64,
    /// How many payload blocks one sector bitmap block describes, a power of two.
    pub chunk_ratio: u64,
    /// How many payload blocks the disk has.
    pub blocks: u64,
}

impl BatLayout {
    /// The layout for a disk of `virtual_size` bytes. Block and sector size are powers of two, and checked: a chunk has at
    /// least one block, and no number here comes near 64 bits.
    #[must_use]
    pub const fn new(virtual_size: u64, block_size: u32, sector_size: u32) -> Self {
        let block_size = block_size as u64;
        let chunk_ratio = SECTORS_PER_BITMAP * sector_size as u64 / block_size;
        Self { block_size, chunk_ratio, blocks: virtual_size.div_ceil(block_size) }
    }

    /// The index of the entry of payload block `block`.
    #[must_use]
    pub const fn payload_index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }

    /// The index of the entry of the sector bitmap block that describes payload block `block`.
    #[must_use]
    pub const fn bitmap_index(&self, block: u64) -> u64 {
        (block / self.chunk_ratio + 1) * (self.chunk_ratio + 1) - 1
    }

    /// Whether entry `index` is that of a sector bitmap block.
    #[must_use]
    pub const fn is_bitmap(&self, index: u64) -> bool {
        index % (self.chunk_ratio + 1) == self.chunk_ratio
    }

    /// How many entries the table has: up to that of the last payload block, or, in a differencing file, that of the last
    /// sector bitmap block.
    #[must_use]
    pub const fn entries(&self, differencing: bool) -> u64 {
        match self.blocks.checked_sub(1) {
            None => 0,
            Some(last) if differencing => self.bitmap_index(last) + 1,
            Some(last) => self.payload_index(last) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_entries_come_after_each_chunk() {
        // 256 MiB blocks of 512-byte sectors: 16 to a chunk.
        let layout = BatLayout::new(64 << 30, 256 << 20, 512);
        assert_eq!((layout.chunk_ratio, layout.blocks), (16, 256));
        assert_eq!([0, 15, 16, 31, 32].map(|block| layout.payload_index(block)), [0, 15, 17, 32, 34]);
        assert_eq!([0, 15, 16, 31, 32].map(|block| layout.bitmap_index(block)), [16, 16, 33, 33, 50]);
        assert!(
            layout.is_bitmap(16) && layout.is_bitmap(33) && !layout.is_bitmap(17) && !layout.is_bitmap(0)
        );
        assert_eq!((layout.entries(false), layout.entries(true)), (271, 272));
    }

    #[test]
    fn chunks_are_larger_with_larger_sectors() {
        assert_eq!(BatLayout::new(1 << 40, 32 << 20, 512).chunk_ratio, 128);
        assert_eq!(BatLayout::new(1 << 40, 32 << 20, 4096).chunk_ratio, 1024);
        assert_eq!(BatLayout::new(1 << 40, 256 << 20, 512).chunk_ratio, 16);
    }

    #[test]
    fn an_empty_disk_has_no_entries() {
        let layout = BatLayout::new(0, 1 << 20, 512);
        assert_eq!((layout.entries(false), layout.entries(true)), (0, 0));
        assert_eq!(BatLayout::new(1, 1 << 20, 512).entries(false), 1);
        assert_eq!(BatLayout::new(1, 1 << 20, 512).entries(true), 4097);
    }

    #[test]
    fn states_that_do_not_exist_are_told() {
        let states: alloc::vec::Vec<_> = (0..8).map(|state| BatEntry(state).state()).collect();
        assert_eq!(states[4], None);
        assert_eq!((states[3], states[5]), (Some(BlockState::Unmapped), Some(BlockState::Unmapped)));
        assert_eq!(BatEntry(0xffff_ffff_ffff_ffff).offset(), 0xffff_ffff_fff0_0000);
        assert_eq!(BatEntry::fully_present(5 << 20), BatEntry(5 << 20 | 6));
    }
}
