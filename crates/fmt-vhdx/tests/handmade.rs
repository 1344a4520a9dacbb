//! Images that no tool at hand makes, made by hand: each says why.

#![allow(clippy::cast_possible_truncation, reason = "small files")]
#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{
    BAT_AT, Change, DATA_AT, HEADER_1, HEADER_2, ITEMS_AT, Image, LOG_AT, METADATA_AT, MIB, OUTPUT, TABLE_1,
    TABLE_2, data, input, log_entry, read_disk, sector_at, sum_entry,
};
use fmt_core::{DiskMap, ErrorKind, Extent, Source};
use fmt_vhdx::{Guid, VhdxMap};

/// Three MiBs of data.
fn image() -> Image {
    Image::new(3 * MIB, &[data(0, 3 * MIB)])
}

fn at_file(start: u64, len: u64, offset: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: OUTPUT, offset } }
}

fn nowhere(start: u64, len: u64, source: Source) -> Extent {
    Extent { start, len, source }
}

fn extents(image: &Image) -> Vec<Extent> {
    image.open().unwrap().extents(0..u64::MAX).collect::<Result<_, _>>().unwrap()
}

/// A bitmap block of 1 MiB in which the sectors of `ranges` are present.
fn bitmap<const N: usize>(ranges: [core::ops::Range<usize>; N]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    for sector in ranges.into_iter().flatten() {
        bytes[sector / 8] |= 1 << (sector % 8);
    }
    bytes
}

/// The index of the entry of the first sector bitmap block, where blocks have 1 MiB and sectors 512 bytes.
const BITMAP: u64 = 4096;

// Differencing files: QEMU neither makes nor reads them.

#[test]
fn a_differencing_file_names_its_parent_and_opens_nothing() {
    let mut image = image();
    image.differencing("..\\base.vhdx");
    let map = image.open().unwrap();
    let path: Vec<u8> = "..\\base.vhdx".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(map.parent().unwrap().get("relative_path"), Some(&*path));
    assert_eq!(map.header().data_write_guid, Guid([2; 16]));
}

#[test]
fn the_sector_bitmap_decides() {
    let mut image = image();
    let end = image.0.len() as u64;
    image.differencing("p").bat(0, DATA_AT | 7).bat(1, 0).bat(BITMAP, end | 6);
    image.put(end, &bitmap([0..3, 9..2048, 4096..6000]));
    assert_eq!(
        extents(&image),
        [
            at_file(0, 3 * 512, DATA_AT),
            nowhere(3 * 512, 6 * 512, Source::Unallocated),
            at_file(9 * 512, MIB - 9 * 512, DATA_AT + 9 * 512),
            nowhere(MIB, MIB, Source::Unallocated),
            at_file(2 * MIB, MIB, DATA_AT + 2 * MIB),
        ]
    );
    let mut map = image.open().unwrap();
    assert_eq!(map.extent_at(5 * 512 + 7).unwrap().start, 5 * 512 + 7);
    let disk = read_disk(&mut map, &&image.0[..], |_| 0xbb);
    for (at, byte) in (0..).zip(&disk) {
        let in_parent = (3 * 512..9 * 512).contains(&at) || (MIB..2 * MIB).contains(&at);
        assert_eq!(*byte, if in_parent { 0xbb } else { input(at) }, "{at}");
    }
}

#[test]
fn blocks_all_present_or_all_absent_by_their_bitmap() {
    let mut image = image();
    let end = image.0.len() as u64;
    image.differencing("p").bat(BITMAP, end | 6).put(end, &bitmap([0..2048]));
    for block in 0..3 {
        image.bat(block, (DATA_AT + block * MIB) | 7);
    }
    assert_eq!(
        extents(&image),
        [
            at_file(0, MIB, DATA_AT),
            nowhere(MIB, MIB, Source::Unallocated),
            nowhere(2 * MIB, MIB, Source::Unallocated),
        ]
    );
}

/// Zeros of a differencing file hide what the parent has there; what is not present does not.
#[test]
fn states_without_data_over_a_parent() {
    for (state, source) in [(0, Source::Unallocated), (1, Source::Zero), (2, Source::Zero), (3, Source::Zero)]
    {
        let mut image = image();
        image.differencing("p").bat(1, DATA_AT | state).bat(2, state);
        assert_eq!(extents(&image)[1..], [nowhere(MIB, 2 * MIB, source)]);
    }
}

