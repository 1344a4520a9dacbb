//! Bytes that want to do harm: no panic, no hang, no memory by claim, and no extent outside the file.

#![allow(clippy::cast_possible_truncation, reason = "small files")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use core::cell::Cell;

use common::{
    BAT_AT, Change, DATA_AT, HEADER_1, HEADER_2, ITEMS_AT, Image, LOG_AT, METADATA_AT, MIB, OUTPUT, Random,
    TABLE_1, TABLE_2, data, log_entry, sector_at, zero,
};
use fmt_core::file::StdFile;
use fmt_core::testing::{PlannedFile, UpdatedFile};
use fmt_core::{DiskMap, Error, ErrorKind, ReadAt, Source};
use fmt_vhdx::bat::BatLayout;
use fmt_vhdx::{Guid, VhdxMap, VhdxUpdate, WriteGuids};
use std::os::unix::fs::FileExt;

/// A file that counts how much of it is read.
struct Counted<'b>(&'b [u8], Cell<u64>);

impl ReadAt for Counted<'_> {
    fn file_len(&self) -> u64 {
        self.0.file_len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.1.set(self.1.get() + buf.len() as u64);
        self.0.read_exact_at(offset, buf)
    }
}

/// How many extents of an image are looked at.
const LOOKS: usize = 80;

/// Opens `bytes` and goes through the disk, or the beginning of it. Extents must cover it, and lie inside the file.
fn survive(bytes: &[u8]) -> Result<(), Error> {
    let file = Counted(bytes, Cell::new(0));
    let result = walk(&file);
    // Headers, tables, the log twice, and what the looks read through their windows.
    assert!(file.1.get() < 4 * MIB + LOOKS as u64 * (80 << 10), "{} bytes read", file.1.get());
    result
}

fn walk(file: &Counted<'_>) -> Result<(), Error> {
    let mut map = VhdxMap::open(file, OUTPUT)?;
    let size = map.virtual_size();
    assert!(size <= 64 << 40);
    let mut at = 0;
    for _ in 0..LOOKS {
        if at == size {
            return Ok(());
        }
        let extent = map.extent_at(at)?;
        assert!(extent.start <= at && at < extent.end() && extent.end() <= size, "{at} {size} {extent:?}");
        if let Source::Data { file: id, offset } = extent.source {
            assert_eq!(id, OUTPUT);
            assert!(offset.checked_add(extent.len).is_some_and(|end| end <= file.file_len()), "{extent:?}");
        }
        at = extent.end();
    }
    map.extent_at(size - 1).map(|_| ())
}

const GUIDS: WriteGuids = WriteGuids { file: Guid([8; 16]), data: Guid([9; 16]) };

/// Writes to a file, if that can be: region tables, log and metadata stay, and of the BAT what leads somewhere. Returns whether
/// anything was written.
fn write(bytes: &[u8]) -> bool {
    let file = UpdatedFile::of_stranger(bytes.to_vec());
    let Ok(update) = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS) else { return false };
    // What a case takes is what a block takes.
    if update.block_len().is_none_or(|block_len| block_len > 1 << 20) {
        return false;
    }
    let size = update.virtual_size();
    let extents = [data(0, 5000), data(6000, 2 * MIB), zero(3 * MIB, MIB), data(4 * MIB, MIB)];
    let extents: Vec<_> = extents.iter().filter_map(|extent| extent.clip(&(0..size))).collect();
    if let Err(error) = PlannedFile::write(Ok(update), &extents) {
        assert!([ErrorKind::Corrupt, ErrorKind::TooLarge].contains(&error.kind), "{error}");
    }
    let written = file.bytes();
    let same = |at: u64, len: u64| {
        let range = at as usize..(at + len) as usize;
        written.get(range.clone()).is_some_and(|new| new == &bytes[range])
    };
    assert!(same(TABLE_1, LOG_AT - TABLE_1), "region tables");
    let map = VhdxMap::open(bytes, OUTPUT).unwrap();
    let regions = fmt_vhdx::Regions::read(bytes, map.header().log).unwrap();
    assert!(same(map.header().log.at, map.header().log.len), "the log");
    assert!(same(regions.metadata.at, regions.metadata.len), "the metadata");
    for entry in (0..6)
        .map(|index| regions.bat.at + 8 * index)
        .filter(|entry| entry + 8 <= regions.bat.at + regions.bat.len)
    {
        assert!(same(entry, 8) || bytes[entry as usize] & 7 != 6, "the BAT");
    }
    !file.written().is_empty()
}

