//! What must hold for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, UpdatedFile, blocks, disk_bytes, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, SECTOR, Source, Zeros, round_up_to_sector};
use fmt_vmdk::{Options, VmdkMap, VmdkPlan, VmdkUpdate};
use proptest::prelude::*;

const GRAIN_LEN: u64 = 64 << 10;
const GTES_PER_GT: u64 = 512;

/// What a disk allocates at most, so that a case takes no longer than a moment.
const BUDGET: u64 = 1000 * GRAIN_LEN;

/// The largest disk that is written. Tables are written whole, and a larger one's take longer than a moment.
const MAX_SIZE: u64 = 1 << 36;

/// Sizes in bytes, some of them larger than what a file can hold.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        9 => any::<u64>().prop_map(|bits| magnitude(bits).min(MAX_SIZE)),
        1 => 2 << 40..u64::MAX,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_disk_is_read_as_it_was_written(
        size in sizes(),
        pieces in prop::collection::vec(any::<[u64; 3]>().prop_map(Piece::from), 0..12),
        sparse: bool,
    ) {
        let sparse = sparse && size <= MAX_SIZE;
        let mut options = Options::new(0x1234_5678, b"disk.vmdk");
        let mut extents = extents(size, BUDGET, pieces);
        if sparse {
            options.zeros = Zeros::Absent;
            extents.retain(|extent| extent.source != Source::Zero);
        }
        let file = PlannedFile::new(u64::MAX);
        let written = PlannedFile::write(VmdkPlan::begin(&file, OUTPUT, size, &options), &extents);

        if size == 0 || size > MAX_SIZE {
            let kind = if size == 0 { ErrorKind::UnsupportedFeature } else { ErrorKind::TooLarge };
            prop_assert_eq!(written.unwrap_err().kind, kind);
            prop_assert_eq!(file.output().file_len(), None);
        } else {
            written.unwrap();
            let mut map = VmdkMap::open(&file, OUTPUT).unwrap();
            prop_assert_eq!(map.virtual_size(), round_up_to_sector(size).unwrap());
            prop_assert_eq!(file.output().holes(), [], "whatever was in the file before");
            check_grains(&file, &map, &extents);
            file.check_disk(&mut map, &extents).unwrap();
        }
    }
}