#[test]
fn bitmaps_of_the_second_chunk_are_their_own() {
    let size = 4098 * MIB;
    let mut image = Image::new(size, &[data(4096 * MIB, MIB)]);
    let end = image.0.len() as u64;
    image.differencing("p").bat(4097, DATA_AT | 7).bat(2 * 4096 + 1, end | 6).put(end, &bitmap([1..2]));
    let mut map = image.open().unwrap();
    let found: Vec<Extent> = map.extents(4096 * MIB..u64::MAX).collect::<Result<_, _>>().unwrap();
    let start = 4096 * MIB;
    assert_eq!(
        found,
        [
            nowhere(start, 512, Source::Unallocated),
            at_file(start + 512, 512, DATA_AT + 512),
            nowhere(start + 1024, MIB - 1024, Source::Unallocated),
            nowhere(start + MIB, MIB, Source::Unallocated),
        ]
    );
}

#[test]
fn bitmaps_that_are_not_there_are_refused() {
    let mut image = image();
    let end = image.0.len() as u64;
    image.differencing("p").bat(0, DATA_AT | 7);
    image.refused("a block is partially present, but its sector bitmap is not there");
    image.bat(BITMAP, end | 6).refused("a sector bitmap lies beyond the end of the file");
    image.bat(BITMAP, u64::MAX << 20 | 6).refused("a sector bitmap lies beyond the end of the file");
    image.bat(BITMAP, METADATA_AT | 6).refused("a sector bitmap overlaps headers, the log or a region");
    image.put(end, &bitmap([0..1])).bat(BITMAP, end | 6).bat(0, METADATA_AT | 7);
    image.refused("a payload block overlaps headers, the log or a region");
    // A differencing file has room for all bitmaps in its BAT.
    let mut small = Image::new(3 * MIB, &[]);
    small.differencing("p").put_u64(ITEMS_AT + 8, 128 << 30);
    small.refused("the BAT is too small for the disk");
}

#[test]
fn a_parent_that_cannot_be_is_refused() {
    let mut image = image();
    image.put_u32(ITEMS_AT + 4, 2);
    image.refused("the item that names the parent is missing");
    let mut image = crate::image();
    image.differencing("p").put(METADATA_AT + (128 << 10), &[0]);
    image.refused("a parent that is not a VHDX file");
    let mut image = crate::image();
    image.differencing("p").put_u32(METADATA_AT + 32 + 5 * 32 + 20, 600 << 10);
    image.refused("the parent locator");
}

// Sectors of 4096 bytes: QEMU refuses them.

#[test]
fn sectors_of_4096_bytes() {
    let mut image = image();
    image.put_u32(ITEMS_AT + 32, 4096).put_u32(ITEMS_AT + 36, 4096);
    assert_eq!(image.open().unwrap().metadata().logical_sector_size, 4096);
    assert!(image.disk().iter().zip(0..).all(|(&byte, at)| byte == input(at)));
    image.put_u64(ITEMS_AT + 8, 3 * MIB - 512).refused("the disk's size is not a whole number of sectors");
}

/// Eight times as many blocks to a chunk.
#[test]
fn bitmaps_of_sectors_of_4096_bytes() {
    let mut image = image();
    let end = image.0.len() as u64;
    image.differencing("p").put_u32(ITEMS_AT + 32, 4096).bat(0, DATA_AT | 7).bat(8 * 4096, end | 6);
    image.put(end, &bitmap([1..255]));
    assert_eq!(
        extents(&image)[..3],
        [
            nowhere(0, 4096, Source::Unallocated),
            at_file(4096, 254 * 4096, DATA_AT + 4096),
            nowhere(255 * 4096, 4096, Source::Unallocated),
        ]
    );
}

// Headers and tables of which one is damaged, or old: what a machine leaves that stops while it writes them.

#[test]
fn the_header_with_the_larger_number_is_current() {
    let mut image = image();
    image.put(HEADER_1 + 8, &[9]).put(HEADER_1 + 32, &[0xaa; 16]).sums();
    assert_eq!(image.open().unwrap().header().data_write_guid, Guid([0xaa; 16]));
    image.put(HEADER_2 + 8, &[0, 1]).sums();
    assert_eq!(image.open().unwrap().header().data_write_guid, Guid([2; 16]));
    image.put(HEADER_2 + 4000, &[1]);
    assert_eq!(image.open().unwrap().header().at, HEADER_1, "the other one is damaged");
}

