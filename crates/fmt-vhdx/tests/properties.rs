//! What must hold for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, blocks, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, round_up_to_sector};
use fmt_vhdx::bat::{BatEntry, BatLayout, BlockState};
use fmt_vhdx::metadata::MAX_VIRTUAL_SIZE;
use fmt_vhdx::raw::MIB;
use fmt_vhdx::{Guid, Options, Regions, Subformat, VhdxMap, VhdxPlan};
use proptest::prelude::*;

/// How many blocks a disk allocates at most, so that a case takes no longer than a moment.
const BUDGET: u64 = 50;

/// The same of the blocks that it has.
const MAX_BLOCKS: u64 = 10_000;

/// Sizes in bytes, up to some that are too large.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| magnitude(bits).min(MAX_VIRTUAL_SIZE)),
        1 => MAX_VIRTUAL_SIZE - 1..MAX_VIRTUAL_SIZE + 1000,
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let subformat = prop_oneof![Just(Subformat::Dynamic), Just(Subformat::Fixed)];
    (prop::option::of(20..29_u32), 1..4_u32, subformat).prop_map(|(block_bits, log_mib, subformat)| Options {
        block_size: block_bits.map(|bits| 1 << bits),
        log_size: log_mib << 20,
        subformat,
        ..Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_disk_is_read_as_it_was_written(
        size in sizes(),
        pieces in prop::collection::vec(any::<[u64; 3]>().prop_map(Piece::from), 0..12),
        options in options(),
    ) {
        let block_size = options.block_size.map_or(MIB, u64::from);
        // Each block is looked at, and those of a fixed disk are written.
        let size = if size > MAX_VIRTUAL_SIZE { size } else { size.min(MAX_BLOCKS * block_size) };
        let extents = extents(size, BUDGET * block_size, pieces);
        let file = PlannedFile::new(options.max_len(size).unwrap_or(0));
        let written = PlannedFile::write(VhdxPlan::begin(&file, OUTPUT, size, &options), &extents);

        if size > MAX_VIRTUAL_SIZE {
            prop_assert_eq!(written.unwrap_err().kind, ErrorKind::TooLarge);
            prop_assert_eq!(file.output().file_len(), None);
        } else {
            written.unwrap();
            let mut map = VhdxMap::open(&file, OUTPUT).unwrap();
            prop_assert_eq!(map.virtual_size(), round_up_to_sector(size).unwrap());
            check_blocks(&file, &map, &extents, options.subformat);
            file.check_disk(&mut map, &extents).unwrap();
        }
    }
}

/// Each block that an extent touches is in the file, at whole MiBs behind the regions, and in a dynamic disk no other is.
fn check_blocks(file: &PlannedFile, map: &VhdxMap<&PlannedFile>, extents: &[Extent], subformat: Subformat) {
    let (metadata, log) = (map.metadata(), map.header().log);
    let regions = Regions::read(&file, log).unwrap();
    let layout = BatLayout::new(metadata.virtual_size, metadata.block_size, metadata.logical_sector_size);
    let mut present = blocks(extents, layout.block_size);
    if subformat == Subformat::Fixed {
        present = (0..layout.blocks).collect();
    }
    let first = [log, regions.bat, regions.metadata].map(|region| region.at + region.len).into_iter().max();
    let first = first.unwrap();
    assert_eq!(file.file_len(), first + present.len() as u64 * layout.block_size, "ends with a block");

    let mut bat = vec![0; usize::try_from(regions.bat.len).unwrap()];
    file.read_exact_at(regions.bat.at, &mut bat).unwrap();
    let bat = bat.as_chunks().0;
    let mut places = BTreeSet::new();
    let mut payload = BTreeSet::new();
    for block in 0..layout.blocks {
        let index = layout.payload_index(block);
        let entry = BatEntry(u64::from_le_bytes(bat[usize::try_from(index).unwrap()]));
        payload.insert(index);
        if present.contains(&block) {
            assert_eq!(entry.state(), Some(BlockState::FullyPresent), "block {block}");
            let at = entry.offset();
            assert!(
                at >= first && (at - first).is_multiple_of(layout.block_size),
                "block {block} is at {at}"
            );
            assert!(places.insert(at), "two blocks are at {at}");
        } else {
            assert_eq!(entry, BatEntry(0), "block {block}");
        }
    }
    // Entries of sector bitmaps, and those behind the last.
    let others = (0..).zip(bat).filter(|(index, _)| !payload.contains(index));
    assert!(others.into_iter().all(|(_, entry)| *entry == [0; 8]), "no sector bitmap is there");

    // The header section is 1 MiB, of which five structures of 64 KiB, two of them of 4 KiB, are used.
    let holes = file.output().holes();
    let kept = |hole: &core::ops::Range<u64>| {
        hole.end <= log.at + log.len || (hole.start >= regions.metadata.at && hole.end <= first)
    };
    assert!(holes.iter().all(kept), "{holes:?}");
}
