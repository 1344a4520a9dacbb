//! What a written file begins with: identifier, headers, region tables, metadata.

use alloc::vec::Vec;

use fmt_core::{Error, Output, StepSink};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::checksum::Crc32c;
use crate::layout::{Layout, Options, SECTOR_SIZE, Subformat};
use crate::raw::{
    self, FileIdentifier, FileParameterFlags, FileParameters, Guid, HEADER_LEN, HEADERS_AT, Header,
    MetadataEntry, MetadataFlags, MetadataTable, REGION_TABLES_AT, RegionEntry, RegionFlags, RegionTable,
    TABLE_LEN,
};
use crate::region::Region;
use crate::update::WriteGuids;

/// The program that made the file, as the file names it.
const CREATOR: &str = "instar";

/// Where the checksum of a structure is in it.
const CHECKSUM_AT: core::ops::Range<usize> = 4..8;

/// Writes identifier, headers, region tables and metadata of a disk. The log is left as it is: the headers say
/// that there is nothing in it.
pub(crate) fn write<S: StepSink>(
    output: &Output<'_, S>,
    layout: &Layout,
    options: &Options,
) -> Result<(), Error> {
    padded(output, layout.metadata.at, metadata_table().as_slice(), TABLE_LEN)?;
    let items_at = layout.metadata.at + TABLE_LEN as u64;
    padded(output, items_at, &metadata_items(layout, options), TABLE_LEN)?;
    let table = region_table(layout);
    for at in REGION_TABLES_AT {
        padded(output, at, &table, TABLE_LEN)?;
    }
    for (at, number) in HEADERS_AT.into_iter().zip(0..) {
        let guids = WriteGuids { file: options.file_write_guid, data: options.data_write_guid };
        padded(output, at, &header(layout.log, guids, number), HEADER_LEN)?;
    }
    padded(output, 0, identifier().as_bytes(), TABLE_LEN)
}

/// Writes `bytes` at byte `dst`, and zeros behind them up to `len` bytes.
pub(crate) fn padded<S: StepSink>(
    output: &Output<'_, S>,
    dst: u64,
    bytes: &[u8],
    len: usize,
) -> Result<(), Error> {
    output.write(dst, bytes)?;
    let rest = len.saturating_sub(bytes.len()) as u64;
    output.zero(dst + bytes.len() as u64, rest)
}

fn identifier() -> FileIdentifier {
    let mut creator = [U16::ZERO; 256];
    for (place, unit) in creator.iter_mut().zip(CREATOR.encode_utf16()) {
        *place = unit.into();
    }
    FileIdentifier { signature: FileIdentifier::SIGNATURE, creator }
}

/// A header of a file whose log is empty. It is zeros behind these bytes, up to [`HEADER_LEN`].
pub(crate) fn header(log: Region, guids: WriteGuids, sequence_number: u64) -> Vec<u8> {
    let header = Header {
        signature: Header::SIGNATURE,
        checksum: U32::ZERO,
        sequence_number: sequence_number.into(),
        file_write_guid: guids.file,
        data_write_guid: guids.data,
        log_guid: Guid::ZERO,
        log_version: U16::ZERO,
        version: U16::new(1),
        log_length: len_u32(log),
        log_offset: log.at.into(),
    };
    with_checksum(header.as_bytes().to_vec(), HEADER_LEN)
}

fn region_table(layout: &Layout) -> Vec<u8> {
    let regions = [(raw::BAT_REGION, layout.bat), (raw::METADATA_REGION, layout.metadata)];
    let entries = regions.map(|(guid, region)| RegionEntry {
        guid,
        file_offset: region.at.into(),
        length: len_u32(region),
        flags: RegionFlags::REQUIRED.bits().into(),
    });
    let head = RegionTable {
        signature: RegionTable::SIGNATURE,
        checksum: U32::ZERO,
        entry_count: U32::new(2),
        reserved: U32::ZERO,
    };
    with_checksum([head.as_bytes(), entries.as_bytes()].concat(), TABLE_LEN)
}

/// The structure that begins with `bytes`, is zeros behind them up to `len` bytes, and carries its checksum.
fn with_checksum(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    let checksum = Crc32c::new().structure(&bytes).zeros(len.saturating_sub(bytes.len())).value();
    if let Some(place) = bytes.get_mut(CHECKSUM_AT) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// The length of a region, which a structure or the layout has in 32 bits.
fn len_u32(region: Region) -> U32 {
    u32::try_from(region.len).unwrap_or(u32::MAX).into()
}

/// The items, in the order in which they lie: what each is, its length in bytes, and whether it describes the disk.
const ITEMS: [(Guid, u32, bool); 5] = [
    (raw::FILE_PARAMETERS, 8, false),
    (raw::VIRTUAL_DISK_SIZE, 8, true),
    (raw::PAGE_83_DATA, 16, true),
    (raw::LOGICAL_SECTOR_SIZE, 4, true),
    (raw::PHYSICAL_SECTOR_SIZE, 4, true),
];

fn metadata_table() -> Vec<u8> {
    let head = MetadataTable {
        signature: MetadataTable::SIGNATURE,
        reserved: U16::ZERO,
        entry_count: U16::new(5),
        reserved2: [0; 20],
    };
    let mut bytes = head.as_bytes().to_vec();
    #[expect(clippy::cast_possible_truncation, reason = "64 KiB")]
    let mut offset = TABLE_LEN as u32;
    for (item_id, length, of_disk) in ITEMS {
        let kind = if of_disk { MetadataFlags::VIRTUAL_DISK } else { MetadataFlags::empty() };
        let flags = (kind | MetadataFlags::REQUIRED).bits();
        let entry = MetadataEntry {
            item_id,
            offset: offset.into(),
            length: length.into(),
            flags: flags.into(),
            reserved: U32::ZERO,
        };
        bytes.extend(entry.as_bytes());
        offset += length;
    }
    bytes
}

/// The values of [`ITEMS`].
fn metadata_items(layout: &Layout, options: &Options) -> Vec<u8> {
    let flags = match options.subformat {
        Subformat::Dynamic => FileParameterFlags::empty(),
        Subformat::Fixed => FileParameterFlags::LEAVE_BLOCKS_ALLOCATED,
    };
    let parameters = FileParameters { block_size: layout.block_size.into(), flags: flags.bits().into() };
    let (size, sector_size) = (U64::new(layout.size), U32::new(SECTOR_SIZE));
    [
        parameters.as_bytes(),
        size.as_bytes(),
        options.disk_id.as_bytes(),
        sector_size.as_bytes(),
        sector_size.as_bytes(),
    ]
    .concat()
}
