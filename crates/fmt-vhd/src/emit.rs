//! The footer and the dynamic disk header of an image being written.

use fmt_core::SECTOR;
use zerocopy::FromZeros;

use crate::plan::{BLOCK_SIZE, Capacity, Options, Subformat, TABLE_OFFSET};
use crate::raw;

/// The footer, with its checksum.
pub(crate) fn footer(capacity: Capacity, options: &Options) -> raw::Footer {
    let (disk_type, data_offset) = match options.subformat {
        Subformat::Fixed => (2, raw::NO_OFFSET),
        Subformat::Dynamic => (3, raw::FOOTER_LEN),
    };
    let mut footer = raw::Footer {
        cookie: raw::FOOTER_COOKIE,
        features: raw::Features::RESERVED.bits().into(),
        file_format_version: raw::VERSION_1_0.into(),
        data_offset: data_offset.into(),
        time_stamp: options.time_stamp.into(),
        // The creator tells a reader which field is the size, so it must be one that readers know.
        creator_application: if options.force_size { *b"qem2" } else { *b"qemu" },
        creator_version: 0x0005_0003.into(),
        creator_host_os: *b"Wi2k",
        original_size: capacity.size.into(),
        current_size: capacity.size.into(),
        geometry: capacity.geometry.into(),
        disk_type: disk_type.into(),
        unique_id: options.unique_id,
        ..raw::Footer::new_zeroed()
    };
    footer.checksum = footer.expected_checksum().into();
    footer
}

/// The dynamic disk header for a table of `entries` entries, with its checksum.
pub(crate) fn dynamic_header(entries: u64) -> raw::DynamicHeader {
    let mut header = raw::DynamicHeader {
        cookie: raw::HEADER_COOKIE,
        data_offset: raw::NO_OFFSET.into(),
        table_offset: TABLE_OFFSET.into(),
        header_version: raw::VERSION_1_0.into(),
        // A disk has at most 1,044,480 blocks.
        max_table_entries: u32::try_from(entries).unwrap_or(u32::MAX).into(),
        block_size: BLOCK_SIZE.into(),
        ..raw::DynamicHeader::new_zeroed()
    };
    header.checksum = header.expected_checksum().into();
    header
}

const _: () = assert!(TABLE_OFFSET.is_multiple_of(SECTOR), "tables begin with a sector");
