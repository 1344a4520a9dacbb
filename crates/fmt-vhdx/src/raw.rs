//! The structures as they lie in the file, byte for byte (MS-VHDX section 2). All numbers are little-endian.
//!
//! ```text
//! 0        [`FileIdentifier`]
//! 64 KiB   [`Header`]                 and a second one at 128 KiB
//! 192 KiB  [`RegionTable`], entries   and a copy at 256 KiB
//! 1 MiB    the log, the BAT, the metadata, payload blocks: in any order, each at a multiple of 1 MiB
//! ```

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the places and lengths of all larger structures are multiples of.
pub const MIB: u64 = 1 << 20;

/// The length of what comes before the first region or block: identifier, headers, region tables.
pub const HEADER_SECTION: u64 = MIB;

/// The byte offsets of the two headers.
pub const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];

/// The length of a header in bytes, what is reserved included: all of it is under the checksum.
pub const HEADER_LEN: usize = 4 << 10;

/// The byte offsets of the two region tables.
pub const REGION_TABLES_AT: [u64; 2] = [192 << 10, 256 << 10];

/// The length of a region table, and of the metadata table, in bytes.
pub const TABLE_LEN: usize = 64 << 10;

/// How many entries a region table, or the metadata table, has at most.
pub const MAX_TABLE_ENTRIES: usize = 2047;

/// The length of a log sector in bytes.
pub const LOG_SECTOR: usize = 4 << 10;

/// A GUID, as it lies in the file: its first three fields are little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID of zeros: none.
    pub const ZERO: Self = Self([0; 16]);

    /// The GUID written `aaaaaaaa-bbbb-cccc-dddd-dddddddddddd`.
    #[must_use]
    pub const fn new(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let [d0, d1, d2, d3, d4, d5, d6, d7] = d;
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// The GUID that `text` writes so in braces, in digits of either case.
    #[must_use]
    pub fn from_braced(text: &str) -> Option<Self> {
        let fields = text.strip_prefix('{')?.strip_suffix('}')?.split('-');
        if !fields.clone().map(str::len).eq([8, 4, 4, 4, 12]) {
            return None;
        }
        let mut digits = fields.flat_map(str::chars).map(|digit| digit.to_digit(16));
        let number = digits.try_fold(0, |number: u128, digit| Some(number << 4 | u128::from(digit?)))?;
        let [a0, a1, a2, a3, b0, b1, c0, c1, d @ ..] = number.to_be_bytes();
        let (a, b, c) = ([a0, a1, a2, a3], [b0, b1], [c0, c1]);
        Some(Self::new(u32::from_be_bytes(a), u16::from_be_bytes(b), u16::from_be_bytes(c), d))
    }
}

/// The region that holds the block allocation table.
pub const BAT_REGION: Guid = Guid::new(0x2dc2_7766, 0xf623, 0x4200, *b"\x9d\x64\x11\x5e\x9b\xfd\x4a\x08");
/// The region that holds the metadata table and items.
pub const METADATA_REGION: Guid =
    Guid::new(0x8b7c_a206, 0x4790, 0x4b9a, *b"\xb8\xfe\x57\x5f\x05\x0f\x88\x6e");
/// The metadata item [`FileParameters`].
pub const FILE_PARAMETERS: Guid =
    Guid::new(0xcaa1_6737, 0xfa36, 0x4d43, *b"\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b");
/// The metadata item that holds the disk's size in bytes, 64 bits.
pub const VIRTUAL_DISK_SIZE: Guid =
    Guid::new(0x2fa5_4224, 0xcd1b, 0x4876, *b"\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8");
/// The metadata item that holds the disk's SCSI identity, a GUID.
pub const PAGE_83_DATA: Guid = Guid::new(0xbeca_12ab, 0xb2e6, 0x4523, *b"\x93\xef\xc3\x09\xe0\x00\xc7\x46");
/// The metadata item that holds the logical sector size in bytes, 32 bits.
pub const LOGICAL_SECTOR_SIZE: Guid =
    Guid::new(0x8141_bf1d, 0xa96f, 0x4709, *b"\xba\x47\xf2\x33\xa8\xfa\xab\x5f");
/// The metadata item that holds the physical sector size in bytes, 32 bits.
pub const PHYSICAL_SECTOR_SIZE: Guid =
    Guid::new(0xcda3_48c7, 0x445d, 0x4471, *b"\x9c\xc9\xe9\x88\x52\x51\xc5\x56");
