//! Files with a log that has to be replayed. `qemu-img` does so when it repairs a file; here nothing is written.

use fmt_core::{DiskMap, ReadAt};

use crate::common::{
    BAT_AT, Change, DATA_AT, Image, LOG_AT, MIB, OUTPUT, TABLE_1, data, log_entry, read_disk, sector_at, zero,
};
use crate::qemu::Qemu;

/// Compares the disk that the map shows of `dirty.vhdx` with that of a copy that `qemu-img` has repaired.
#[track_caller]
fn same_as_repaired(qemu: &Qemu) {
    let before = qemu.bytes("dirty.vhdx");
    let refused = qemu.fails("qemu-img", &["info", "dirty.vhdx"]);
    assert!(refused.contains("log that needs to be replayed"), "{refused}");

    qemu.put("repaired.vhdx", &before);
    qemu.img(&["check", "-q", "-r", "all", "repaired.vhdx"]);
    qemu.img(&["convert", "-O", "raw", "repaired.vhdx", "repaired.raw"]);
    let mut map = qemu.open("dirty.vhdx");
    assert!(map.is_dirty());
    let disk = read_disk(&mut map, &qemu.file("dirty.vhdx"), |_| 0);
    assert!(disk == qemu.bytes("repaired.raw"), "the disks differ");

    let mut clean = qemu.open("repaired.vhdx");
    assert!(!clean.is_dirty());
    assert!(disk == read_disk(&mut clean, &qemu.file("repaired.vhdx"), |_| 0), "the repaired disk differs");
}

/// Writes into `dirty.vhdx` while every write of its BAT fails, so that the log is all that knows of the new block.
pub(crate) fn write_without_bat(qemu: &Qemu, at: &str) {
    let sector = BAT_AT / 512;
    let fault = format!(r#"{{"event":"none","iotype":"write","errno":5,"sector":{sector},"once":false}}"#);
    let file = r#"{"driver":"file","filename":"dirty.vhdx"}"#;
    let image = format!(
        r#"json:{{"driver":"vhdx","file":{{"driver":"blkdebug","image":{file},"inject-error":[{fault}]}}}}"#
    );
    qemu.fails("qemu-io", &["-c", &format!("write -P 7 {at} 64k"), &image]);
}

#[test]
fn a_bat_that_was_not_written() {
    let Some(qemu) = Qemu::new() else { return };
    qemu.img(&["create", "-q", "-f", "vhdx", "dirty.vhdx", "48M"]);
    qemu.io("dirty.vhdx", &["write -P 3 0 64k", "write -P 4 9M 64k"]);
    write_without_bat(&qemu, "20M");
    same_as_repaired(&qemu);
}

/// The entry of the second chunk's first block is in another sector of the BAT than the first one's, and its place in that
/// sector is neither the beginning nor the end.
#[test]
fn a_bat_sector_is_whole() {
    let Some(qemu) = Qemu::new() else { return };
    qemu.img(&["create", "-q", "-f", "vhdx", "-o", "block_size=1M", "dirty.vhdx", "48M"]);
    let writes: Vec<String> =
        (0..40).step_by(3).map(|mib| format!("write -P {} {mib}M 64k", mib + 1)).collect();
    qemu.io("dirty.vhdx", &writes.iter().map(String::as_str).collect::<Vec<_>>());
    write_without_bat(&qemu, "47M");
    same_as_repaired(&qemu);
}

/// A sector of what is `byte`, numbered at both ends, where the log keeps it in other places.
fn sector(byte: u8) -> [u8; 4096] {
    let mut bytes = [byte; 4096];
    bytes[..8].copy_from_slice(&[b'a', byte, 1, 2, 3, 4, 5, 6]);
    bytes[4092..].copy_from_slice(&[7, 8, byte, b'z']);
    bytes
}

/// QEMU logs changes of the BAT only, one entry at a time: everything else is made by hand, and repaired by QEMU.
#[test]
fn many_entries_that_change_payload_bat_and_metadata() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(8 * MIB, &[data(0, 3 * MIB)]);
    let len = image.0.len() as u64;
    let mut bat: [u8; 4096] = image.0[BAT_AT as usize..][..4096].try_into().unwrap();
    bat[..8].copy_from_slice(&2_u64.to_le_bytes());
    bat[8..16].copy_from_slice(&(DATA_AT | 6).to_le_bytes());
    bat[40..48].copy_from_slice(&((DATA_AT + MIB) | 6).to_le_bytes());

    let first = [
        sector_at(DATA_AT, sector(1)),
        Change::Zeros(DATA_AT + 8192, 16384),
        sector_at(DATA_AT + MIB - 4096, sector(2)),
        Change::Zeros(DATA_AT + MIB, 4096),
    ];
    let second = [
        sector_at(BAT_AT, bat),
        sector_at(DATA_AT + 12288, sector(3)),
        Change::Zeros(DATA_AT, 4096),
        sector_at(DATA_AT + MIB, sector(4)),
    ];
    let first = log_entry(70, 3, len, &first);
    let second = log_entry(71, 3, len, &second);
    let behind = 3 + first.len() as u64 / 4096;
    image.log(3, &first).log(behind, &second);
    // A third entry that was cut off by the end of the world.
    let third = log_entry(72, 3, len, &[Change::Zeros(DATA_AT, MIB)]);
    image.log(behind + second.len() as u64 / 4096, &third[..100]);
    qemu.put("dirty.vhdx", &image.0);
    same_as_repaired(&qemu);
}

