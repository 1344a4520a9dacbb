//! Images written by the plan, read by `qemu-img`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt as _;

use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, Source, Zeros};
use fmt_vhdx::{Options, Subformat, VhdxPlan};

use crate::common::{MIB, OUTPUT, Out, data, input, options, write, zero};
use crate::qemu::Qemu;

fn create(qemu: &Qemu, name: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(qemu.path(name)).unwrap()
}

/// Writes `ours.vhdx`, and checks that `qemu-img` finds in it what was written.
#[track_caller]
fn written(qemu: &Qemu, size: u64, options: &Options, extents: &[Extent]) -> u64 {
    let len = write(create(qemu, "ours.vhdx"), size, options, extents);
    let disk_len = size.next_multiple_of(512);
    let expected = File::create(qemu.path("expected.raw")).unwrap();
    expected.set_len(disk_len).unwrap();
    for extent in extents.iter().filter(|extent| extent.source != Source::Zero) {
        let bytes: Vec<u8> = (extent.start..extent.end()).map(input).collect();
        expected.write_all_at(&bytes, extent.start).unwrap();
    }
    qemu.img(&["check", "-q", "ours.vhdx"]);
    qemu.img(&["compare", "-q", "-f", "raw", "-F", "vhdx", "expected.raw", "ours.vhdx"]);
    assert_eq!(qemu.open("ours.vhdx").virtual_size(), disk_len);
    len
}

/// The whole disk in pieces of `piece` bytes.
fn dense(size: u64, piece: u64) -> Vec<Extent> {
    (0..size)
        .step_by(usize::try_from(piece).unwrap())
        .zip(0..)
        .map(|(at, number)| {
            let len = piece.min(size - at);
            if number % 5 == 3 { zero(at, len) } else { data(at, len) }
        })
        .collect()
}

/// As `qemu-img dd` writes it, down to the last field of `info`.
#[test]
fn a_dense_disk_is_described_as_qemu_describes_its_own() {
    let Some(qemu) = Qemu::new() else { return };
    for size in [0, 1, 512, 1000, 65536, MIB, 8 * MIB, 8 * MIB + 512, 17 * MIB] {
        let mut raw = File::create(qemu.path("input.raw")).unwrap();
        raw.write_all(&(0..size).map(input).collect::<Vec<u8>>()).unwrap();
        qemu.img(&["dd", "-f", "raw", "-O", "vhdx", "bs=65536", "if=input.raw", "of=theirs.vhdx"]);
        let len = written(&qemu, size, &options(), &dense(size, 64 << 10));
        assert_eq!(len, options().max_len(size).unwrap());
        assert_eq!(qemu.info("ours.vhdx"), qemu.info("theirs.vhdx"), "{size}");
        assert!(len <= std::fs::metadata(qemu.path("theirs.vhdx")).unwrap().len());
    }
}

/// Inputs whose own blocks are smaller than those of the output, or do not divide them.
#[test]
fn extents_of_any_size_lose_nothing() {
    let Some(qemu) = Qemu::new() else { return };
    for piece in [512, 4096, 65536, 3 * MIB + 512] {
        written(&qemu, 9 * MIB + 1536, &options(), &dense(9 * MIB + 1536, piece));
    }
    written(
        &qemu,
        20 * MIB,
        &options(),
        &[data(100, 7), data(8 * MIB - 1, 2), zero(12 * MIB, 5), data(20 * MIB - 1, 1)],
    );
}

#[test]
fn blocks_that_nothing_touches_are_not_in_the_file() {
    let Some(qemu) = Qemu::new() else { return };
    let extents = [data(9 * MIB, 512), data(50 * MIB, 9 * MIB), zero(99 * MIB, 512)];
    let len = written(&qemu, 100 * MIB + 512, &options(), &extents);
    // Headers, log, BAT and metadata, and blocks 1, 6, 7 and 12.
    assert_eq!(len, 4 * MIB + 4 * 8 * MIB);
    assert_eq!(std::fs::metadata(qemu.path("ours.vhdx")).unwrap().len(), len);
    assert_eq!(written(&qemu, 100 * MIB, &options(), &[]), 4 * MIB);
}