#[test]
fn the_second_region_table_counts_where_the_first_is_damaged() {
    let mut image = image();
    image.put(TABLE_1 + 60000, &[1]);
    assert!(image.disk().iter().zip(0..).all(|(&byte, at)| byte == input(at)));
    image.put(TABLE_2 + 60000, &[1]).refused("neither region table is valid");
}

/// The current header is of a version to come: the older one says nothing about what the newer one means.
#[test]
fn a_header_of_a_later_version_is_not_passed_over() {
    let mut image = image();
    image.put(HEADER_2 + 66, &[2]).sums();
    image.refused("VHDX version other than 1");
}

#[test]
fn user_items_and_regions_that_are_not_required_are_passed_over() {
    let mut image = image();
    image.item(Guid([7; 16]), 1, b"a user's own").item(Guid([8; 16]), 2, b"");
    let unknown =
        [&[7; 16][..], &(1_u64 << 40).to_le_bytes(), &(1_u32 << 20).to_le_bytes(), &[0; 4]].concat();
    image.tables(16 + 64, &unknown).tables(8, &[3]);
    assert!(image.disk().iter().zip(0..).all(|(&byte, at)| byte == input(at)));
    image.bat(0, 1 << 40 | 6).refused("a payload block overlaps headers, the log or a region");
}

// Logs: QEMU writes one entry at a time, of one sector, to the BAT. See also `oracle/log.rs`, where QEMU replays them.

fn sector(byte: u8) -> [u8; 4096] {
    core::array::from_fn(|at| byte.wrapping_add((at % 251) as u8))
}

/// The disk with some sectors replaced, each given by its number of 4096 bytes.
fn with_sectors(sectors: &[(usize, [u8; 4096])]) -> Vec<u8> {
    let mut disk: Vec<u8> = (0..3 * MIB).map(input).collect();
    for (number, bytes) in sectors {
        disk[number * 4096..][..4096].copy_from_slice(bytes);
    }
    disk
}

/// An entry that puts `byte` into the disk's sector `number`.
fn put(entry: u64, tail: u64, number: u64, byte: u8) -> Vec<u8> {
    log_entry(entry, tail, 7 * MIB, &[sector_at(DATA_AT + number * 4096, sector(byte))])
}

/// The bytes of a sector from the log lie in three places, and are told from there.
#[test]
fn a_sector_from_the_log_is_three_extents() {
    let mut image = image();
    image.log(5, &put(1, 5, 1, 9));
    let entry = LOG_AT + 5 * 4096;
    assert_eq!(
        extents(&image)[..5],
        [
            at_file(0, 4096, DATA_AT),
            at_file(4096, 8, entry + 64 + 8),
            at_file(4104, 4084, entry + 4096 + 8),
            at_file(8188, 4, entry + 64 + 4),
            at_file(8192, MIB - 8192, DATA_AT + 8192),
        ]
    );
    assert!(image.disk() == with_sectors(&[(1, sector(9))]));
}

#[test]
fn zeros_from_the_log_are_zeros() {
    let mut image = image();
    image.log(0, &log_entry(1, 0, 7 * MIB, &[Change::Zeros(DATA_AT + 8192, 2 * MIB)]));
    assert_eq!(
        extents(&image)[..3],
        [at_file(0, 8192, DATA_AT), nowhere(8192, MIB - 8192, Source::Zero), nowhere(MIB, MIB, Source::Zero),]
    );
}

/// The entries go on at the beginning of the log, one of them in its midst. QEMU replays only a part of such a log.
#[test]
fn a_log_that_goes_on_at_its_beginning() {
    let mut image = image();
    image.log(252, &put(40, 252, 1, 1)).log(254, &put(41, 252, 2, 2));
    image.log(0, &put(42, 252, 3, 3)).log(2, &put(43, 252, 1, 4));
    assert!(image.disk() == with_sectors(&[(1, sector(4)), (2, sector(2)), (3, sector(3))]));

    let mut image = crate::image();
    image.log(255, &put(40, 255, 1, 1)).log(1, &put(41, 255, 2, 2));
    assert!(image.disk() == with_sectors(&[(1, sector(1)), (2, sector(2))]));
}