/// As many as QEMU reads: with more, its second sector of descriptors takes the place of the first.
#[test]
fn as_many_descriptors_as_one_sector_holds() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(2 * MIB, &[data(0, 2 * MIB)]);
    let changes: Vec<Change> = (0..126_u8)
        .map(|number| match number % 3 {
            0 => Change::Zeros(DATA_AT + u64::from(number) * 8192, 4096),
            _ => sector_at(DATA_AT + u64::from(number) * 8192, sector(number)),
        })
        .collect();
    let entry = log_entry(u64::from(u32::MAX) + 5, 0, image.0.len() as u64, &changes);
    qemu.put("dirty.vhdx", &image.log(0, &entry).0);
    same_as_repaired(&qemu);
}

/// The log can say that the file has to be longer than it is, and write beyond its end.
#[test]
fn a_file_that_grows() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(4 * MIB, &[data(0, MIB)]);
    let len = image.0.len() as u64;
    let mut bat: [u8; 4096] = image.0[BAT_AT as usize..][..4096].try_into().unwrap();
    bat[8..16].copy_from_slice(&(len | 6).to_le_bytes());
    bat[16..24].copy_from_slice(&((len + MIB) | 6).to_le_bytes());
    let changes = [sector_at(BAT_AT, bat), sector_at(len + MIB - 4096, sector(6))];
    let mut entry = log_entry(1, 0, len, &changes);
    // Not a whole MiB, which QEMU rounds up; a whole one it forgets about.
    entry[56..64].copy_from_slice(&(len + 2 * MIB - 4096).to_le_bytes());
    let entry = crate::common::sum_entry(entry);
    image.log(0, &entry);
    qemu.put("grown.vhdx", &image.0);
    qemu.put("repaired.vhdx", &image.0);
    qemu.img(&["check", "-q", "-r", "all", "repaired.vhdx"]);
    qemu.img(&["convert", "-O", "raw", "repaired.vhdx", "repaired.raw"]);
    let mut map = qemu.open("grown.vhdx");
    // What QEMU rounded up to is not promised by the log: the last block is one sector short.
    let error = map.extent_at(2 * MIB).unwrap_err();
    assert_eq!(error.what, "a payload block lies beyond the end of the file");
    let mut part = vec![0; 2 << 20];
    for extent in map.extents(0..2 * MIB) {
        let extent = extent.unwrap();
        let place = &mut part[extent.start as usize..extent.end() as usize];
        if let fmt_core::Source::Data { file: OUTPUT, offset } = extent.source {
            qemu.file("grown.vhdx").read_exact_at(offset, place).unwrap();
        }
    }
    assert!(part == qemu.bytes("repaired.raw")[..2 << 20]);
}

/// The log can change the tables that everything else is found by.
#[test]
fn a_region_table_that_was_not_written() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(2 * MIB, &[data(0, MIB), zero(MIB, MIB)]);
    let table: [u8; 4096] = image.0[TABLE_1 as usize..][..4096].try_into().unwrap();
    let entry = log_entry(9, 0, image.0.len() as u64, &[sector_at(TABLE_1, table)]);
    image.log(0, &entry).put(TABLE_1, &[0xee; 4096]);
    qemu.put("dirty.vhdx", &image.0);
    same_as_repaired(&qemu);
}

/// What remains when a machine stops after it has announced a log, and before it has written an entry. `qemu-img` reads it.
#[test]
fn a_log_that_was_never_begun() {
    let Some(qemu) = Qemu::new() else { return };
    qemu.img(&["create", "-q", "-f", "vhdx", "never.vhdx", "16M"]);
    qemu.io("never.vhdx", &["write -P 3 0 64k", "write -P 4 9M 64k"]);
    let mut image = Image(qemu.bytes("never.vhdx"));
    assert!(image.0[LOG_AT as usize..].starts_with(b"loge"), "an entry of another log");
    image.headers(48, &crate::common::LOG_GUID.0);
    qemu.put("never.vhdx", &image.0);
    qemu.img(&["convert", "-O", "raw", "never.vhdx", "never.raw"]);
    let mut map = qemu.open("never.vhdx");
    assert!(!map.is_dirty());
    assert!(read_disk(&mut map, &qemu.file("never.vhdx"), |_| 0) == qemu.bytes("never.raw"));
}
