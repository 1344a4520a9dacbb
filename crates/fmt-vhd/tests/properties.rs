//! What must hold for any size, and for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, blocks, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, SECTOR};
use fmt_vhd::footer::MAX_DISK_SIZE;
use fmt_vhd::plan::{BLOCK_SIZE, max_len, virtual_size};
use fmt_vhd::{Geometry, Options, Subformat, VhdMap, VhdPlan, raw};
use proptest::prelude::*;

const BLOCK_LEN: u64 = BLOCK_SIZE as u64;

/// A block and its bitmap.
const STRIDE: u64 = BLOCK_LEN + SECTOR;

/// What a disk allocates at most, so that a case takes no longer than a moment.
const BUDGET: u64 = 64 * BLOCK_LEN;

/// Sizes in bytes, up to some that are too large.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| magnitude(bits).min(MAX_DISK_SIZE)),
        1 => MAX_DISK_SIZE - 1..MAX_DISK_SIZE + 1000,
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    prop::collection::vec(any::<[u64; 3]>().prop_map(Piece::from), 0..12)
}

fn subformats() -> impl Strategy<Value = Subformat> {
    prop_oneof![Just(Subformat::Dynamic), Just(Subformat::Fixed)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_geometry_holds_the_disk_and_little_more(sectors in any::<u64>().prop_map(magnitude)) {
        let geometry = Geometry::at_least(sectors);
        let Geometry { cylinders, heads, sectors_per_track } = geometry;
        if sectors > Geometry::MAX.sectors() {
            prop_assert_eq!(geometry, Geometry::MAX);
        } else if sectors > 0 {
            prop_assert!(geometry.sectors() >= sectors);
            // A disk that has been rounded up stays as it is.
            prop_assert_eq!(Geometry::at_least(geometry.sectors()).sectors(), geometry.sectors());
            prop_assert!(cylinders >= 1 && (4..=16).contains(&heads), "{:?}", geometry);
            prop_assert!([17, 31, 63, 255].contains(&sectors_per_track), "{:?}", geometry);
            // Two cylinders of the largest kind: one that is begun, and what rounding loses.
            prop_assert!(geometry.sectors() - sectors < 2 * 16 * 255, "{:?}", geometry);
        }
        prop_assert!(Geometry::at_least(sectors + 1).sectors() >= geometry.sectors(), "larger disks");
    }

    #[test]
    fn a_disk_is_read_as_it_was_written(
        size in sizes(),
        pieces in pieces(),
        subformat in subformats(),
        force_size: bool,
    ) {
        let options = Options { subformat, force_size, ..Options::default() };
        let extents = extents(size, BUDGET, pieces);
        let file = PlannedFile::new(max_len(size, &options).unwrap_or(0));
        let written = PlannedFile::write(VhdPlan::begin(&file, OUTPUT, size, &options), &extents);

        if size > MAX_DISK_SIZE {
            prop_assert_eq!(written.unwrap_err().kind, ErrorKind::TooLarge);
            prop_assert_eq!(file.output().file_len(), None);
        } else if size == 0 && subformat == Subformat::Fixed {
            prop_assert_eq!(written.unwrap_err().kind, ErrorKind::UnsupportedFeature);
            prop_assert_eq!(file.output().file_len(), None);
        } else {
            written.unwrap();
            let mut map = VhdMap::open(&file, OUTPUT).unwrap();
            prop_assert_eq!(map.virtual_size(), virtual_size(size, &options).unwrap());
            prop_assert_eq!(file.output().holes(), [], "whatever was in the file before");
            match subformat {
                Subformat::Dynamic => check_blocks(&file, &map, &extents),
                Subformat::Fixed => assert_eq!(file.file_len(), map.virtual_size() + SECTOR),
            }
            // In a fixed disk, what was not given is data too.
            file.check_disk(&mut map, &extents).unwrap();
        }
    }
}

/// Each block that an extent touches is in the file, in whole sectors behind the table, and no other is.
fn check_blocks(file: &PlannedFile, map: &VhdMap<&PlannedFile>, extents: &[Extent]) {
    let header = map.header().unwrap();
    let first = (header.table_offset() + u64::from(header.entries()) * 4).next_multiple_of(SECTOR);
    let touched = blocks(extents, BLOCK_LEN);
    assert_eq!(u64::from(header.entries()), map.virtual_size().div_ceil(BLOCK_LEN));
    assert_eq!(file.file_len(), first + touched.len() as u64 * STRIDE + SECTOR, "ends with the footer");

    let mut table = vec![0; header.entries() as usize * 4];
    file.read_exact_at(header.table_offset(), &mut table).unwrap();
    let mut places = BTreeSet::new();
    for (index, entry) in (0..).zip(table.as_chunks().0) {
        let entry = u32::from_be_bytes(*entry);
        assert_eq!(entry != raw::UNUSED, touched.contains(&index), "block {index}");
        if entry != raw::UNUSED {
            let at = u64::from(entry) * SECTOR;
            assert!(at >= first && (at - first).is_multiple_of(STRIDE), "block {index} is at {at}");
            assert!(places.insert(at), "two blocks are at {at}");
            let mut bitmap = [0; 512];
            file.read_exact_at(at, &mut bitmap).unwrap();
            assert_eq!(bitmap, [0xff; 512], "all sectors of block {index} are there");
        }
    }
}
