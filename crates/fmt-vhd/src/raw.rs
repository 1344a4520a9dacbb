//! The structures as they lie in a file: big-endian, without padding, and unchecked.
//!
//! The specification is Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0 (2006). Section names
//! in this crate's documentation are its.

use bitflags::bitflags;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The cookie of a footer.
pub const FOOTER_COOKIE: [u8; 8] = *b"conectix";
/// The cookie of a dynamic disk header.
pub const HEADER_COOKIE: [u8; 8] = *b"cxsparse";
/// The length of a footer in bytes.
pub const FOOTER_LEN: u64 = 512;
/// The length of a dynamic disk header in bytes.
pub const HEADER_LEN: u64 = 1024;
/// The file format version, and the version of the dynamic disk header: 1.0.
pub const VERSION_1_0: u32 = 0x0001_0000;
/// A data offset that leads nowhere.
pub const NO_OFFSET: u64 = u64::MAX;
/// The entry of a block that is not in the file.
pub const UNUSED: u32 = u32::MAX;
/// The length of an entry of the block allocation table in bytes.
pub const ENTRY_LEN: u64 = 4;
/// How many parent locators a dynamic disk header holds.
pub const LOCATORS: usize = 8;

bitflags! {
    /// The features of a disk (section "Hard Disk Footer Format").
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// The disk may be deleted on shutdown.
        const TEMPORARY = 1;
        /// Always set.
        const RESERVED = 2;
    }
}

/// The footer: at the end of every image, and a copy of it at the start of all but fixed ones (section "Hard Disk
/// Footer Format").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Footer {
    /// [`FOOTER_COOKIE`].
    pub cookie: [u8; 8],
    /// [`Features`].
    pub features: U32,
    /// [`VERSION_1_0`].
    pub file_format_version: U32,
    /// The byte offset of the [`DynamicHeader`]; [`NO_OFFSET`] in a fixed image.
    pub data_offset: U64,
    /// When the image was made, in seconds since 2000-01-01 00:00:00 UTC.
    pub time_stamp: U32,
    /// The program that made the image.
    pub creator_application: [u8; 4],
    /// The version of that program: major, minor.
    pub creator_version: U32,
    /// The system it ran on: `Wi2k` or `Mac `.
    pub creator_host_os: [u8; 4],
    /// The disk's size in bytes when it was made.
    pub original_size: U64,
    /// The disk's size in bytes.
    pub current_size: U64,
    /// The disk's geometry, which some programs take for its size.
    pub geometry: Geometry,
    /// What kind of image this is.
    pub disk_type: U32,
    /// The ones' complement of the sum of all other bytes of the footer.
    pub checksum: U32,
    /// What a differencing image calls its parent by.
    pub unique_id: [u8; 16],
    /// 1 if a saved state belongs to the disk.
    pub saved_state: u8,
    /// Zeros.
    pub reserved: [u8; 427],
}

/// A geometry: the product of the three is a number of sectors.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: U16,
    /// Heads, which are tracks per cylinder.
    pub heads: u8,
    /// Sectors per track.
    pub sectors_per_track: u8,
}

/// The dynamic disk header, of dynamic and differencing images (section "Dynamic Disk Header Format").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DynamicHeader {
    /// [`HEADER_COOKIE`].
    pub cookie: [u8; 8],
    /// [`NO_OFFSET`].
    pub data_offset: U64,
    /// The byte offset of the block allocation table.
    pub table_offset: U64,
    /// [`VERSION_1_0`].
    pub header_version: U32,
    /// How many entries the block allocation table has.
    pub max_table_entries: U32,
    /// The length of a block in bytes, without its bitmap.
    pub block_size: U32,
    /// The ones' complement of the sum of all other bytes of the header.
    pub checksum: U32,
    /// The unique id of a differencing image's parent.
    pub parent_unique_id: [u8; 16],
    /// The time stamp of the parent, in seconds since 2000-01-01 00:00:00 UTC.
    pub parent_time_stamp: U32,
    /// Zeros.
    pub reserved: U32,
    /// The file name of the parent, in UTF-16 (big-endian).
    pub parent_unicode_name: [u8; 512],
    /// Where the parent is, in the words of several systems.
    pub parent_locators: [ParentLocator; LOCATORS],
    /// Zeros.
    pub reserved_end: [u8; 256],
}

/// Where a parent is, in the words of one system (section "Dynamic Disk Header Format", "Parent Locator Entries").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ParentLocator {
    /// Which system's words they are; zero for none.
    pub platform_code: [u8; 4],
    /// The room for the words in the file: sectors by the specification, bytes in most images.
    pub platform_data_space: U32,
    /// The length of the words in bytes.
    pub platform_data_length: U32,
    /// Zeros.
    pub reserved: U32,
    /// The byte offset of the words in the file.
    pub platform_data_offset: U64,
}

impl Footer {
    /// Whether the footer carries the checksum that it should.
    pub(crate) fn is_sound(&self) -> bool {
        is_right(self.checksum, self.expected_checksum())
    }

    /// The checksum that the footer should carry.
    #[must_use]
    pub fn expected_checksum(&self) -> u32 {
        ones_complement(self.as_bytes(), self.checksum)
    }
}

impl DynamicHeader {
    /// Whether the header carries the checksum that it should.
    pub(crate) fn is_sound(&self) -> bool {
        is_right(self.checksum, self.expected_checksum())
    }

    /// The checksum that the header should carry.
    #[must_use]
    pub fn expected_checksum(&self) -> u32 {
        ones_complement(self.as_bytes(), self.checksum)
    }
}

/// Whether `checksum` is the one that was `expected`. Any is for a fuzzer, which could not guess it and would learn nothing
/// about what comes after.
const fn is_right(checksum: U32, expected: u32) -> bool {
    cfg!(fuzzing) || checksum.get() == expected
}

/// The checksum of a structure that lies in `bytes` and holds `own` as its checksum, which does not count.
fn ones_complement(bytes: &[u8], own: U32) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    !sum(bytes).wrapping_sub(sum(own.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_lengths_of_the_specification() {
        assert_eq!(size_of::<Footer>() as u64, FOOTER_LEN);
        assert_eq!(size_of::<DynamicHeader>() as u64, HEADER_LEN);
        assert_eq!(size_of::<ParentLocator>(), 24);
    }

    #[test]
    fn a_checksum_leaves_itself_out() {
        let mut footer = Footer::read_from_bytes(&[0; 512]).unwrap();
        assert_eq!(footer.expected_checksum(), u32::MAX);
        footer.reserved[426] = 2;
        footer.checksum.set(0x0102_0304);
        assert_eq!(footer.expected_checksum(), !2);
    }
}
