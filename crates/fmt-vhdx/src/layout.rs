//! Where everything goes in a file being written: headers, log, BAT, metadata, payload blocks, in this order.

use fmt_core::{Error, ErrorKind, Zeros, round_up_to_sector};

use crate::bat::{BatLayout, ENTRY_LEN};
use crate::metadata::{BLOCK_SIZES, MAX_VIRTUAL_SIZE};
use crate::raw::{Guid, HEADER_SECTION, MIB};
use crate::region::Region;

/// The sector size of the disks that are written, logical and physical.
pub(crate) const SECTOR_SIZE: u32 = 512;

/// What is chosen about a disk being written. Two disks with the same options and extents have the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file's identity as of its last opening for writing: any unique one.
    pub file_write_guid: Guid,
    /// The identity of the disk's content: any unique one.
    pub data_write_guid: Guid,
    /// The disk's SCSI identity (page 83): any unique one.
    pub disk_id: Guid,
    /// The length of a payload block in bytes: a power of two from 1 MiB to 256 MiB, or `None` for
    /// [`default_block_size`].
    pub block_size: Option<u32>,
    /// The length of the log in bytes: a multiple of 1 MiB, and not 0.
    pub log_size: u32,
    /// Whether blocks are allocated as they are written, or all of them.
    pub subformat: Subformat,
    /// What becomes of zeros. Where they are absent, blocks of zeros are not in a dynamic file.
    pub zeros: Zeros,
    /// Whether blocks that are not in the file are said to be zeros, as `qemu-img` does it, instead of not to be present.
    pub block_state_zero: bool,
}

/// Whether a file grows with its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subformat {
    /// Only blocks that have been written are in the file.
    #[default]
    Dynamic,
    /// All blocks are in the file, in order, those too that have not been written.
    Fixed,
}

impl Options {
    /// A dynamic disk with the default block size and a log of 1 MiB, and zeros that are written.
    #[must_use]
    pub const fn new(file_write_guid: Guid, data_write_guid: Guid, disk_id: Guid) -> Self {
        Self {
            file_write_guid,
            data_write_guid,
            disk_id,
            block_size: None,
            log_size: 1 << 20,
            subformat: Subformat::Dynamic,
            zeros: Zeros::Written,
            block_state_zero: false,
        }
    }

    /// How many bytes long the file of a disk of `size` bytes can become: exactly so long if all blocks are written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for a disk of more than [`MAX_VIRTUAL_SIZE`], [`ErrorKind::UnsupportedFeature`] for
    /// options out of range.
    pub fn max_len(&self, size: u64) -> Result<u64, Error> {
        let layout = Layout::new(size, self)?;
        Ok(layout.block_at(layout.blocks.blocks))
    }
}

/// The block size in bytes that `qemu-img` takes for a disk of `size` bytes.
#[must_use]
pub const fn default_block_size(size: u64) -> u32 {
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    if size <= GIB {
        8 << 20
    } else if size <= 100 * GIB {
        16 << 20
    } else if size <= 32 * TIB {
        32 << 20
    } else {
        64 << 20
    }
}

/// Where everything goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The disk's size in bytes, in whole sectors.
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) blocks: BatLayout,
    pub(crate) log: Region,
    pub(crate) bat: Region,
    pub(crate) metadata: Region,
    /// The byte offset of the first payload block.
    pub(crate) data_at: u64,
}

impl Layout {
    pub(crate) fn new(size: u64, options: &Options) -> Result<Self, Error> {
        let too_large = Error::new(ErrorKind::TooLarge, 0, "Image size too large; max of 64TB");
        let size = round_up_to_sector(size).filter(|&size| size <= MAX_VIRTUAL_SIZE).ok_or(too_large)?;
        let block_size = options.block_size.unwrap_or(default_block_size(size));
        if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
            let what = "VHDX block size other than a power of two from 1 MiB to 256 MiB";
            return Err(Error::new(ErrorKind::UnsupportedFeature, 0, what));
        }
        let log = Region { at: HEADER_SECTION, len: u64::from(options.log_size) };
        if log.len == 0 || !log.len.is_multiple_of(MIB) {
            return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "VHDX log size other than whole MiBs"));
        }
        // Sums of a few numbers of less than 2^36 each: nothing below overflows.
        let blocks = BatLayout::new(size, block_size, SECTOR_SIZE);
        let bat = Region { at: log.at + log.len, len: bat_len(&blocks) };
        let metadata = Region { at: bat.at + bat.len, len: MIB };
        Ok(Self { size, block_size, blocks, log, bat, metadata, data_at: metadata.at + metadata.len })
    }

    /// The byte offset of payload block `number` of those in the file, in their order there.
    pub(crate) const fn block_at(&self, number: u64) -> u64 {
        self.data_at + number * self.blocks.block_size
    }
}

/// The length of the BAT region in bytes: whole MiBs, and at least one.
const fn bat_len(blocks: &BatLayout) -> u64 {
    let entries = match blocks.blocks {
        // An empty disk has no entries, but QEMU counts one block less than that, in 32 bits, to find the number
        // of bitmap entries, and does not open a file with less room.
        0 => u32::MAX as u64 / blocks.chunk_ratio,
        _ => blocks.entries(false),
    };
    (entries * ENTRY_LEN).next_multiple_of(MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]));
    const TIB: u64 = 1 << 40;

    /// Measured with `qemu-img create`.
    #[test]
    fn block_sizes_grow_with_the_disk() {
        let gib = 1 << 30;
        for (size, mib) in [
            (0, 8),
            (1, 8),
            (gib, 8),
            (gib + 1, 16),
            (100 * gib, 16),
            (100 * gib + 1, 32),
            (32 * TIB, 32),
            (32 * TIB + 1, 64),
            (64 * TIB, 64),
        ] {
            assert_eq!(default_block_size(size), mib << 20, "{size}");
        }
    }

    #[test]
    fn the_largest_disk_fits_and_one_more_byte_does_not() {
        let layout = Layout::new(64 * TIB, &OPTIONS).unwrap();
        assert_eq!(layout.bat.len, 9 << 20);
        for size in [64 * TIB + 1, u64::MAX - 511, u64::MAX] {
            let error = Layout::new(size, &OPTIONS).unwrap_err();
            assert_eq!((error.kind, error.what), (ErrorKind::TooLarge, "Image size too large; max of 64TB"));
        }
        assert!(Layout::new(64 * TIB - 1, &OPTIONS).is_ok());
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for block_size in [0, 1, 512 << 10, 3 << 20, 512 << 20, u32::MAX] {
            let options = Options { block_size: Some(block_size), ..OPTIONS };
            assert_eq!(Layout::new(1, &options).unwrap_err().kind, ErrorKind::UnsupportedFeature);
        }
        for log_size in [0, 1, (1 << 20) + 512, u32::MAX] {
            let options = Options { log_size, ..OPTIONS };
            assert_eq!(Layout::new(1, &options).unwrap_err().kind, ErrorKind::UnsupportedFeature);
        }
        let small_blocks = Options { block_size: Some(1 << 20), log_size: 4095 << 20, ..OPTIONS };
        assert!(Layout::new(64 * TIB, &small_blocks).unwrap().bat.len < 1 << 32);
    }
}
