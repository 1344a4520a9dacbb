//! "Virtual Hard Disk Image Format Specification", version 1.0. All numbers are big-endian.

#![allow(clippy::cast_possible_truncation, reason = "small files")]

use super::{Block, Format, Image, Parent, SECTOR, little_endian, put};

const NOWHERE: [u8; 8] = [0xff; 8];
const HEADER_AT: usize = 512;
const TABLE_AT: usize = 1536;

const FIXED: u8 = 2;
const DYNAMIC: u8 = 3;
const DIFFERENCING: u8 = 4;

/// Footer, dynamic disk header, table, locators, blocks, footer.
pub(super) fn bytes(image: &Image) -> Vec<u8> {
    assert!(image.blocks.len() <= 128, "the table takes one sector");
    let kind = if image.parent.is_some() { DIFFERENCING } else { DYNAMIC };
    let footer = footer(image.sectors(Format::Vhd), image.id, kind);
    let mut file = footer.clone();
    put(&mut file, HEADER_AT, &[0; 1024]);
    put(&mut file, HEADER_AT, b"cxsparse");
    put(&mut file, HEADER_AT + 8, &NOWHERE);
    put(&mut file, HEADER_AT + 16, &(TABLE_AT as u64).to_be_bytes());
    put(&mut file, HEADER_AT + 24, &[0, 1, 0, 0]);
    put(&mut file, HEADER_AT + 28, &(image.blocks.len() as u32).to_be_bytes());
    put(&mut file, HEADER_AT + 32, &(Format::Vhd.block_sectors() as u32 * 512).to_be_bytes());
    put(&mut file, TABLE_AT, &[0xff; SECTOR]);
    image.parent.iter().for_each(|parent| put_parent(&mut file, parent));
    for (number, block) in image.blocks.iter().enumerate() {
        let bitmap = match block {
            Block::Absent => continue,
            Block::Zeros(_) => panic!("a VHD has no such blocks"),
            Block::Full => 0xff,
            Block::Sectors(ranges) => {
                ranges.iter().cloned().flatten().fold(0, |bits, sector| bits | 0x80_u8 >> sector)
            }
        };
        let sector = (file.len() / SECTOR) as u32;
        put(&mut file, TABLE_AT + 4 * number, &sector.to_be_bytes());
        file.push(bitmap);
        file.extend([0; SECTOR - 1]);
        file.extend(image.block(number, Format::Vhd));
    }
    put_checksum(&mut file[HEADER_AT..TABLE_AT], 36);
    [file, footer].concat()
}

pub(super) fn fixed(disk: &[u8], id: [u8; 16]) -> Vec<u8> {
    [disk, &footer(disk.len() / SECTOR, id, FIXED)].concat()
}

fn footer(sectors: usize, id: [u8; 16], kind: u8) -> Vec<u8> {
    let size = (sectors as u64 * 512).to_be_bytes();
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0");
    put(&mut footer, 16, &if kind == FIXED { NOWHERE } else { (HEADER_AT as u64).to_be_bytes() });
    // Whoever is not Virtual PC means the size by the size.
    put(&mut footer, 28, b"win \0\x06\0\x01Wi2k");
    put(&mut footer, 40, &size);
    put(&mut footer, 48, &size);
    put(&mut footer, 63, &[kind]);
    put(&mut footer, 68, &id);
    put_checksum(&mut footer, 64);
    footer
}

fn put_parent(file: &mut Vec<u8>, parent: &Parent) {
    let name: Vec<u8> = parent.name.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    put(file, HEADER_AT + 40, &parent.id);
    put(file, HEADER_AT + 64, &name);
    let locators = [(b"W2ku", &parent.absolute), (b"W2ru", &parent.relative)];
    for (number, (platform, path)) in locators.into_iter().enumerate() {
        let Some(path) = path else { continue };
        let (path, entry, at) = (little_endian(path), HEADER_AT + 576 + 24 * number, file.len());
        put(file, entry, platform);
        put(file, entry + 4, &(SECTOR as u32).to_be_bytes());
        put(file, entry + 8, &(path.len() as u32).to_be_bytes());
        put(file, entry + 16, &(at as u64).to_be_bytes());
        put(file, at, &[0; SECTOR]);
        put(file, at, &path);
    }
}

/// The ones' complement of the sum of the other bytes.
fn put_checksum(structure: &mut [u8], at: usize) {
    structure[at..at + 4].fill(0);
    let sum: u32 = structure.iter().map(|&byte| u32::from(byte)).sum();
    structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}