/// What lies before the tail has been carried out for good, and may have been overwritten since. QEMU replays it again.
#[test]
fn a_sequence_begins_at_its_tail() {
    let mut image = image();
    image.log(0, &put(1, 0, 1, 1)).log(2, &put(2, 2, 2, 2)).log(4, &put(3, 2, 3, 3));
    assert!(image.disk() == with_sectors(&[(2, sector(2)), (3, sector(3))]));
}

#[test]
fn the_sequence_with_the_largest_number_is_active() {
    let mut image = image();
    image
        .log(0, &put(11, 0, 1, 1))
        .log(2, &put(12, 0, 2, 2))
        .log(10, &put(8, 10, 3, 3))
        .log(12, &put(9, 10, 1, 4));
    assert!(image.disk() == with_sectors(&[(1, sector(1)), (2, sector(2))]));
}

/// An entry that was being written when the machine stopped is not carried out; those before it are.
#[test]
fn an_entry_that_is_cut_off_ends_the_sequence() {
    let last = put(2, 0, 2, 2);
    for damage in [4, 12, 20, 24, 40, 64, 80, 4096, 4200, 8191] {
        let mut image = image();
        let mut torn = last.clone();
        torn[damage] ^= 1;
        image.log(0, &put(1, 0, 1, 1)).log(2, &torn);
        assert!(image.disk() == with_sectors(&[(1, sector(1))]), "{damage}");
    }
}

/// Of another log, before this one was begun.
#[test]
fn entries_of_another_log_are_passed_over() {
    let mut image = image();
    let mut other = put(99, 0, 1, 1);
    other[32..48].copy_from_slice(&[0x77; 16]);
    image.log(0, &sum_entry(other)).log(2, &put(1, 2, 2, 2));
    assert!(image.disk() == with_sectors(&[(2, sector(2))]));
}

/// QEMU reads the second sector of descriptors over the first.
#[test]
fn more_descriptors_than_one_sector_holds() {
    let mut image = image();
    let sectors: Vec<(usize, [u8; 4096])> =
        (0..=200).map(|number| (usize::from(number) * 3, sector(number))).collect();
    let changes: Vec<Change> =
        sectors.iter().map(|&(number, bytes)| sector_at(DATA_AT + number as u64 * 4096, bytes)).collect();
    image.log(100, &log_entry(1 << 40, 100, 7 * MIB, &changes));
    assert!(image.disk() == with_sectors(&sectors));
}

/// The BAT, the metadata and the region tables are read as the log leaves them.
#[test]
fn all_metadata_is_read_through_the_log() {
    let mut image = image();
    let block = |image: &Image, at: u64| -> [u8; 4096] { image.0[at as usize..][..4096].try_into().unwrap() };
    let (bat, table) = (block(&image, BAT_AT), block(&image, TABLE_1));
    let (metadata, items) = (block(&image, METADATA_AT), block(&image, ITEMS_AT));
    let changes = [
        sector_at(BAT_AT, bat),
        sector_at(TABLE_1, table),
        sector_at(METADATA_AT, metadata),
        sector_at(ITEMS_AT, items),
    ];
    image.log(0, &log_entry(1, 0, 7 * MIB, &changes));
    for at in [BAT_AT, TABLE_1, TABLE_2, METADATA_AT, ITEMS_AT] {
        image.put(at, &[0xee; 4096]);
    }
    assert!(image.disk() == with_sectors(&[]));
}

#[test]
fn a_file_that_the_log_makes_longer() {
    let mut image = image();
    let end = image.0.len() as u64;
    let mut entry = log_entry(1, 0, end, &[sector_at(end + 4096, sector(8))]);
    entry[56..64].copy_from_slice(&(end + MIB).to_le_bytes());
    image.log(0, &sum_entry(entry)).bat(1, end | 6);
    let found = extents(&image);
    assert_eq!(found[1], nowhere(MIB, 4096, Source::Zero));
    assert_eq!(found[5], nowhere(MIB + 8192, MIB - 8192, Source::Zero));
    let disk = image.disk();
    assert_eq!(disk[MIB as usize + 4096..][..4096], sector(8));
}

