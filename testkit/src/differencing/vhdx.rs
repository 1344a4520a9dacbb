//! MS-VHDX. All numbers are little-endian; GUIDs are in hexadecimal as they lie in the file.

#![allow(clippy::cast_possible_truncation, reason = "small files")]

use super::{Block, Format, Image, Parent, little_endian, put};

const MIB: usize = 1 << 20;
const LOG_AT: usize = MIB;
const BAT_AT: usize = 2 * MIB;
const METADATA_AT: usize = 3 * MIB;
const BLOCKS_AT: usize = 4 * MIB;
/// Where the items are, in bytes from the beginning of the metadata region.
const ITEMS_AT: usize = 64 << 10;
/// The entry of the first sector bitmap block: it is for 4096 blocks of 1 MiB.
const BITMAP_ENTRY: usize = 4096;

const BAT: u128 = 0x6677_c22d_23f6_0042_9d64_115e_9bfd_4a08;
const METADATA: u128 = 0x06a2_7c8b_9047_9a4b_b8fe_575f_050f_886e;
const FILE_PARAMETERS: u128 = 0x3767_a1ca_36fa_434d_b3b6_33f0_aa44_e76b;
const VIRTUAL_DISK_SIZE: u128 = 0x2442_a52f_1bcd_7648_b211_5dbe_d83b_f4b8;
const PAGE_83_DATA: u128 = 0xab12_cabe_e6b2_2345_93ef_c309_e000_c746;
const LOGICAL_SECTOR_SIZE: u128 = 0x1dbf_4181_6fa9_0947_ba47_f233_a8fa_ab5f;
const PHYSICAL_SECTOR_SIZE: u128 = 0xc748_a3cd_5d44_7144_9cc9_e988_5251_c556;
const PARENT_LOCATOR: u128 = 0x2d5f_d3a8_0bb3_4d45_abf7_d3d8_4834_ab0c;
const VHDX_PARENT: u128 = 0xb7ef_4ab0_9ed1_814a_b789_25b8_e944_5913;

/// Identifier, headers, region tables, an empty log, BAT, metadata, blocks, and a sector bitmap if there must be one.
pub(super) fn bytes(image: &Image) -> Vec<u8> {
    let mut file = vec![0; BLOCKS_AT];
    put(&mut file, 0, b"vhdxfile");
    for (at, number) in [(64 << 10, 1), (128 << 10, 2)] {
        put(&mut file, at, &header(number, image.id));
    }
    for at in [192 << 10, 256 << 10] {
        put(&mut file, at, &region_table());
    }
    put_metadata(&mut file, image);
    put_blocks(&mut file, image);
    file
}

fn header(number: u8, data_write_guid: [u8; 16]) -> Vec<u8> {
    let mut header = vec![0; 4096];
    put(&mut header, 0, b"head");
    put(&mut header, 8, &[number]);
    put(&mut header, 16, &[number; 16]);
    put(&mut header, 32, &data_write_guid);
    put(&mut header, 66, &[1, 0]);
    put(&mut header, 68, &(MIB as u32).to_le_bytes());
    put(&mut header, 72, &(LOG_AT as u64).to_le_bytes());
    with_checksum(header)
}

fn region_table() -> Vec<u8> {
    let mut table = vec![0; 64 << 10];
    put(&mut table, 0, b"regi\0\0\0\0\x02");
    for (number, (guid, at)) in [(BAT, BAT_AT), (METADATA, METADATA_AT)].into_iter().enumerate() {
        let entry = 16 + 32 * number;
        put(&mut table, entry, &guid.to_be_bytes());
        put(&mut table, entry + 16, &(at as u64).to_le_bytes());
        put(&mut table, entry + 24, &(MIB as u32).to_le_bytes());
        put(&mut table, entry + 28, &[1]);
    }
    with_checksum(table)
}

