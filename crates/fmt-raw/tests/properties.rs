//! What must hold for any disk that is written.

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, extents, magnitude};
use fmt_core::{ErrorKind, Source, round_up_to_sector};
use fmt_raw::{RawMap, RawPlan};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_disk_is_read_as_it_was_written(
        size in any::<u64>().prop_map(magnitude),
        pieces in prop::collection::vec(any::<[u64; 3]>(), 0..12),
    ) {
        let extents = extents(size, u64::MAX, pieces.into_iter().map(Piece::from));
        let file = PlannedFile::new(u64::MAX);
        PlannedFile::write(RawPlan::begin(&file, OUTPUT, size), &extents).unwrap();

        let len = round_up_to_sector(size).unwrap();
        prop_assert_eq!(file.output().file_len(), Some(len));
        file.check_disk(&mut RawMap::new(OUTPUT, len).unwrap(), &extents).unwrap();

        // What no extent covers is left alone, and the rest of the last sector is not.
        let given = extents.iter().filter(|extent| extent.source != Source::Unallocated);
        let given: u64 = given.map(|extent| extent.len).sum();
        prop_assert_eq!(file.output().written(), given + (len - size));
    }

    #[test]
    fn a_disk_whose_sectors_overflow_is_refused(over in 1..512_u64) {
        let file = PlannedFile::new(u64::MAX);
        let begun = RawPlan::begin(&file, OUTPUT, u64::MAX - 511 + over);
        prop_assert_eq!(begun.unwrap_err().kind, ErrorKind::TooLarge);
        prop_assert_eq!(file.output().file_len(), None);
    }
}