/// A disk with everything in it: data, zeros, nothing, a block by its bitmap, and a log that changes some of it.
fn rich() -> Image {
    let mut image = Image::new(6 * MIB, &[data(0, 2 * MIB), zero(3 * MIB, MIB)]);
    let end = image.0.len() as u64;
    let mut bitmap = vec![0x5a; 1 << 20];
    bitmap[..40].fill(0xff);
    image
        .differencing("..\\base.vhdx")
        .bat(1, (DATA_AT + MIB) | 7)
        .bat(4, 3)
        .bat(4096, end | 6)
        .put(end, &bitmap);
    let len = end + MIB;
    let sector = image.0[BAT_AT as usize..][..4096].try_into().unwrap();
    let first = [Change::Zeros(DATA_AT + 8192, 12288), sector_at(BAT_AT, sector)];
    let second = [sector_at(DATA_AT + 4096, [9; 4096]), Change::Zeros(DATA_AT + 12288, 4096)];
    image.log(255, &log_entry(5, 255, len, &first)).log(1, &log_entry(6, 255, len, &second));
    image
}

#[test]
fn truncation_at_every_boundary() {
    for image in [rich(), Image::new(3 * MIB, &[data(0, 3 * MIB)])] {
        let len = image.0.len() as u64;
        survive(&image.0).unwrap();
        let places = [
            0,
            8,
            520,
            HEADER_1,
            HEADER_2,
            TABLE_1,
            TABLE_2,
            TABLE_2 + (64 << 10),
            LOG_AT,
            LOG_AT + 4096,
            BAT_AT,
            BAT_AT + 4096,
            METADATA_AT,
            METADATA_AT + 32,
            ITEMS_AT,
            ITEMS_AT + 40,
            DATA_AT,
            DATA_AT + MIB,
            len,
        ];
        for place in places {
            for cut in [place.saturating_sub(1), place, place + 1] {
                let cut = cut.min(len);
                let result = survive(&image.0[..cut as usize]);
                assert!(cut == len || result.is_err() || cut > DATA_AT, "{cut}");
            }
        }
    }
}

/// Every field of every structure, with values at its limits; checksums right, so that the fields count.
#[test]
fn extreme_fields() {
    let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
    // One header and one table, so that they count.
    image.put(HEADER_2, &[0; 4]).put(TABLE_2, &[0; 4]);
    let fields = (8..80)
        .step_by(2)
        .map(|at| HEADER_1 + at)
        .chain((8..80).step_by(4).map(|at| TABLE_1 + at))
        .chain((0..192).step_by(4).map(|at| METADATA_AT + at))
        .chain((0..40).step_by(4).map(|at| ITEMS_AT + at))
        .chain((0..24).step_by(4).map(|at| BAT_AT + at));
    let values = [
        0,
        1,
        7,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0xfff0_0006,
        1 << 20,
        0x1000_0000,
        u64::MAX,
        1 << 63,
    ];
    for at in fields {
        let old = image.u64(at);
        for value in values {
            for width in [2, 8] {
                let _ = survive(&image.put(at, &value.to_le_bytes()[..width]).sum_around(at).0);
                image.put_u64(at, old);
            }
        }
        image.sum_around(at);
    }
    survive(&image.0).unwrap();
}