/// The metadata item [`ParentLocator`].
pub const PARENT_LOCATOR: Guid = Guid::new(0xa8d3_5f2d, 0xb30b, 0x454d, *b"\xab\xf7\xd3\xd8\x48\x34\xab\x0c");
/// The type of a parent locator whose parent is a VHDX file.
pub const VHDX_PARENT: Guid = Guid::new(0xb04a_efb7, 0xd19e, 0x4a81, *b"\xb7\x89\x25\xb8\xe9\x44\x59\x13");

/// The file type identifier (section 2.2.1), at byte 0.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileIdentifier {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 8],
    /// Who made the file, in UTF-16.
    pub creator: [U16; 256],
}

impl FileIdentifier {
    /// The file's first bytes.
    pub const SIGNATURE: [u8; 8] = *b"vhdxfile";
}

/// A header (section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of [`HEADER_LEN`] bytes.
    pub checksum: U32,
    /// The header with the larger one is current.
    pub sequence_number: U64,
    /// Changes whenever the file is opened for writing.
    pub file_write_guid: Guid,
    /// Changes whenever the disk's content does.
    pub data_write_guid: Guid,
    /// What the entries of the log carry; zero when there is nothing to replay.
    pub log_guid: Guid,
    /// 0.
    pub log_version: U16,
    /// 1.
    pub version: U16,
    /// The log's length in bytes.
    pub log_length: U32,
    /// The log's byte offset.
    pub log_offset: U64,
}

impl Header {
    /// The header's first bytes.
    pub const SIGNATURE: [u8; 4] = *b"head";
}

/// The beginning of a region table (section 2.2.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegionTable {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of [`TABLE_LEN`] bytes.
    pub checksum: U32,
    /// How many entries follow.
    pub entry_count: U32,
    /// 0.
    pub reserved: U32,
}

impl RegionTable {
    /// The table's first bytes.
    pub const SIGNATURE: [u8; 4] = *b"regi";
}

/// An entry of a region table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegionEntry {
    /// What the region holds.
    pub guid: Guid,
    /// Its byte offset.
    pub file_offset: U64,
    /// Its length in bytes.
    pub length: U32,
    /// [`RegionFlags`].
    pub flags: U32,
}

bitflags! {
    /// Flags of a [`RegionEntry`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RegionFlags: u32 {
        /// Who does not know the region must not open the file.
        const REQUIRED = 1;
    }
}

/// The beginning of the metadata table (section 2.6.1), which is the beginning of the metadata region.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MetadataTable {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 8],
    /// 0.
    pub reserved: U16,
    /// How many entries follow.
    pub entry_count: U16,
    /// 0.
    pub reserved2: [u8; 20],
}

impl MetadataTable {
    /// The table's first bytes.
    pub const SIGNATURE: [u8; 8] = *b"metadata";
}

/// An entry of the metadata table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MetadataEntry {
    /// What the item is.
    pub item_id: Guid,
    /// Where it is, in bytes from the beginning of the region.
    pub offset: U32,
    /// Its length in bytes.
    pub length: U32,
    /// [`MetadataFlags`].
    pub flags: U32,
    /// 0.
    pub reserved: U32,
}

bitflags! {
    /// Flags of a [`MetadataEntry`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MetadataFlags: u32 {
        /// The item is a user's, not the system's.
        const USER = 1;
        /// The item describes the disk, not the file.
        const VIRTUAL_DISK = 2;
        /// Who does not know the item must not open the file.
        const REQUIRED = 4;
    }
}

/// The metadata item of the file's parameters (section 2.6.2.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileParameters {
    /// The length of a payload block in bytes.
    pub block_size: U32,
    /// [`FileParameterFlags`].
    pub flags: U32,
}

bitflags! {
    /// Flags of [`FileParameters`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FileParameterFlags: u32 {
        /// Blocks stay allocated: the file is a fixed one.
        const LEAVE_BLOCKS_ALLOCATED = 1;
        /// The file is a differencing one, which has a parent.
        const HAS_PARENT = 2;
    }
}

/// The beginning of the metadata item that names the parent (section 2.6.2.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ParentLocator {
    /// [`VHDX_PARENT`].
    pub locator_type: Guid,
    /// 0.
    pub reserved: U16,
    /// How many entries follow.
    pub key_value_count: U16,
}

