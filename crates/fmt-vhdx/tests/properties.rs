//! What must hold for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, UpdatedFile, blocks, disk_bytes, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, Zeros, round_up_to_sector};
use fmt_vhdx::bat::{BatEntry, BatLayout, BlockState};
use fmt_vhdx::metadata::MAX_VIRTUAL_SIZE;
use fmt_vhdx::raw::MIB;
use fmt_vhdx::{Guid, Options, Regions, Subformat, VhdxMap, VhdxPlan, VhdxUpdate, WriteGuids};
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

/// The pieces of a disk of a few blocks, and where its writer is stopped.
fn round() -> impl Strategy<Value = (Vec<Piece>, [u64; 4])> {
    let pieces = any::<[u64; 3]>().prop_map(|numbers| Piece::from(numbers).below(2 << 20));
    (prop::collection::vec(pieces, 0..8), any::<[u64; 4]>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn a_disk_is_updated_as_the_model_says(
        size in 1..(6_u64 << 20),
        options in options(),
        cut_off: bool,
        first in round(),
        rounds in prop::collection::vec(round(), 1..4),
    ) {
        let options = Options { block_size: Some(1 << 20), zeros: Zeros::Absent, ..options };
        let file = UpdatedFile::new(Vec::new(), 1);
        let plan = VhdxPlan::begin(&file, OUTPUT, size, &options);
        PlannedFile::write(plan, &extents(size, u64::MAX, first.0)).unwrap();
        let mut image = file.bytes().clone();
        if cut_off {
            // What a block has behind the disk's end need not be in the file.
            let whole = VhdxMap::open(image.as_slice(), OUTPUT).unwrap().extent_at(size - 1).unwrap();
            if let fmt_core::Source::Data { offset, .. } = whole.source
                && offset + MIB > image.len() as u64
            {
                image.truncate(usize::try_from(offset + whole.len).unwrap());
            }
        }
        for ((pieces, stops), seed) in rounds.into_iter().zip(2..) {
            image = check_round(image, pieces, &stops, seed);
        }
    }
}

fn disk(image: &[u8]) -> Vec<u8> {
    disk_bytes(&mut VhdxMap::open(image, OUTPUT).unwrap(), image).unwrap()
}

/// Writes to the image. Headers change if anything does; regions but for the BAT stay, and blocks where they are.
fn check_round(image: Vec<u8>, pieces: Vec<Piece>, stops: &[u64], seed: u8) -> Vec<u8> {
    let file = UpdatedFile::new(image.clone(), seed.into());
    let guids = WriteGuids { file: Guid([seed; 16]), data: Guid([seed + 100; 16]) };
    let update = VhdxUpdate::open(&file, &file, OUTPUT, guids).unwrap();
    let extents = extents(update.virtual_size(), u64::MAX, pieces);
    PlannedFile::write(Ok(update), &extents).unwrap();
    file.check(&extents, disk, stops);

    let updated = file.bytes().clone();
    let header = |image: &[u8]| *VhdxMap::open(image, OUTPUT).unwrap().header();
    let (old, new) = (header(&image), header(&updated));
    if file.written().is_empty() {
        assert_eq!(updated, image);
    } else {
        assert_eq!((new.file_write_guid, new.data_write_guid), (guids.file, guids.data));
        assert_eq!((new.sequence_number, new.log), (old.sequence_number + 2, old.log));
        // Either header will do.
        for at in fmt_vhdx::raw::HEADERS_AT {
            let mut one = updated.clone();
            one[usize::try_from(at).unwrap()] ^= 1;
            assert_eq!(header(&one).file_write_guid, guids.file);
        }
    }
    let regions = Regions::read(image.as_slice(), old.log).unwrap();
    let place = |at: u64| usize::try_from(at).unwrap();
    let (bat, end) = (place(regions.bat.at), place(regions.metadata.at + regions.metadata.len));
    assert!(image[192 << 10..bat] == updated[192 << 10..bat], "region tables, log");
    assert!(image[place(regions.metadata.at)..end] == updated[place(regions.metadata.at)..end]);
    let entries = image[bat..end].as_chunks().0.iter().zip(updated[bat..end].as_chunks().0).take(10);
    for (old, new) in entries {
        let (old, new) = (BatEntry(u64::from_le_bytes(*old)), BatEntry(u64::from_le_bytes(*new)));
        let is_new = old == BatEntry::NOT_PRESENT && new.state() == Some(BlockState::FullyPresent);
        assert!(old == new || is_new && new.offset() >= image.len() as u64, "{old:?} {new:?}");
    }
    updated
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