/// Qemu needs room in the BAT of an empty disk, and finds it.
#[test]
fn an_empty_disk_opens() {
    let Some(qemu) = Qemu::new() else { return };
    let len = written(&qemu, 0, &options(), &[]);
    assert!(len <= 74_448_896, "qemu's own has that many bytes");
    assert!(qemu.info("ours.vhdx").contains(&"\"virtual-size\": 0".to_owned()));
    qemu.img(&["convert", "-O", "raw", "ours.vhdx", "empty.raw"]);
    assert_eq!(qemu.bytes("empty.raw"), b"");
}

/// At the limits of QEMU's block sizes, and with the entry of a sector bitmap block behind every 4096 blocks. A whole
/// comparison would take minutes: QEMU reads what was written.
#[test]
fn large_disks() {
    let Some(qemu) = Qemu::new() else { return };
    let (gib, tib) = (1_u64 << 30, 1_u64 << 40);
    let sizes = [gib, gib + 512, 100 * gib, 100 * gib + 512, 32 * tib, 32 * tib + 512, 64 * tib];
    let default = sizes.map(|size| (size, options(), "block_size=0"));
    let small = (9 * gib, Options { block_size: Some(1 << 20), ..options() }, "block_size=1M");
    for (size, options, option) in default.into_iter().chain([small]) {
        let places = [0, (size / 3).next_multiple_of(512), size / 2, size - 512];
        write(create(&qemu, "ours.vhdx"), size, &options, &places.map(|at| data(at, 512)));
        qemu.img(&["create", "-q", "-f", "vhdx", "-o", option, "theirs.vhdx", &size.to_string()]);
        assert_eq!(qemu.info("ours.vhdx"), qemu.info("theirs.vhdx"), "{size}");
        qemu.img(&["check", "-q", "ours.vhdx"]);
        let mut map = qemu.open("ours.vhdx");
        for at in places {
            let dump = qemu.run("qemu-io", &["-r", "-c", &format!("read -v {at} 16"), "ours.vhdx"]);
            let hex: Vec<String> = (at..at + 16).map(|at| format!("{:02x}", input(at))).collect();
            assert!(dump.contains(&hex.join(" ")), "{at}: {dump}");

            let Source::Data { offset, .. } = map.extent_at(at).unwrap().source else { panic!("{at}") };
            let mut ours = [0; 512];
            qemu.file("ours.vhdx").read_exact_at(offset, &mut ours).unwrap();
            assert!(ours.iter().zip(at..).all(|(&byte, at)| byte == input(at)), "{at}");
        }
    }
}

#[test]
fn a_disk_that_is_too_large_is_refused_before_any_step() {
    let tib = 1_u64 << 40;
    for size in [64 * tib + 1, u64::MAX] {
        let out = Out::new(tempfile::tempfile().unwrap());
        let error = VhdxPlan::begin(&out, OUTPUT, size, &options()).unwrap_err();
        assert_eq!((error.kind, error.what), (ErrorKind::TooLarge, "Image size too large; max of 64TB"));
        assert_eq!(*out.len.borrow(), None);
    }
    let Some(qemu) = Qemu::new() else { return };
    let said = qemu.fails("qemu-img", &["create", "-f", "vhdx", "large.vhdx", &(64 * tib + 1).to_string()]);
    assert!(said.contains("Image size too large; max of 64TB"), "{said}");
}

