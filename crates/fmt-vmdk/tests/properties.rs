//! What must hold for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, blocks, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, SECTOR, Source, Zeros, round_up_to_sector};
use fmt_vmdk::{Options, VmdkMap, VmdkPlan};
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
