use std::vec::Vec;

use super::*;
use crate::testing::{IMAGE, INPUT, Output, Random, disk_bytes};
use crate::{VhdMap, raw};
use fmt_core::{DiskMap, Step};

const FIXED: Options = Options {
    unique_id: [0; 16],
    time_stamp: 0,
    subformat: Subformat::Fixed,
    force_size: false,
    zeros: Zeros::Written,
};
const DYNAMIC: Options = Options { subformat: Subformat::Dynamic, ..FIXED };

/// Extents as start, length, and whether they are data.
type Pieces<'p> = &'p [(u64, u64, bool)];

fn extents(pieces: Pieces<'_>) -> impl Iterator<Item = Extent> {
    pieces.iter().map(|&(start, len, data)| {
        let source = if data { Source::Data { file: INPUT, offset: start } } else { Source::Zero };
        Extent { start, len, source }
    })
}

/// Writes a disk, checks its bytes, and returns the file and the lengths that it was given.
#[track_caller]
fn written(disk: &[u8], pieces: Pieces<'_>, options: &Options) -> (Vec<u8>, Vec<u64>) {
    let output = Output::new(disk);
    let mut plan = VhdPlan::begin(&output, IMAGE, disk.len() as u64, options).unwrap();
    for extent in extents(pieces) {
        plan.extent(extent).unwrap();
    }
    plan.finish().unwrap();
    let lengths = output.lengths();
    let file = output.into_bytes();

    let mut expected: Vec<u8> = Vec::new();
    let size = virtual_size(disk.len() as u64, options).unwrap();
    expected.resize(usize::try_from(size).unwrap(), 0);
    for &(start, len, data) in pieces {
        let (start, len) = (usize::try_from(start).unwrap(), usize::try_from(len).unwrap());
        if data {
            expected[start..start + len].copy_from_slice(&disk[start..start + len]);
        }
    }
    assert!(disk_bytes(&file, None).unwrap() == expected, "another disk than was written");
    (file, lengths)
}

fn disk(len: usize) -> Vec<u8> {
    Random(7).bytes(len)
}

#[test]
fn an_empty_disk_is_four_sectors() {
    let (file, lengths) = written(&[], &[], &DYNAMIC);
    assert_eq!((file.len(), lengths), (2048, std::vec![2048]));
    assert_eq!(VhdMap::open(file.as_slice(), IMAGE).unwrap().virtual_size(), 0);
}

#[test]
fn an_empty_fixed_disk_is_refused_before_any_step() {
    let output = Output::new(&[]);
    let error = VhdPlan::begin(&output, IMAGE, 0, &FIXED).unwrap_err();
    assert_eq!((error.kind, output.lengths().len()), (ErrorKind::UnsupportedFeature, 0));
}

#[test]
fn a_disk_that_is_too_large_is_refused_before_any_step() {
    for options in [DYNAMIC, FIXED, Options { force_size: true, ..DYNAMIC }] {
        for size in [MAX_DISK_SIZE + 1, u64::MAX - 511, u64::MAX] {
            let output = Output::new(&[]);
            let error = VhdPlan::begin(&output, IMAGE, size, &options).unwrap_err();
            assert_eq!((error.kind, output.lengths().len()), (ErrorKind::TooLarge, 0), "{size}");
        }
    }
}

/// The bitmap and the table belong to a dense image's length: an estimate without them is exceeded by the last write.
#[test]
fn the_length_of_a_dense_disk_is_foretold() {
    for len in [512, 1 << 20, 2 << 20, (2 << 20) + 512, (6 << 20) - 512, 10 << 20] {
        for options in [DYNAMIC, FIXED] {
            let (file, lengths) = written(&disk(len), &[(0, len as u64, true)], &options);
            let foretold = max_len(len as u64, &options).unwrap();
            assert_eq!((file.len() as u64, lengths), (foretold, std::vec![foretold]), "{len}");
        }
    }
}