#[test]
fn other_options() {
    let Some(qemu) = Qemu::new() else { return };
    let fixed = Options { subformat: Subformat::Fixed, ..options() };
    let extents = [data(3 * MIB, 6 * MIB), data(30 * MIB, 512)];
    for size in [0, MIB, 33 * MIB + 512] {
        let extents = if size > 30 * MIB { &extents[..] } else { &[] };
        let len = written(&qemu, size, &fixed, extents);
        assert_eq!(len, fixed.max_len(size).unwrap());
        assert!(qemu.open("ours.vhdx").metadata().leave_blocks_allocated);
    }
    for mib in [1, 2, 256] {
        let blocks = Options { block_size: Some(mib << 20), log_size: 3 << 20, ..options() };
        written(&qemu, 40 * MIB, &blocks, &extents);
        let size = format!("\"cluster-size\": {}", mib << 20);
        assert!(qemu.info("ours.vhdx").contains(&size));
    }
}

/// As `qemu-img convert` writes it: blocks of zeros are not in the file, and the BAT says what they are.
#[test]
fn absent_zeros_are_not_in_the_file() {
    let Some(qemu) = Qemu::new() else { return };
    let extents = [
        zero(0, 5 * MIB),
        data(5 * MIB, 100),
        zero(5 * MIB + 100, 20 * MIB),
        data(40 * MIB, MIB),
        zero(41 * MIB, 9 * MIB),
    ];
    for (block_state_zero, option) in [(true, "block_size=2M"), (false, "block_size=2M,block_state_zero=off")]
    {
        let sparse =
            Options { block_size: Some(2 << 20), zeros: Zeros::Absent, block_state_zero, ..options() };
        let len = written(&qemu, 50 * MIB, &sparse, &extents);
        assert_eq!(len, 4 * MIB + 2 * (2 << 20), "the head, and two blocks");
        qemu.img(&["convert", "-f", "raw", "-O", "vhdx", "-o", option, "expected.raw", "theirs.vhdx"]);
        assert_eq!(qemu.info("ours.vhdx"), qemu.info("theirs.vhdx"));
        assert!(len <= std::fs::metadata(qemu.path("theirs.vhdx")).unwrap().len());
        let bat = |name: &str| -> Vec<u8> {
            qemu.bytes(name)[2 << 20..][..25 * 8].chunks_exact(8).map(|entry| entry[0] & 7).collect()
        };
        assert_eq!(bat("ours.vhdx"), bat("theirs.vhdx"), "the same states");
    }
}

/// The entries between those of payload blocks are those of bitmaps, and no blocks of zeros.
#[test]
fn states_of_zeros_leave_bitmaps_alone() {
    let Some(qemu) = Qemu::new() else { return };
    let sparse =
        Options { block_size: Some(1 << 20), zeros: Zeros::Absent, block_state_zero: true, ..options() };
    written(&qemu, 9000 * MIB, &sparse, &[data(8999 * MIB, MIB)]);
    let states: Vec<u8> =
        qemu.bytes("ours.vhdx")[2 << 20..][..9002 * 8].chunks_exact(8).map(|entry| entry[0] & 7).collect();
    let mut expected = vec![2; 9002];
    (expected[4096], expected[8193], expected[9001]) = (0, 0, 6);
    assert!(states == expected);
}

/// Nothing that is read may come from what the file held before: it could be a block device.
#[test]
fn what_the_file_held_before_does_not_matter() {
    let Some(qemu) = Qemu::new() else { return };
    for (size, extents) in [(0, vec![]), (20 * MIB + 512, vec![data(MIB, 700), data(17 * MIB, 3)])] {
        // The last MiB of a dense file is never asked for: blocks end the file.
        let len = options().max_len(size).unwrap();
        let stale = vec![0xaa; usize::try_from(len).unwrap()];
        create(&qemu, "ours.vhdx").write_all_at(&stale, 0).unwrap();
        written(&qemu, size, &options(), &extents);
        std::fs::remove_file(qemu.path("ours.vhdx")).unwrap();
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let Some(qemu) = Qemu::new() else { return };
    let extents = dense(9 * MIB, 3 * MIB);
    written(&qemu, 9 * MIB, &options(), &extents);
    let first = qemu.bytes("ours.vhdx");
    written(&qemu, 9 * MIB, &options(), &extents);
    assert!(first == qemu.bytes("ours.vhdx"));
}