/// The same for a log entry.
#[test]
fn extreme_fields_of_a_log() {
    let changes = [Change::Zeros(DATA_AT, 8192), sector_at(BAT_AT, [6; 4096])];
    let entry = log_entry(5, 0, 7 * MIB, &changes);
    let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
    for at in (8..128).step_by(4).chain([4096, 4100, 8188]) {
        for value in
            [0, 1, 0x7fff_ffff, 0xffff_ffff, 4096, 0x10_0000, 0x11_0000, u64::MAX, 1 << 63, u64::MAX - 4095]
        {
            for width in [4, 8_usize] {
                let mut bad = entry.clone();
                let end = bad.len().min(at + width);
                bad[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
                // With the length as it is claimed, as far as there are bytes.
                let claimed = u32::from_le_bytes(bad[8..12].try_into().unwrap()) as usize;
                let len = claimed.clamp(64, bad.len());
                let sum = fmt_vhdx::checksum::Crc32c::new().structure(&bad[..len]).value();
                bad[4..8].copy_from_slice(&sum.to_le_bytes());
                let _ = survive(&image.log(0, &bad).0);
            }
        }
    }
}

/// Each sector of the log claims to be an entry as long as the log: looking at them all takes no longer than at one.
#[test]
fn a_log_full_of_long_entries_is_read_once() {
    let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
    let mut entry = log_entry(1, 0, 7 * MIB, &[]);
    entry[8..12].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    for sector in 0..256 {
        image.log(sector, &entry);
    }
    let file = Counted(&image.0, Cell::new(0));
    assert!(VhdxMap::open(&file, OUTPUT).is_err());
    assert!(file.1.get() < 20 * MIB, "{} bytes read", file.1.get());
}

/// A log of 64 MiB in which each sector holds as many changes as it can.
#[test]
fn a_log_with_too_many_changes_is_refused() {
    let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
    let at = image.0.len() as u64;
    let changes: Vec<Change> =
        (0..20_000).map(|number| Change::Zeros((1 << 30) + number * 8192, 4096)).collect();
    let entry = log_entry(1, 0, at, &changes);
    image.put(at, &entry).put(at + (2 << 20), &[]);
    image
        .headers(48, &common::LOG_GUID.0)
        .headers(68, &(2_u32 << 20).to_le_bytes())
        .headers(72, &at.to_le_bytes());
    image.refused("the log changes too many pieces of the file");
}

/// 64 TiB in blocks of 1 MiB: only what is looked at of their table is read.
#[test]
fn a_table_of_half_a_gigabyte_is_looked_at_in_pieces() {
    let entries = BatLayout::new(64 << 40, 1 << 20, 512).entries(false);
    let bat_len = u32::try_from((entries * 8).next_multiple_of(MIB)).unwrap();
    let mut image = Image::new(MIB, &[]);
    image.put_u64(ITEMS_AT + 8, 64 << 40);
    image.tables(16 + 16, &DATA_AT.to_le_bytes()).tables(16 + 24, &bat_len.to_le_bytes());
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&image.0, 0).unwrap();
    file.set_len(DATA_AT + u64::from(bat_len)).unwrap();

    let mut map = VhdxMap::open(StdFile::new(file).unwrap(), OUTPUT).unwrap();
    let lens: Vec<u64> = map.extents(0..1 << 40).map(|extent| extent.unwrap().len).collect();
    assert!(lens.len() < 200 && lens.iter().sum::<u64>() == 1 << 40, "{}", lens.len());
}

#[test]
fn mutations_of_an_image() {
    let mut dirty = rich();
    let mut clean = Image::new(6 * MIB, &[data(0, 2 * MIB), data(5 * MIB, 512)]);
    let mut random = Random(0x1234_5678_9abc_def1);
    // Where structures are: place and length.
    let places = [
        (HEADER_1, 96),
        (HEADER_2, 96),
        (TABLE_1, 96),
        (METADATA_AT, 256),
        (ITEMS_AT, 48),
        (METADATA_AT + (128 << 10), 80),
        (BAT_AT, 64),
        (BAT_AT + 4096 * 8, 8),
        (LOG_AT + 255 * 4096, 4096),
        (LOG_AT, 5 * 4096),
    ];
    let (mut opened, mut refused, mut written) = (0, 0, 0);
    for round in 0..2000 {
        let image = if round % 3 == 0 { &mut clean } else { &mut dirty };
        let mut undo = Vec::new();
        for _ in 0..=random.below(3) {
            let (place, len) = places[random.below(places.len() as u64) as usize];
            let at = place + random.below(len);
            undo.push((at, image.0[at as usize]));
            let old = image.0[at as usize];
            image.0[at as usize] = match random.below(4) {
                0 => old ^ 1 << random.below(8),
                1 => 0xff,
                2 => old.wrapping_add(1),
                _ => random.next() as u8,
            };
        }
        // Log entries are damaged as they are: a right checksum is what `extreme_fields_of_a_log` gives them.
        for &(at, _) in &undo {
            image.sum_around(at);
        }
        match survive(&image.0) {
            Ok(()) => opened += 1,
            Err(_) => refused += 1,
        }
        if round % 12 == 0 {
            written += usize::from(write(&image.0));
        }
        for (at, old) in undo.into_iter().rev() {
            image.0[at as usize] = old;
            image.sum_around(at);
        }
    }
    assert!(opened > 200 && refused > 200 && written > 20, "{opened} {refused} {written}");
}