/// Requests and file lengths of `qemu-img dd -O vpc`.
#[test]
fn lengths_are_those_of_qemu() {
    let recorded = [
        (0, 2048),
        (1, 2_100_224),
        (1 << 20, 2_100_224),
        (2 << 20, 2_100_224),
        ((2 << 20) + 1, 4_197_888),
        (4 << 20, 4_197_888),
        ((6 << 20) - 512, 6_295_552),
        (10 << 20, 10_490_880),
    ];
    for (size, len) in recorded {
        assert_eq!(max_len(size, &DYNAMIC), Ok(len), "{size}");
    }
    assert_eq!(max_len(1 << 20, &FIXED), Ok(1_079_808));
    assert_eq!(max_len(1 << 20, &Options { force_size: true, ..FIXED }), Ok(1_049_088));
}

/// Requests and virtual sizes of `qemu-img create -f vpc`.
#[test]
fn sizes_are_those_of_qemu() {
    let recorded = [
        (0, 0),
        (512, 34_816),
        (1000, 34_816),
        (34_816, 34_816),
        (34_817, 69_632),
        (65_536, 69_632),
        (69_632, 69_632),
        (69_633, 104_448),
        (102_400, 104_448),
        (348_161, 382_976),
        (1 << 20, 1_079_296),
        (2 << 20, 2_123_776),
        (4 << 20, 4_212_736),
        (10 << 20, 10_514_432),
        (16 << 20, 16_781_312),
        (32 << 20, 33_562_624),
        (64 << 20, 67_125_248),
        (100 << 20, 104_865_792),
        (104_857_599, 104_865_792),
        (128 << 20, 134_250_496),
        (256 << 20, 268_886_016),
        (504 << 20, 528_482_304),
        (512 << 20, 537_255_936),
        ((1 << 30) - 1, 1_073_995_776),
        (1 << 30, 1_073_995_776),
        (2 << 30, 2_147_991_552),
        (4 << 30, 4_295_467_008),
        (8 << 30, 8_590_417_920),
        (10 << 30, 10_737_893_376),
        (16 << 30, 17_180_319_744),
        (31 << 30, 33_286_127_616),
        (33_822_350_848, 33_822_351_360),
        (33_822_351_360, 33_822_351_360),
        (33_822_351_361, 33_824_440_320),
        (32 << 30, 34_361_303_040),
        (64 << 30, 68_720_517_120),
        (100 << 30, 107_374_632_960),
        (136_365_211_648, 136_365_219_840),
        (136_899_993_599, 136_899_993_600),
        (136_899_993_600, 136_899_993_600),
        (136_899_993_601, 136_899_994_112),
        (128 << 30, 128 << 30),
        (200 << 30, 200 << 30),
        (512 << 30, 512 << 30),
        (1 << 40, 1 << 40),
        ((2040 << 30) - 1, 2040 << 30),
        (2040 << 30, 2040 << 30),
    ];
    for (request, size) in recorded {
        assert_eq!(virtual_size(request, &DYNAMIC), Ok(size), "{request}");
        let forced = virtual_size(request, &Options { force_size: true, ..DYNAMIC });
        assert_eq!(forced, Ok(request.next_multiple_of(512)), "{request}");
    }
}

/// An input of small clusters must not leave the rest of a block unwritten.
#[test]
fn extents_smaller_than_a_block_share_it() {
    let len = 5 << 20;
    let pieces: Vec<_> = (0..len / 4096).map(|i| (i * 4096, 4096, true)).collect();
    let dense = written(&disk(5 << 20), &[(0, len, true)], &DYNAMIC);
    assert!(dense == written(&disk(5 << 20), &pieces, &DYNAMIC), "another file");
}

#[test]
fn blocks_that_nothing_touches_are_not_allocated() {
    let disk = disk(9 << 20);
    let pieces = [(1000, 24, true), (5 << 20, 512, false), ((9 << 20) - 1, 1, true)];
    let (file, lengths) = written(&disk, &pieces, &DYNAMIC);
    assert_eq!(lengths, [max_len(9 << 20, &DYNAMIC).unwrap(), file.len() as u64]);
    let table: Vec<_> = file[1536..1556].chunks(4).map(|entry| entry.to_vec()).collect();
    let entry = |sector: u32| sector.to_be_bytes().to_vec();
    assert_eq!(table, [4, raw::UNUSED, 4101, raw::UNUSED, 8198].map(entry));
}

