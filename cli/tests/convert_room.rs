//! How much room the outputs of `convert` take, ask for, and may take.

use core::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use testkit::cases::assert_all;
use testkit::device::Device;
use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Run, Tool, with_own_mounts};

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// What an output may take more than QEMU's, in bytes: a block of the file system, for data that begins elsewhere in its
/// block.
const SPARE: u64 = 4096;

/// Disks, by what there is once in so many bytes: at first data, then zeros that are written, then a hole.
const PATTERNS: &[(u64, u64, u64)] = &[
    (16 * KIB, 4 * KIB, 0),
    (16 * KIB, 4 * KIB, 12 * KIB),
    (128 * KIB, 32 * KIB, 32 * KIB),
    (128 * KIB, 64 * KIB, 0),
    (128 * KIB, 64 * KIB, 64 * KIB),
    (MIB, 4 * KIB, 0),
    (MIB, 4 * KIB, MIB - 4 * KIB),
];

/// Of the disks with patterns: no round number of anything.
const SIZE: u64 = 4 * MIB + 1536;

fn instar(dir: &Path, words: &str) -> Run {
    Tool::named(INSTAR).run(dir, words.split_whitespace()).expect("instar starts")
}

#[track_caller]
fn works(run: &Run) {
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
}

/// `-S`, an output's format, and a pattern.
struct Case(&'static str, &'static str, (u64, u64, u64));

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sparse_size, format, (period, data, zeros)) = self;
        write!(f, "-S {sparse_size} -O {format}, every {period} bytes {data} of data and {zeros} zeros")
    }
}

#[test]
fn no_more_is_allocated_than_qemu_img_allocates() {
    let Some(qemu) = Qemu::require() else { return };
    let formats = ["raw", "qcow2", "vmdk", "vpc", "vhdx"];
    let both = formats.iter().flat_map(|format| ["4k", "64k", "1M"].map(|size| (size, *format)));
    let cases: Vec<_> = both
        .flat_map(|(size, format)| PATTERNS.iter().map(move |&pattern| Case(size, format, pattern)))
        .collect();
    assert_all(&cases, |case| differences(&qemu, case).expect("files and tools"));
}

fn differences(qemu: &Qemu, &Case(sparse_size, format, pattern): &Case) -> io::Result<Vec<String>> {
    let dir = scene::temporary_dir()?;
    write(&dir.path().join("in"), pattern)?;
    let run = |tool: &Tool, words: &str| tool.run(dir.path(), words.split_whitespace());
    let converted = |tool: &Tool, output: &str| -> io::Result<_> {
        let ran = run(tool, &format!("convert -f raw -S {sparse_size} -O {format} in {output}"))?;
        assert_eq!(ran.exit, Exit::Code(0), "{}", ran.stderr);
        let map = run(qemu.img(), &format!("map --output=json -f {format} {output}"))?.stdout;
        let map: Vec<serde_json::Value> = serde_json::from_str(&map)?;
        let data = map.iter().filter(|part| part["data"] == true);
        let mapped: u64 = data.filter_map(|part| part["length"].as_u64()).sum();
        Ok((mapped, fs::metadata(dir.path().join(output))?.blocks() * 512))
    };
    let (their_data, their_room) = converted(qemu.img(), "theirs")?;
    let (our_data, our_room) = converted(&Tool::named(INSTAR), "ours")?;
    let compared = run(qemu.img(), &format!("compare -f raw -F {format} in ours"))?;
    let mut found = Vec::new();
    if compared.exit != Exit::Code(0) {
        found.push(compared.stdout);
    }
    if our_data > their_data {
        found.push(format!("{our_data} bytes of the disk are allocated, in qemu-img's {their_data}"));
    }
    if our_room > their_room + SPARE {
        found.push(format!("{our_room} bytes on the medium, where qemu-img needs {their_room}"));
    }
    Ok(found)
}

fn write(path: &Path, (period, data, zeros): (u64, u64, u64)) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(SIZE)?;
    let bytes = |byte, len| vec![byte; usize::try_from(len).expect("it fits in memory")];
    for start in (0..SIZE - MIB).step_by(usize::try_from(period).expect("it fits in memory")) {
        file.write_all_at(&bytes(7, data), start)?;
        file.write_all_at(&bytes(0, zeros), start + data)?;
    }
    Ok(())
}

/// Files that grow as they are written ask for more than they need, but not for more than they may have.
#[test]
fn an_output_may_be_as_large_as_it_becomes() {
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(40 * MIB).with(0, "data", 9 * MIB).write(&dir.path().join("in")).expect("a disk");
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx"] {
        works(&instar(dir.path(), &format!("convert -O {format} in out")));
        let len = || fs::metadata(dir.path().join("out")).expect("an output").len();
        let needed = len();
        works(&instar(dir.path(), &format!("convert --max-output {needed} -O {format} in out")));
        assert_eq!(len(), needed, "{format}");
        let refused = instar(dir.path(), &format!("convert --max-output {} -O {format} in out", needed - 1));
        assert_eq!(refused.exit, Exit::Code(1), "{format}");
        let said = format!("it would have {needed} bytes, and no output may have more than {}", needed - 1);
        assert!(refused.stderr.contains(&said), "{format}: {}", refused.stderr);
    }
}

