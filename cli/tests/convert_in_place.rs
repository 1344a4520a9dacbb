//! `instar convert -n` into images that are there, beside the installed `qemu-img`.

use std::fmt;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use testkit::cases::assert_all;
use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Run, Tool, require_tool};

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// An image that is there, made by a script as "there"; "stale" and "base" are raw disks of 3 MiB that are beside it.
struct Case {
    format: &'static str,
    name: &'static str,
    make: &'static str,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.format, self.name)
    }
}

const fn case(format: &'static str, name: &'static str, make: &'static str) -> Case {
    Case { format, name, make }
}

const CASES: &[Case] = &[
    case("qcow2", "empty", "qemu-img create -qf qcow2 there 3M"),
    case("qcow2", "full", "qemu-img convert -f raw -O qcow2 stale there"),
    case("qcow2", "of 512-byte clusters", "qemu-img convert -f raw -O qcow2 -o cluster_size=512 stale there"),
    case("qcow2", "of 2 MiB clusters", "qemu-img convert -f raw -O qcow2 -o cluster_size=2M stale there"),
    case("qcow2", "version 2", "qemu-img convert -f raw -O qcow2 -o compat=0.10 stale there"),
    case("qcow2", "preallocated", "qemu-img create -qf qcow2 -o preallocation=metadata there 3M"),
    case("qcow2", "of 1-bit refcounts", "qemu-img convert -f raw -O qcow2 -o refcount_bits=1 stale there"),
    case("qcow2", "of subclusters", "qemu-img convert -f raw -O qcow2 -o extended_l2=on stale there"),
    case("qcow2", "compressed", "qemu-img convert -c -f raw -O qcow2 stale there"),
    case(
        "qcow2",
        "with snapshots",
        "qemu-img convert -f raw -O qcow2 stale there; qemu-img snapshot -c one there
        qemu-io -f qcow2 -c 'write -P 3 1M 64k' there >/dev/null; qemu-img snapshot -c two there",
    ),
    case(
        "qcow2",
        "on another image",
        "qemu-img create -qf qcow2 -b base -F raw there; qemu-io -f qcow2 -c 'write -P 3 1M 64k' there >/dev/null",
    ),
    case("vmdk", "empty", "qemu-img create -qf vmdk there 3M"),
    case("vmdk", "full", "qemu-img convert -f raw -O vmdk stale there"),
    case("vmdk", "with zeroed grains", "qemu-img convert -f raw -O vmdk -o zeroed_grain=on stale there"),
    case("vpc", "empty", "qemu-img create -qf vpc -o force_size=on there 3M"),
    case("vpc", "full", "qemu-img convert -f raw -O vpc -o force_size=on stale there"),
    case("vpc", "fixed", "qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on stale there"),
    case("vhdx", "empty", "qemu-img create -qf vhdx there 3M"),
    case("vhdx", "full", "qemu-img convert -f raw -O vhdx -o block_size=1M stale there"),
    case("vhdx", "fixed", "qemu-img convert -f raw -O vhdx -o subformat=fixed stale there"),
];

/// Inputs, by their names: as large as what is there, smaller by no whole number of blocks, and with compressed data.
const INPUTS: &[&str] = &["whole.raw", "short.raw", "packed.qcow2"];

/// A directory with inputs and an image that is there.
fn scene(case: &Case) -> TempDir {
    let dir = scene::temporary_dir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let whole = Disk::hole(3 * MIB).with(100, "head", 70_000).with(MIB - 9, "middle", 300 * KIB);
    let short = Disk::hole(2 * MIB + 1536).with(512, "short", 9000).with(2 * MIB - 5, "end", 1500);
    for (name, disk) in [("whole.raw", &whole), ("short.raw", &short)] {
        disk.write(&at(name)).expect("an input");
    }
    Disk::solid("stale", 3 * MIB).write(&at("stale")).expect("a disk");
    Disk::solid("base", 3 * MIB).write(&at("base")).expect("a disk");
    script(dir.path(), "qemu-img convert -c -f raw -O qcow2 whole.raw packed.qcow2");
    script(dir.path(), case.make);
    dir
}

