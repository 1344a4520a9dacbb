//! Images made by `qemu-img`, read by the map.

use std::fs::File;
use std::os::unix::fs::FileExt;

use fmt_core::{DiskMap, Extent, ReadAt, Source};

use crate::common::{MIB, OUTPUT};
use crate::qemu::Qemu;

/// Longer runs of zeros are compared at their ends only.
const SAMPLE: u64 = 16 * MIB;

/// Compares the disk that the map shows with what `qemu-img` converts it to. Returns how much of it is data.
#[track_caller]
fn same(qemu: &Qemu, image: &str) -> u64 {
    qemu.img(&["convert", "-f", "vhdx", "-O", "raw", image, "expected.raw"]);
    let expected = File::open(qemu.path("expected.raw")).unwrap();
    let (mut map, file) = (qemu.open(image), qemu.file(image));
    assert_eq!(map.virtual_size(), expected.metadata().unwrap().len(), "{image}: size");
    let (mut next, mut data) = (0, 0);
    for extent in map.extents(0..u64::MAX) {
        let Extent { start, len, source } = extent.unwrap();
        assert_eq!(start, next, "{image}: extents leave a gap");
        next += len;
        match source {
            Source::Data { file: OUTPUT, offset } => {
                data += len;
                compare(&expected, start, len, |at, buf| file.read_exact_at(offset + at, buf).unwrap());
            }
            Source::Zero | Source::Unallocated => {
                let head = len.min(SAMPLE);
                compare(&expected, start, head, |_, buf| buf.fill(0));
                compare(&expected, start + len - head, head, |_, buf| buf.fill(0));
            }
            _ => panic!("{source:?}"),
        }
    }
    assert_eq!(next, map.virtual_size(), "{image}: extents end early");
    data
}

fn compare(expected: &File, start: u64, len: u64, ours: impl Fn(u64, &mut [u8])) {
    let mut done = 0;
    while done < len {
        let piece = usize::try_from(MIB.min(len - done)).unwrap();
        let (mut a, mut b) = (vec![0; piece], vec![1; piece]);
        expected.read_exact_at(&mut a, start + done).unwrap();
        ours(done, &mut b);
        assert!(a == b, "bytes differ in the MiB from {}", start + done);
        done += piece as u64;
    }
}

fn create(qemu: &Qemu, name: &str, options: &str, size: &str) {
    let mut args = vec!["create", "-q", "-f", "vhdx"];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([name, size]);
    qemu.img(&args);
}

#[test]
fn every_option_of_creation() {
    let Some(qemu) = Qemu::new() else { return };
    for (number, options) in [
        "",
        "subformat=fixed",
        "block_size=1M",
        "block_size=256M",
        "log_size=4M",
        "block_state_zero=off",
        "subformat=fixed,block_state_zero=off,block_size=2M,log_size=2M",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.vhdx");
        create(&qemu, &name, options, "20M");
        same(&qemu, &name);
        qemu.io(&name, &["write -P 1 0 64k", "write -P 2 5000k 9M", "write -P 3 20479k 1k"]);
        assert!(same(&qemu, &name) >= 9 * MIB, "{options}");
        qemu.io(&name, &["write -z 6M 2M", "discard 8M 8M"]);
        same(&qemu, &name);
    }
}

#[test]
fn every_kind_of_size() {
    let Some(qemu) = Qemu::new() else { return };
    for size in [0_u64, 512, 34 * 512, MIB, 8 * MIB, 8 * MIB + 512, 100 * MIB - 512] {
        let name = format!("{size}.vhdx");
        create(&qemu, &name, "", &size.to_string());
        assert_eq!(qemu.open(&name).virtual_size(), size);
        if let Some(last) = size.checked_sub(512) {
            qemu.io(&name, &[&format!("write -P 9 {last} 512")]);
        }
        same(&qemu, &name);
    }
}

/// The entry of a sector bitmap block lies between those of the blocks before and behind 4 GiB.
#[test]
fn bitmap_entries_between_chunks_are_skipped() {
    let Some(qemu) = Qemu::new() else { return };
    for (block_size, block) in [("block_size=1M", MIB), ("block_size=256M", 256 * MIB)] {
        create(&qemu, "chunks.vhdx", block_size, "4400M");
        qemu.io("chunks.vhdx", &["write -P 1 4094M 4M", "write -P 3 4399M 1M"]);
        let data = if block == MIB { 5 * MIB } else { (256 + 256 + 48) * MIB };
        assert_eq!(same(&qemu, "chunks.vhdx"), data);
    }
}

/// What is not there is told in long extents, whatever the size.
#[test]
fn the_largest_disk_is_read_in_few_extents() {
    let Some(qemu) = Qemu::new() else { return };
    create(&qemu, "huge.vhdx", "", "64T");
    qemu.io("huge.vhdx", &["write -P 1 0 1k", "write -P 2 70368744177152 512"]);
    let mut map = qemu.open("huge.vhdx");
    assert_eq!(map.virtual_size(), 64 << 40);
    let extents: Vec<Extent> = map.extents(0..u64::MAX).collect::<Result<_, _>>().unwrap();
    assert!(extents.len() < 200, "{}", extents.len());
    let last = extents.last().unwrap();
    assert!(matches!(last.source, Source::Data { .. }) && last.end() == 64 << 40, "{last:?}");
}

/// QEMU once wrote files whose last block ends where the disk does, and still reads them.
#[test]
fn the_last_block_may_be_cut_off() {
    let Some(qemu) = Qemu::new() else { return };
    create(&qemu, "cut.vhdx", "", "9M");
    qemu.io("cut.vhdx", &["write -P 1 0 9M"]);
    let bytes = qemu.bytes("cut.vhdx");
    let end = bytes.len() - (7 << 20);
    qemu.put("cut.vhdx", &bytes[..end]);
    assert_eq!(same(&qemu, "cut.vhdx"), 9 * MIB);

    qemu.put("cut.vhdx", &bytes[..end - 512]);
    qemu.fails("qemu-img", &["convert", "-O", "raw", "cut.vhdx", "expected.raw"]);
    let error = qemu.open("cut.vhdx").extents(0..u64::MAX).find_map(Result::err).unwrap();
    assert_eq!(error.what, "a payload block lies beyond the end of the file");
}
