//! What must hold for any size, and for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

#[path = "../src/testing.rs"]
mod testing;

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, UpdatedFile, blocks, disk_bytes, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, SECTOR, Zeros};
use fmt_vhd::footer::MAX_DISK_SIZE;
use fmt_vhd::plan::{BLOCK_SIZE, max_len, virtual_size};
use fmt_vhd::{Geometry, Options, Subformat, VhdMap, VhdPlan, VhdUpdate, raw};
use proptest::prelude::*;
use testing::Image;

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

/// The pieces of a disk of a few blocks, and where its writer is stopped.
fn round(most: u64) -> impl Strategy<Value = (Vec<Piece>, [u64; 4])> {
    let pieces = any::<[u64; 3]>().prop_map(move |numbers| Piece::from(numbers).below(most));
    (prop::collection::vec(pieces, 0..8), any::<[u64; 4]>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn a_disk_is_updated_as_the_model_says(
        size in 1..(9_u64 << 20),
        subformat in subformats(),
        first in round(4 << 20),
        rounds in prop::collection::vec(round(4 << 20), 1..4),
    ) {
        let options = Options { subformat, force_size: true, zeros: Zeros::Absent, ..Options::default() };
        let file = UpdatedFile::new(Vec::new(), 1);
        let plan = VhdPlan::begin(&file, OUTPUT, size, &options);
        PlannedFile::write(plan, &extents(size, u64::MAX, first.0)).unwrap();
        check_rounds(file.bytes().clone(), &rounds);
    }

    /// Small blocks, as no tool makes them, so that there are many.
    #[test]
    fn small_blocks_are_updated_as_the_model_says(
        present in prop::collection::btree_set(0..70_u32, 0..20),
        rounds in prop::collection::vec(round(64 << 10), 1..5),
    ) {
        let mut image = Image::new(70 * 4096 - 512, 4096);
        for block in present {
            image = image.block(block, &[block.to_le_bytes()[0]]);
        }
        check_rounds(image.bytes(), &rounds);
    }
}

fn disk(image: &[u8]) -> Vec<u8> {
    disk_bytes(&mut VhdMap::open(image, OUTPUT).unwrap(), image).unwrap()
}

/// Writes to the image in several rounds. Footer, header, and blocks stay where they are; the footer ends the file.
fn check_rounds(mut image: Vec<u8>, rounds: &[(Vec<Piece>, [u64; 4])]) {
    for ((pieces, stops), seed) in rounds.iter().zip(2..) {
        let file = UpdatedFile::new(image.clone(), seed);
        let update = VhdUpdate::open(&file, &file, OUTPUT).unwrap();
        let extents = extents(update.virtual_size(), u64::MAX, pieces.iter().copied());
        PlannedFile::write(Ok(update), &extents).unwrap();
        file.check(&extents, disk, stops);

        let updated = file.bytes().clone();
        assert!(updated.ends_with(&image[image.len() - 512..]), "the footer ends the file");
        if VhdMap::open(image.as_slice(), OUTPUT).unwrap().header().is_some() {
            assert!(updated[..1536] == image[..1536], "the headers are as they were");
            let old = image[1536..2048].as_chunks().0.iter().zip(updated[1536..].as_chunks().0);
            for (old, new) in old {
                let (old, new) = (u32::from_be_bytes(*old), u32::from_be_bytes(*new));
                assert!(
                    old == new
                        || old == raw::UNUSED && u64::from(new) * SECTOR >= image.len() as u64 - SECTOR
                );
            }
        }
        image = updated;
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