#[test]
fn logs_that_cannot_be_replayed_are_refused() {
    let refused = |entry: Vec<u8>, what: &str| {
        let mut image = image();
        image.log(0, &entry).refused(what);
    };
    let len = 7 * MIB;
    let entry = |change| log_entry(1, 0, len, &[change]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut entry = put(1, 0, 1, 1);
        entry[at..at + bytes.len()].copy_from_slice(bytes);
        sum_entry(entry)
    };
    refused(log_entry(1, 0, len + 1, &[]), "the file has been cut off since its log was written");
    refused(entry(Change::Zeros(HEADER_1, 4096)), "a log descriptor writes to the headers");
    refused(entry(sector_at(0, sector(1))), "a log descriptor writes to the headers");
    refused(entry(Change::Zeros(256 << 10, 4 * MIB)), "a log descriptor writes to the log");
    refused(entry(sector_at(LOG_AT + 9 * 4096, sector(1))), "a log descriptor writes to the log");
    refused(
        entry(sector_at(DATA_AT + 512, sector(1))),
        "a log descriptor's place is not a multiple of a log sector",
    );
    refused(entry(Change::Zeros(DATA_AT, 512)), "a log descriptor's length is not whole log sectors");
    refused(entry(Change::Zeros(DATA_AT, u64::MAX - 4095)), "a log descriptor's end overflows");
    refused(entry(sector_at(u64::MAX - 4095, sector(1))), "a log descriptor's end overflows");
    refused(changed(64, b"none"), "a log descriptor's signature is wrong");
    refused(changed(88, &[2]), "a log descriptor belongs to another entry");
    refused(changed(4096, b"dato"), "a data sector of the log belongs to another entry");
    refused(changed(4100, &[1]), "a data sector of the log belongs to another entry");
    refused(changed(8188, &[2]), "a data sector of the log belongs to another entry");
    refused(changed(24, &[2]), "a log descriptor's signature is wrong");
    let two = log_entry(1, 0, len, &[sector_at(DATA_AT, sector(1)), sector_at(DATA_AT, sector(2))]);
    refused(sum_entry(two[..8192].to_vec()), "a log descriptor has no data sector");

    let none = "the log has no valid sequence of entries";
    refused(put(1, 7, 1, 1), none);
    refused(changed(0, b"loge\0\0\0\0\0\0\0\0\0\x10\x10\0"), none);
    for (at, bytes) in [(4, [1; 4]), (8, [0; 4]), (8, [0, 0, 17, 0]), (24, [0xff; 4]), (12, [1, 0, 0, 0])] {
        let mut entry = put(1, 0, 1, 1);
        entry[at..at + 4].copy_from_slice(&bytes);
        refused(entry, none);
    }
}

/// The beginning of the sequence was overwritten: what remains is not the whole, though QEMU takes it for that.
#[test]
fn a_sequence_that_lost_its_tail_is_refused() {
    let mut image = image();
    image.log(4, &put(3, 0, 1, 1)).log(6, &put(4, 0, 2, 2));
    image.refused("the log has no valid sequence of entries");
}

#[test]
fn a_log_that_is_too_long_or_not_in_the_file_is_refused() {
    let mut image = image();
    image
        .log(0, &put(1, 0, 1, 1))
        .headers(68, &(8_u32 << 20).to_le_bytes())
        .headers(72, &(1_u64 << 30).to_le_bytes());
    image.refused("the log lies beyond the end of the file");
    image.headers(68, &(128_u32 << 20).to_le_bytes());
    assert_eq!(image.error().kind, ErrorKind::TooLarge);
    // There is nothing in it, so that it does not matter.
    image.headers(48, &[0; 16]);
    assert!(image.disk() == with_sectors(&[]));
}

#[test]
fn what_is_not_a_vhdx_file_is_told_so() {
    for bytes in [&b""[..], b"vhdxfil", &[0; 4096]] {
        assert_eq!(VhdxMap::open(bytes, OUTPUT).unwrap_err().kind, ErrorKind::NotThisFormat);
    }
    assert_eq!(VhdxMap::open(&b"vhdxfile"[..], OUTPUT).unwrap_err().kind, ErrorKind::Corrupt);
}