/// Tables that lie in themselves, in each other, or in the headers.
#[test]
fn structures_inside_each_other() {
    for target in [0, TABLE_1, LOG_AT, BAT_AT, METADATA_AT, DATA_AT] {
        let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
        image.tables(32, &target.to_le_bytes());
        let _ = survive(&image.0);
        image.tables(32, &BAT_AT.to_le_bytes()).tables(64, &target.to_le_bytes());
        let _ = survive(&image.0);
        let mut image = rich();
        let _ = survive(&image.bat(1, target & !(MIB - 1) | 7).0);
        let _ = survive(&image.bat(4096, target & !(MIB - 1) | 6).0);
        let mut image = Image::new(3 * MIB, &[data(0, 3 * MIB)]);
        let _ = survive(&image.item(Guid([5; 16]), 0, &[0; 8]).put_u32(METADATA_AT + 48, target as u32).0);
    }
}

/// What cannot be written to is refused before any step.
#[test]
fn what_is_not_written_to() {
    let plain = Image::new(6 * MIB, &[data(0, 2 * MIB)]);
    let end = plain.0.len() as u64;
    let refused = |image: &Image, kind, what: &str| {
        let file = UpdatedFile::new(image.0.clone(), 1);
        let error = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS).unwrap_err();
        assert!(error.kind == kind && error.what.contains(what), "{error}");
        assert_eq!(file.written(), []);
    };
    refused(plain.clone().differencing("a.vhdx"), ErrorKind::UnsupportedFeature, "differencing");
    let sector = [1; 4096];
    let entry = log_entry(5, 255, end, &[sector_at(DATA_AT, sector)]);
    refused(plain.clone().log(255, &entry), ErrorKind::UnsupportedFeature, "log");
    refused(plain.clone().headers(72, &(1_u64 << 40).to_le_bytes()), ErrorKind::Corrupt, "beyond the end");
    refused(plain.clone().headers(8, &(u64::MAX - 1).to_le_bytes()), ErrorKind::Corrupt, "sequence number");
}

/// States that read as zeros, with places that mean nothing: blocks are added behind the end. Those of blocks that cannot be
/// there are told when they are to be written.
#[test]
fn entries_of_all_kinds_are_written_to() {
    let plain = Image::new(6 * MIB, &[data(0, 2 * MIB)]);
    let end = plain.0.len() as u64;
    let write = |entry| {
        let mut image = plain.clone();
        image.bat(4, entry);
        let file = UpdatedFile::new(image.0, 1);
        let update = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS);
        let result = PlannedFile::write(update, &[data(4 * MIB + 5, 5)]);
        let bytes = file.bytes();
        result.map(|()| u64::from_le_bytes(*bytes[BAT_AT as usize + 32..].first_chunk().unwrap()))
    };
    for entry in [0, 1, 2, 3, 5, DATA_AT | 1, BAT_AT | 2, DATA_AT | 3, u64::MAX << 20 | 2] {
        assert_eq!(write(entry), Ok(end | 6), "{entry:#x}");
    }
    for entry in [4, 7, 6, MIB | 6, BAT_AT | 6, METADATA_AT | 6, end | 6, (1 << 63) | 6, u64::MAX << 20 | 6] {
        assert_eq!(write(entry).unwrap_err().kind, ErrorKind::Corrupt, "{entry:#x}");
    }
}

/// Nothing to do is nothing done: no header says that the file was written.
#[test]
fn what_changes_nothing_writes_nothing() {
    let plain = Image::new(6 * MIB, &[data(0, 2 * MIB)]);
    let file = UpdatedFile::new(plain.0, 1);
    let update = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS);
    let untouched = fmt_core::Extent { start: 0, len: MIB, source: Source::Unallocated };
    PlannedFile::write(update, &[untouched, zero(2 * MIB, 4 * MIB)]).unwrap();
    assert_eq!(file.written(), []);
}
