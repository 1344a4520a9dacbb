//! Files that are there and written to: QEMU reads what they should have become, and goes on with them.

use fmt_core::testing::{PlannedFile, UpdatedFile};
use fmt_core::{DiskMap, Extent, Source};
use fmt_vhdx::{Guid, VhdxUpdate, WriteGuids};

use crate::common::{BAT_AT, INPUT, MIB, OUTPUT, Random};
use crate::qemu::Qemu;

const GUIDS: WriteGuids = WriteGuids { file: Guid([8; 16]), data: Guid([9; 16]) };

/// Writes `extents` into the file `name`; returns what the disk should have become.
fn update(qemu: &Qemu, name: &str, disk: &[u8], extents: &[Extent], seed: u64) -> Vec<u8> {
    let file = UpdatedFile::new(qemu.bytes(name), seed);
    let update = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS);
    PlannedFile::write(update, extents).unwrap();
    qemu.put(name, &file.bytes());
    file.wanted(disk, extents)
}

fn disk(qemu: &Qemu, name: &str) -> Vec<u8> {
    qemu.img(&["convert", "-f", "vhdx", "-O", "raw", name, "disk.raw"]);
    qemu.bytes("disk.raw")
}

/// Extents on a disk of `size` bytes, of every kind and in pieces of up to `most` bytes.
fn some_extents(random: &mut Random, size: u64, most: u64) -> Vec<Extent> {
    let (mut extents, mut start) = (Vec::new(), random.below(most));
    while start < size {
        let len = (random.below(most) + 1).min(size - start);
        let data = Source::Data { file: INPUT, offset: random.below(1 << 20) };
        let source = [Source::Zero, Source::Unallocated, data, data][random.below(4) as usize];
        extents.push(Extent { start, len, source });
        start += len + [0, random.below(most)][random.below(2) as usize];
    }
    extents
}

#[test]
fn a_file_that_is_written_to_is_read_by_qemu() {
    let Some(qemu) = Qemu::new() else { return };
    let mut random = Random(12);
    for options in ["block_size=1M", "block_size=2M,block_state_zero=off", "block_size=1M,subformat=fixed"] {
        qemu.img(&["create", "-q", "-f", "vhdx", "-o", options, "t.vhdx", "9M"]);
        let info = qemu.info("t.vhdx");
        for (round, most) in [2 << 20, 5000, 1 << 20, 300_000].into_iter().enumerate() {
            let before = disk(&qemu, "t.vhdx");
            let extents = some_extents(&mut random, before.len() as u64, most);
            let wanted = update(&qemu, "t.vhdx", &before, &extents, round as u64);
            qemu.img(&["check", "-q", "-f", "vhdx", "t.vhdx"]);
            assert!(disk(&qemu, "t.vhdx") == wanted, "{options}, round {round}");
            qemu.io("t.vhdx", &["write -P 7 4M 70k"]);
        }
        assert_eq!(qemu.info("t.vhdx"), info);
    }
}

/// Where data comes alone, BAT and blocks are as `qemu-img convert -n` writes them.
#[test]
fn a_file_becomes_what_convert_makes_of_it() {
    let Some(qemu) = Qemu::new() else { return };
    for options in ["block_size=1M", "block_size=1M,subformat=fixed"] {
        qemu.img(&["create", "-q", "-f", "vhdx", "-o", options, "t.vhdx", "7M"]);
        qemu.io("t.vhdx", &["write -P 7 5M 1k", "write -P 7 1M 1k"]);
        qemu.put("theirs.vhdx", &qemu.bytes("t.vhdx"));
        let before = disk(&qemu, "t.vhdx");
        // What the disk has behind the input is left alone, in the middle of a block.
        let extent = Extent { start: 0, len: 11 << 19, source: Source::Data { file: INPUT, offset: 0 } };
        let wanted = update(&qemu, "t.vhdx", &before, &[extent], 3);
        qemu.put("in.raw", &wanted[..11 << 19]);
        qemu.img(&["convert", "-n", "-f", "raw", "-O", "vhdx", "in.raw", "theirs.vhdx"]);
        let (ours, theirs) = (qemu.bytes("t.vhdx"), qemu.bytes("theirs.vhdx"));
        assert!(ours[BAT_AT as usize..] == theirs[BAT_AT as usize..], "another file for {options}");
        // Both change both headers, and leave no log to replay.
        assert!(ours[..MIB as usize] != theirs[..MIB as usize]);
        assert_eq!(qemu.open("theirs.vhdx").header().log_guid, qemu.open("t.vhdx").header().log_guid);
        assert_eq!(qemu.open("t.vhdx").header().data_write_guid, GUIDS.data);
    }
}

/// A disk of more than one chunk: entries of sector bitmap blocks stand between those of payload blocks.
#[test]
fn entries_of_bitmaps_are_passed_over() {
    let Some(qemu) = Qemu::new() else { return };
    qemu.img(&["create", "-q", "-f", "vhdx", "-o", "block_size=1M", "t.vhdx", "5G"]);
    let file = UpdatedFile::new(qemu.bytes("t.vhdx"), 1);
    let update = VhdxUpdate::open(&file, &file, OUTPUT, GUIDS);
    let extent = |start| Extent { start, len: 512, source: Source::Data { file: INPUT, offset: 0 } };
    PlannedFile::write(update, &[extent((4 << 30) - 512), extent(4 << 30)]).unwrap();
    qemu.put("t.vhdx", &file.bytes());
    qemu.img(&["check", "-q", "-f", "vhdx", "t.vhdx"]);
    // The reader counts as QEMU does: see what is read.
    let mut map = qemu.open("t.vhdx");
    let found: Vec<Extent> = map.extents(4095 * MIB..4097 * MIB).map(Result::unwrap).collect();
    let block = |start, offset| Extent { start, len: MIB, source: Source::Data { file: OUTPUT, offset } };
    let end = qemu.bytes("t.vhdx").len() as u64;
    assert_eq!(found, [block(4095 * MIB, end - 2 * MIB), block(4096 * MIB, end - MIB)]);
}

/// The log has to be replayed first, by QEMU.
#[test]
fn a_file_with_a_log_is_not_written_to() {
    let Some(qemu) = Qemu::new() else { return };
    qemu.img(&["create", "-q", "-f", "vhdx", "dirty.vhdx", "48M"]);
    crate::log::write_without_bat(&qemu, "20M");
    let open = || {
        let file = UpdatedFile::new(qemu.bytes("dirty.vhdx"), 1);
        VhdxUpdate::open(&file, &file, OUTPUT, GUIDS).map(|_| ())
    };
    assert!(open().unwrap_err().what.contains("log"));
    qemu.img(&["check", "-q", "-r", "all", "dirty.vhdx"]);
    open().unwrap();
}