fn script(dir: &Path, script: &str) {
    Qemu::script(dir, script, &[]).unwrap_or_else(|error| panic!("{script}: {error}"));
}

fn convert(tool: &Tool, dir: &Path, format: &str, input: &str, output: &str) -> Run {
    tool.run(dir, ["convert", "-n", "-O", format, input, output]).expect("the tool starts")
}

#[test]
fn what_is_there_becomes_what_qemu_makes_of_it() {
    let Some(qemu_img) = require_tool("qemu-img") else { return };
    assert_all(CASES, |case| {
        let dir = scene(case);
        let mut wrong = Vec::new();
        for input in INPUTS {
            script(dir.path(), "rm -f ours theirs; cp there ours; cp there theirs");
            let theirs = convert(&qemu_img, dir.path(), case.format, input, "theirs");
            let ours = convert(&Tool::named(INSTAR), dir.path(), case.format, input, "ours");
            if (ours.exit, theirs.exit) != (Exit::Code(0), Exit::Code(0)) {
                wrong.push(format!("{input}: {:?} instead of {:?}: {}", ours.exit, theirs.exit, ours.stderr));
                continue;
            }
            wrong
                .extend(complaints(dir.path(), case.format).map(|complaint| format!("{input}: {complaint}")));
        }
        wrong
    });
}

/// What `qemu-img` finds wrong with "ours", which should be what "theirs" is.
fn complaints(dir: &Path, format: &str) -> impl Iterator<Item = String> {
    // Not all formats can be checked.
    let checks = [
        "qemu-img compare -f $1 -F $1 ours theirs",
        "test $1 = vpc || qemu-img check -f $1 ours",
        "for i in $(qemu-img snapshot -l there 2>/dev/null | awk 'NR>2 { print $2 }'); do
            qemu-img convert -l $i -f $1 -O raw there before
            qemu-img convert -l $i -f $1 -O raw ours after
            cmp before after || exit 1
        done",
    ];
    let format = Path::new(format).to_owned();
    let failed = checks
        .map(|check| Qemu::script(dir, check, &[&format]).err().map(|error| format!("{check}: {error}")));
    failed.into_iter().flatten()
}

/// An image that is there and cannot be written into, and what is said of it. `qemu-img` writes into all of them but the first
/// two.
const REFUSED: &[(&str, &str, &str)] = &[
    ("qcow2", "qemu-img create -qf qcow2 there 1M", "is too large"),
    ("qcow2", "cp base there", "not a qcow2 image"),
    ("qcow2", "qemu-img create -qf qcow2 there 3M; qemu-img bitmap --add there one", "an image with bitmaps"),
    ("qcow2", "qemu-img create -qf qcow2 -o data_file=data there 3M", "an external data file"),
    ("vmdk", "qemu-img create -qf vmdk -o subformat=streamOptimized there 3M", "streamOptimized"),
    ("vmdk", "qemu-img create -qf vmdk -o subformat=monolithicFlat there 3M", "consists of several files"),
];

#[test]
fn what_cannot_be_written_into_stays_as_it_is() {
    if require_tool("qemu-img").is_none() {
        return;
    }
    for &(format, make, what) in REFUSED {
        let dir = scene(&case(format, "refused", make));
        let before = fs::read(dir.path().join("there")).expect("it is there");
        let run = convert(&Tool::named(INSTAR), dir.path(), format, "whole.raw", "there");
        assert_eq!(run.exit, Exit::Code(1), "{make}: {}", run.stderr);
        assert!(run.stderr.contains(what), "{make}: {}", run.stderr);
        assert!(fs::read(dir.path().join("there")).expect("it is still there") == before, "{make}");
    }
}

#[test]
fn an_image_is_not_converted_into_itself() {
    if require_tool("qemu-img").is_none() {
        return;
    }
    let dir = scene(&CASES[1]);
    fs::hard_link(dir.path().join("there"), dir.path().join("link")).expect("a link");
    for output in ["there", "link", "./there"] {
        let run = convert(&Tool::named(INSTAR), dir.path(), "qcow2", "there", output);
        assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
        assert!(run.stderr.contains("the same file"), "{}", run.stderr);
    }
}