/// An entry of the parent locator. Keys and values are in UTF-16.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ParentLocatorEntry {
    /// Where the key is, in bytes from the beginning of the item.
    pub key_offset: U32,
    /// Where the value is, in bytes from the beginning of the item.
    pub value_offset: U32,
    /// The key's length in bytes.
    pub key_length: U16,
    /// The value's length in bytes.
    pub value_length: U16,
}

/// The beginning of a log entry (section 2.3.1.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogEntry {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of the whole entry.
    pub checksum: U32,
    /// The entry's length in bytes, data sectors included.
    pub entry_length: U32,
    /// Where the oldest entry lies that has not been carried out for good, in bytes from the beginning of the log.
    pub tail: U32,
    /// One more than that of the entry before; never 0.
    pub sequence_number: U64,
    /// How many descriptors follow.
    pub descriptor_count: U32,
    /// 0.
    pub reserved: U32,
    /// The header's log GUID.
    pub log_guid: Guid,
    /// How long the file was at least, for good, when the entry was written.
    pub flushed_file_offset: U64,
    /// How long the file has to be for everything that is allocated in it.
    pub last_file_offset: U64,
}

impl LogEntry {
    /// The entry's first bytes.
    pub const SIGNATURE: [u8; 4] = *b"loge";
}

/// A descriptor of a log entry (sections 2.3.1.2 and 2.3.1.3): what to write where.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogDescriptor {
    /// [`Self::ZERO`] or [`Self::DATA`].
    pub signature: [u8; 4],
    /// The last four bytes of the sector to write; reserved where zeros are written.
    pub trailing: [u8; 4],
    /// The first eight bytes of the sector to write; where zeros are written, how many bytes, a 64-bit number.
    pub leading: [u8; 8],
    /// The byte offset in the file to write at.
    pub file_offset: U64,
    /// That of the entry.
    pub sequence_number: U64,
}

impl LogDescriptor {
    /// Marks a descriptor that writes zeros.
    pub const ZERO: [u8; 4] = *b"zero";
    /// Marks a descriptor that writes a sector.
    pub const DATA: [u8; 4] = *b"desc";
    /// The place of [`trailing`](Self::trailing) in the descriptor.
    pub const TRAILING_AT: u64 = 4;
    /// The place of [`leading`](Self::leading) in the descriptor.
    pub const LEADING_AT: u64 = 8;
}

/// A data sector of a log entry (section 2.3.1.4): the sector to write, save its first eight and its last four bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogData {
    /// [`Self::SIGNATURE`].
    pub signature: [u8; 4],
    /// The upper half of the entry's sequence number.
    pub sequence_high: U32,
    /// The bytes.
    pub data: [u8; LOG_SECTOR - 12],
    /// The lower half of the entry's sequence number.
    pub sequence_low: U32,
}

impl LogData {
    /// The sector's first bytes.
    pub const SIGNATURE: [u8; 4] = *b"data";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_lengths_of_the_specification() {
        assert_eq!(size_of::<FileIdentifier>(), 520);
        assert_eq!(size_of::<Header>(), 80);
        assert_eq!(size_of::<RegionTable>(), 16);
        assert_eq!(size_of::<RegionEntry>(), 32);
        assert_eq!(size_of::<MetadataTable>(), 32);
        assert_eq!(size_of::<MetadataEntry>(), 32);
        assert_eq!(size_of::<FileParameters>(), 8);
        assert_eq!(size_of::<ParentLocator>(), 20);
        assert_eq!(size_of::<ParentLocatorEntry>(), 12);
        assert_eq!(size_of::<LogEntry>(), 64);
        assert_eq!(size_of::<LogDescriptor>(), 32);
        assert_eq!(size_of::<LogData>(), LOG_SECTOR);
    }

    #[test]
    fn a_guid_is_stored_with_its_first_fields_reversed() {
        assert_eq!(BAT_REGION.0[..8], [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42]);
        assert_eq!(BAT_REGION.0[8..], [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
    }

    #[test]
    fn a_guid_is_written_in_braces() {
        let text = "{2dc27766-F623-4200-9d64-115e9bfd4a08}";
        assert_eq!(Guid::from_braced(text), Some(BAT_REGION));
        for wrong in [
            "",
            "{}",
            &text[1..],
            &text.replace('-', ""),
            &text.replace('6', "+"),
            "{2dc2-7766f623-4200-9d64-115e9bfd4a08}",
        ] {
            assert_eq!(Guid::from_braced(wrong), None, "{wrong}");
        }
    }
}