fn put_metadata(file: &mut Vec<u8>, image: &Image) {
    let has_parent = u32::from(image.parent.is_some()) << 1;
    let size = (image.sectors(Format::Vhdx) * 512) as u64;
    let mut items = vec![
        (FILE_PARAMETERS, [(MIB as u32).to_le_bytes(), has_parent.to_le_bytes()].concat()),
        (VIRTUAL_DISK_SIZE, size.to_le_bytes().to_vec()),
        (PAGE_83_DATA, vec![image.tag; 16]),
        (LOGICAL_SECTOR_SIZE, 512_u32.to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR_SIZE, 4096_u32.to_le_bytes().to_vec()),
    ];
    items.extend(image.parent.iter().map(|parent| (PARENT_LOCATOR, locator(parent))));

    put(file, METADATA_AT, b"metadata");
    put(file, METADATA_AT + 10, &[items.len() as u8]);
    let mut at = ITEMS_AT;
    for (number, (guid, item)) in items.iter().enumerate() {
        let entry = METADATA_AT + 32 + 32 * number;
        put(file, entry, &guid.to_be_bytes());
        put(file, entry + 16, &(at as u32).to_le_bytes());
        put(file, entry + 20, &(item.len() as u32).to_le_bytes());
        // Required.
        put(file, entry + 24, &[4]);
        put(file, METADATA_AT + at, item);
        at += item.len();
    }
}

fn locator(parent: &Parent) -> Vec<u8> {
    let text = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let linkage = Some(text(&braced(parent.id)));
    let paths = [("absolute_win32_path", &parent.absolute), ("relative_path", &parent.relative)];
    let entries = [("parent_linkage", &linkage)].into_iter().chain(paths);
    let entries: Vec<_> = entries.filter_map(|(key, value)| Some((text(key), value.as_ref()?))).collect();

    let mut locator = VHDX_PARENT.to_be_bytes().to_vec();
    locator.extend([0, 0, entries.len() as u8, 0]);
    let mut words = Vec::new();
    for (key, value) in &entries {
        let (key, value) = (little_endian(key), little_endian(value));
        let at = 20 + 12 * entries.len() + words.len();
        locator.extend((at as u32).to_le_bytes());
        locator.extend(((at + key.len()) as u32).to_le_bytes());
        locator.extend((key.len() as u16).to_le_bytes());
        locator.extend((value.len() as u16).to_le_bytes());
        words.extend([key, value].concat());
    }
    [locator, words].concat()
}

/// The GUID as it is written: the first three fields are numbers, and begin with their last byte in a file.
fn braced(guid: [u8; 16]) -> String {
    let hex = |bytes: &[usize]| bytes.iter().map(|&at| format!("{:02x}", guid[at])).collect::<String>();
    let fields = [&[3, 2, 1, 0][..], &[5, 4], &[7, 6], &[8, 9], &[10, 11, 12, 13, 14, 15]];
    format!("{{{}}}", fields.map(hex).join("-"))
}

fn put_blocks(file: &mut Vec<u8>, image: &Image) {
    let mut bitmap = vec![0_u8; MIB];
    let sectors_of = Format::Vhdx.block_sectors();
    for (number, block) in image.blocks.iter().enumerate() {
        let state = match block {
            Block::Absent => 0,
            Block::Zeros(state) => *state,
            Block::Full => 6,
            Block::Sectors(ranges) => {
                for sector in ranges.iter().cloned().flatten() {
                    let bit = number as u64 * sectors_of + sector;
                    bitmap[super::index(bit / 8)] |= 1 << (bit % 8);
                }
                7
            }
        };
        let at = if state >= 6 { file.len() as u64 } else { 0 };
        put(file, BAT_AT + 8 * number, &(at | state).to_le_bytes());
        if state >= 6 {
            file.extend(image.block(number, Format::Vhdx));
        }
    }
    if image.blocks.iter().any(|block| matches!(block, Block::Sectors(_))) {
        let entry = file.len() as u64 | 6;
        put(file, BAT_AT + 8 * BITMAP_ENTRY, &entry.to_le_bytes());
        file.extend(bitmap);
    }
}

/// CRC-32C, bit by bit, of the structure with zeros in the checksum's place.
fn with_checksum(mut structure: Vec<u8>) -> Vec<u8> {
    let crc = structure.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    });
    structure[4..8].copy_from_slice(&(!crc).to_le_bytes());
    structure
}