/// The pieces of a disk of some grains, and where its writer is stopped.
fn round(most: u64) -> impl Strategy<Value = (Vec<Piece>, [u64; 4])> {
    let pieces = any::<[u64; 3]>().prop_map(move |numbers| Piece::from(numbers).below(most));
    (prop::collection::vec(pieces, 0..10), any::<[u64; 4]>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn a_disk_is_updated_as_the_model_says(
        size in 1..(5_u64 << 20),
        zeroed_grain: bool,
        cut_off: bool,
        first in round(1 << 20),
        rounds in prop::collection::vec(round(1 << 20), 1..4),
    ) {
        check_rounds(size, zeroed_grain, cut_off, first.0, rounds);
    }
}

/// Tables of several windows, the copies of which are neighbours.
#[test]
fn a_large_disk_is_updated_in_both_copies_of_its_tables() {
    let size = 3 << 30;
    let mut options = Options::new(0x10, b"disk.vmdk");
    options.zeros = Zeros::Absent;
    let file = UpdatedFile::new(Vec::new(), 1);
    PlannedFile::write(VmdkPlan::begin(&file, OUTPUT, size, &options), &[]).unwrap();
    let file = UpdatedFile::new(file.bytes().clone(), 1);
    let update = VmdkUpdate::open(&file, &file, OUTPUT, 7).unwrap();
    let opened = file.reads();
    let extents: Vec<Extent> = (0..90)
        .map(|number| {
            let source = Source::Data { file: fmt_core::testing::INPUT, offset: number };
            Extent { start: number * (33 << 20), len: 1, source }
        })
        .collect();
    PlannedFile::write(Ok(update), &extents).unwrap();
    // A directory and six or seven windows of each copy, and the end of each.
    assert!(file.reads() - opened <= 2 * (1 + 7 + 1), "{}", file.reads() - opened);
    for number in 0..2 {
        let mut image = file.bytes().clone();
        if number == 1 {
            // The redundant directory as the only one.
            image.copy_within(48..56, 56);
        }
        let end = image.len() as u64;
        let mut map = VmdkMap::open(image.as_slice(), OUTPUT).unwrap();
        for (extent, added) in extents.iter().zip(0..) {
            let found = map.extent_at(extent.start).unwrap().clip(&(extent.start..extent.end())).unwrap();
            let offset = end - (90 - added) * GRAIN_LEN;
            assert_eq!(found.source, Source::Data { file: OUTPUT, offset });
        }
    }
}

fn check_rounds(
    size: u64,
    zeroed_grain: bool,
    cut_off: bool,
    first: Vec<Piece>,
    rounds: Vec<(Vec<Piece>, [u64; 4])>,
) {
    let mut options = Options::new(0x10, b"disk.vmdk");
    (options.zeroed_grain, options.zeros) = (zeroed_grain, Zeros::Absent);
    let file = UpdatedFile::new(Vec::new(), 1);
    PlannedFile::write(VmdkPlan::begin(&file, OUTPUT, size, &options), &extents(size, u64::MAX, first))
        .unwrap();
    let mut image = file.bytes().clone();
    let last = VmdkMap::open(image.as_slice(), OUTPUT).unwrap().extent_at(size - 1).unwrap();
    if let (true, Source::Data { offset, .. }) = (cut_off, last.source) {
        // What a grain has behind the disk's end need not be in the file.
        image.truncate(usize::try_from(offset + last.len).unwrap());
    }
    for ((pieces, stops), number) in rounds.into_iter().zip(2..) {
        image = check_round(image, pieces, &stops, number);
    }
}

fn disk(image: &[u8]) -> Vec<u8> {
    disk_bytes(&mut VmdkMap::open(image, OUTPUT).unwrap(), image).unwrap()
}

/// Writes to the image. Its identity changes if anything does; header, directories, and grains stay where they are, and both
/// copies of the tables say the same.
fn check_round(image: Vec<u8>, pieces: Vec<Piece>, stops: &[u64], number: u32) -> Vec<u8> {
    let file = UpdatedFile::new(image.clone(), number.into());
    let update = VmdkUpdate::open(&file, &file, OUTPUT, number << 16).unwrap();
    let size = update.virtual_size();
    let extents = extents(size, u64::MAX, pieces);
    PlannedFile::write(Ok(update), &extents).unwrap();
    file.check(&extents, disk, stops);

    let updated = file.bytes().clone();
    let cid = |image: &[u8]| VmdkMap::open(image, OUTPUT).unwrap().identity().cid;
    let changed = !file.written().is_empty();
    assert_eq!(cid(&updated), if changed { number << 16 } else { cid(&image) });
    assert!(changed || updated == image);
    assert!(updated[..512] == image[..512], "the header is as it was");

    let at = |field: usize| {
        usize::try_from(u64::from_le_bytes(*image[field..].first_chunk().unwrap()) * SECTOR).unwrap()
    };
    let (rgd_at, gd_at, grains_at) = (at(48), at(56), at(64));
    let entries = |image: &[u8], range: core::ops::Range<usize>| -> Vec<u32> {
        image[range].as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect()
    };
    let tables = usize::try_from(size.div_ceil(GRAIN_LEN * GTES_PER_GT)).unwrap();
    let tables_at = (tables * 4).next_multiple_of(512);
    for directory in [rgd_at, gd_at] {
        let range = directory..directory + tables_at;
        assert_eq!(entries(&image, range.clone()), entries(&updated, range), "a directory");
    }
    let tables = |image: &[u8], directory: usize| {
        entries(image, directory + tables_at..directory + tables_at + tables * 2048)
    };
    assert_eq!(tables(&updated, rgd_at), tables(&updated, gd_at), "the copies of the tables");
    for (old, new) in tables(&image, gd_at).into_iter().zip(tables(&updated, gd_at)) {
        let is_new = old < 2 && u64::from(new) * SECTOR >= image.len() as u64;
        assert!(old == new || is_new || new == 1, "{old} {new}, and grains begin at {grains_at}");
    }
    updated
}

/// Each grain that an extent touches is in the file, aligned and behind the tables, and no other is; both copies of the
/// tables say so.
fn check_grains(file: &PlannedFile, map: &VmdkMap<&PlannedFile>, extents: &[Extent]) {
    let touched = blocks(extents, GRAIN_LEN);
    let header: [u8; 512] = read(file, 0);
    let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    // "Hosted Sparse Extent Header": rgdOffset, gdOffset, overHead.
    let [rgd_at, gd_at, grains_at] = [48, 56, 64].map(|at| field(at) * SECTOR);
    assert_eq!(file.file_len(), grains_at + touched.len() as u64 * GRAIN_LEN, "ends with a grain");

    let tables = map.virtual_size().div_ceil(GRAIN_LEN * GTES_PER_GT);
    let table_of = |directory: u64, index: u64| {
        let at = u64::from(u32::from_le_bytes(read(file, directory + index * 4))) * SECTOR;
        assert!(at != 0 && at + GTES_PER_GT * 4 <= grains_at, "table {index} is at {at}");
        at
    };
    let (mut tables_at, mut grains) = (BTreeSet::new(), BTreeSet::new());
    // Tables of which nothing is touched are looked at by the reader.
    for index in touched.iter().map(|grain| grain / GTES_PER_GT).collect::<BTreeSet<_>>() {
        assert!(index < tables);
        let copies = [rgd_at, gd_at].map(|directory| table_of(directory, index));
        assert!(copies.iter().all(|&at| tables_at.insert(at)), "two tables at one place");
        let [redundant, table] = copies.map(|at| read::<2048>(file, at));
        assert_eq!(redundant, table, "copies of table {index}");
        for (grain, entry) in (index * GTES_PER_GT..).zip(table.as_chunks().0) {
            let at = u64::from(u32::from_le_bytes(*entry)) * SECTOR;
            assert_eq!(at != 0, touched.contains(&grain), "grain {grain}");
            if at != 0 {
                assert!(at >= grains_at && at.is_multiple_of(GRAIN_LEN), "grain {grain} is at {at}");
                assert!(grains.insert(at), "two grains are at {at}");
            }
        }
    }
    assert_eq!(grains.len(), touched.len());
}

fn read<const N: usize>(file: &PlannedFile, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    file.read_exact_at(at, &mut bytes).unwrap();
    bytes
}