#[test]
fn gaps_in_a_fixed_disk_are_written() {
    written(&disk(3 << 20), &[(1000, 24, true), (1 << 20, 512, false), (2 << 20, 7, true)], &FIXED);
    written(&disk(512), &[], &FIXED);
}

#[test]
fn what_is_unallocated_is_left_out() {
    for options in [DYNAMIC, FIXED] {
        let output = Output::new(&[]);
        let mut plan = VhdPlan::begin(&output, IMAGE, 4 << 20, &options).unwrap();
        plan.extent(Extent { start: 0, len: 4 << 20, source: Source::Unallocated }).unwrap();
        plan.finish().unwrap();
        let file = output.into_bytes();
        assert!(disk_bytes(&file, None).unwrap().iter().all(|&byte| byte == 0));
        assert_eq!(file.len() == 2560, options == DYNAMIC);
    }
}

#[test]
fn a_forced_size_is_exact() {
    for subformat in [Subformat::Dynamic, Subformat::Fixed] {
        let options = Options { force_size: true, subformat, ..DYNAMIC };
        let (file, _) = written(&disk(3_000_320), &[(0, 3_000_320, true)], &options);
        assert_eq!(VhdMap::open(file.as_slice(), IMAGE).unwrap().virtual_size(), 3_000_320);
    }
}

#[test]
fn extents_out_of_order_or_outside_are_refused() {
    for options in [DYNAMIC, FIXED] {
        let output = Output::new(&[0; 512]);
        let mut plan = VhdPlan::begin(&output, IMAGE, 5000, &options).unwrap();
        let mut extent = |start, len| plan.extent(Extent { start, len, source: Source::Zero });
        assert_eq!(extent(5120, 1).unwrap_err().kind, ErrorKind::Corrupt);
        assert_eq!(extent(0, u64::MAX).unwrap_err().kind, ErrorKind::Corrupt);
        extent(1000, 100).unwrap();
        assert_eq!(extent(1099, 1).unwrap_err().kind, ErrorKind::Corrupt);
        extent(1100, 5120 - 1100).unwrap();
    }
}

/// A sink that counts: what the largest disk costs must not be what it holds.
#[derive(Default)]
struct Count {
    steps: core::cell::Cell<u32>,
    table: core::cell::Cell<u64>,
    largest: core::cell::Cell<usize>,
    last_len: core::cell::Cell<u64>,
}

impl StepSink for Count {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        self.steps.set(self.steps.get() + 1);
        match step {
            Step::SetLen { len, .. } => self.last_len.set(len),
            Step::Write { dst, bytes, .. } => {
                self.largest.set(self.largest.get().max(bytes.len()));
                if (TABLE_OFFSET..TABLE_OFFSET + (4 << 20)).contains(&dst) {
                    self.table.set(self.table.get() + bytes.len() as u64);
                }
            }
            Step::Fill { .. } => {}
        }
        Ok(())
    }
}

#[test]
fn the_largest_disk_is_written_through_a_window() {
    let count = Count::default();
    let mut plan = VhdPlan::begin(&count, IMAGE, MAX_DISK_SIZE, &DYNAMIC).unwrap();
    plan.extent(Extent { start: MAX_DISK_SIZE - 1, len: 1, source: Source::Zero }).unwrap();
    plan.finish().unwrap();
    assert_eq!(count.largest.get(), 64 << 10);
    assert!(count.steps.get() < 80);
    // 1,044,480 entries; `qemu-img create` makes a file of 4179968 bytes without a block.
    assert_eq!(count.last_len.get(), 4_179_968 + 512 + (2 << 20));
    // The last footer and the block's bitmap lie within the first 4 MiB behind the table's beginning.
    assert_eq!(count.table.get() - 512, 1_044_480 * 4);
}

#[test]
fn every_block_of_the_largest_disk_has_a_number() {
    let len = max_len(MAX_DISK_SIZE, &DYNAMIC).unwrap();
    assert!(len / SECTOR < u64::from(raw::UNUSED));
}

#[test]
fn times_are_counted_from_2000_on() {
    assert_eq!(time_stamp(0), 0);
    assert_eq!(time_stamp(946_684_801), 1);
    assert_eq!(time_stamp(u64::MAX), u32::MAX);
}