#[test]
fn a_device_need_not_be_longer_than_the_output() {
    let Some(qemu) = Qemu::require() else { return };
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(40 * MIB).with(0, "data", 9 * MIB).write(&dir.path().join("in")).expect("a disk");
    works(&instar(dir.path(), "convert -O qcow2 in out"));
    let len = fs::metadata(dir.path().join("out")).expect("an output").len();
    let bytes = vec![0xee; usize::try_from(len).expect("it fits in memory")];
    let Some(device) = Device::new(&bytes) else { return };
    let device = device.path().display();
    works(&instar(dir.path(), &format!("convert -O qcow2 in {device}")));
    let compare = format!("compare -q -f raw -F qcow2 in {device}");
    works(&qemu.img().run(dir.path(), compare.split_whitespace()).expect("qemu-img starts"));
}

/// File systems at "small" with more room than an output of 8 MiB needs, and with less: one that makes room for files by
/// itself, and one that has to be written to.
const FILE_SYSTEMS: [&str; 2] = [
    "mount -t tmpfs -o size=$(($2 * 1024 * 1024)) none small",
    "truncate -s $2M image; mkfs.ext2 -q image; mount -o loop image small",
];

#[test]
fn room_that_is_asked_for_is_there() {
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(8 * MIB).write(&dir.path().join("in")).expect("a disk");
    fs::create_dir(dir.path().join("small")).expect("a directory");
    for (mount, format) in
        FILE_SYSTEMS.iter().flat_map(|mount| ["raw", "qcow2"].map(|format| (mount, format)))
    {
        let script = format!(
            "{mount}; \"$1\" convert -O {format} -o preallocation=falloc in small/out; du -k small/out"
        );
        let Some(run) = with_own_mounts(dir.path(), &script, &[INSTAR, "24"]) else { return };
        let run = run.expect("a shell");
        works(&run);
        let room: Option<u64> = run.stdout.split_whitespace().next().and_then(|kib| kib.parse().ok());
        assert!(room >= Some(8192), "{mount} {format}: {}", run.stdout);

        let Some(run) = with_own_mounts(dir.path(), &script, &[INSTAR, "6"]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{mount} {format}: {}", run.stdout);
        // How long a raw file becomes is known before it is made.
        let words: &[&str] = match format {
            "raw" => &["instar: creating 'small/out': it would have 8388608 bytes"],
            _ => &["instar: resizing 'small/out': No space left on device", "'small/out' is incomplete"],
        };
        for words in words {
            assert!(run.stderr.contains(words), "{mount} {format}: {}", run.stderr);
        }
    }
}

/// A device has all the room that it can have. So says `qemu-img`, too.
#[test]
fn no_room_is_asked_of_a_device() {
    let Some(qemu) = Qemu::require() else { return };
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(MIB).write(&dir.path().join("in")).expect("a disk");
    let Some(device) = Device::new(&vec![0xee; 4 << 20]) else { return };
    let convert =
        |options: &str, format: &str| format!("convert {options} -O {format} in {}", device.path().display());
    for preallocation in ["falloc", "full"] {
        for format in ["raw", "qcow2"] {
            let words = convert(&format!("-o preallocation={preallocation}"), format);
            let run = instar(dir.path(), &words);
            assert_eq!(run.exit, Exit::Code(1), "{words}");
            assert!(run.stderr.contains("preallocation=falloc or full, with a device"), "{}", run.stderr);
            assert!(device.bytes().iter().all(|&byte| byte == 0xee), "{words}: the device was touched");
        }
    }
    let words = convert("-o subformat=fixed", "vpc");
    let run = instar(dir.path(), &words);
    assert!(run.exit == Exit::Code(1) && run.stderr.contains("the footer"), "{}", run.stderr);

    works(&instar(dir.path(), &convert("-S 0", "raw")));
    // What was on the device must not show where a cluster is allocated and has only zeros.
    works(&instar(dir.path(), &convert("-o preallocation=metadata", "qcow2")));
    let compare = format!("compare -f raw -F qcow2 in {}", device.path().display());
    works(&qemu.img().run(dir.path(), compare.split_whitespace()).expect("qemu-img starts"));
    for format in ["raw", "qcow2"] {
        let words = convert("-o preallocation=falloc", format);
        let run = qemu.img().run(dir.path(), words.split_whitespace()).expect("qemu-img starts");
        assert_eq!(run.exit, Exit::Code(1), "{words}: {}", run.stderr);
    }
}
