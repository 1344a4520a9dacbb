//! `instar convert` and the installed `qemu-img convert` make the same disks of the same images, with every option of
//! every format, and what instar makes takes no more room.

use core::fmt;
use core::ops::Deref;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use testkit::cases::assert_all;
use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::{Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::stage::{Stage, in_formats};
use testkit::tool::Tool;

/// Of the disk in every input: 7 MiB and a sector, which is no round number of anything.
const SIZE: u64 = 7 * MIB + 512;

/// Explicit zeros in the raw input, beside its holes.
const ZEROS: (u64, u64) = (2 * MIB, 700 * KIB);

/// What an output may take more than QEMU's, in bytes: a block of the file system, for data that begins elsewhere in its
/// block; and where all is allocated, a cluster, for tables that are written as a whole.
const SPARE_BLOCK: u64 = 4096;
const SPARE_CLUSTER: u64 = 65536;

/// What is there, and written in place.
const WRITTEN: &[&str] = &["there.img", "zero.img"];

/// What is read.
const INPUTS: &[&str] = &["raw", "qcow2", "vmdk", "vpc", "vhdx"];

/// Every option of every format, by itself, and some together.
const OUTPUTS: &[(&str, &[&str])] = &[
    ("raw", &["", "preallocation=off", "preallocation=falloc", "preallocation=full"]),
    (
        "qcow2",
        &[
            "",
            "compat=0.10",
            "compat=1.1",
            "compat=v2,cluster_size=4k",
            "compat=v3,refcount_bits=1",
            "cluster_size=512",
            "cluster_size=2M",
            "extended_l2=on",
            "extended_l2=off",
            "extended_l2=yes,cluster_size=16k",
            "lazy_refcounts=on",
            "lazy_refcounts=off",
            "lazy_refcounts",
            "refcount_bits=8",
            "refcount_bits=0x40",
            "compression_type=zlib",
            "compression_type=zstd",
            "preallocation=off",
            "preallocation=metadata",
            "preallocation=falloc",
            "preallocation=full",
        ],
    ),
    (
        "vmdk",
        &[
            "",
            "subformat=monolithicSparse",
            "adapter_type=ide",
            "adapter_type=lsilogic",
            "adapter_type=buslogic",
            "adapter_type=legacyESX",
            "compat6=on",
            "compat6=off",
            "hwversion=7",
            "hwversion=14",
            "toolsversion=8",
            "toolsversion=10338",
            "zeroed_grain=on",
            "zeroed_grain=off",
        ],
    ),
    // A fixed disk has no mark at its beginning: see below.
    ("vpc", &["", "subformat=dynamic", "force_size=on", "force_size=off"]),
    (
        "vhdx",
        &[
            "",
            "subformat=dynamic",
            "subformat=fixed",
            "block_size=1M",
            "block_size=1",
            "block_size=2M",
            "block_size=512M",
            "block_size=0",
            "log_size=3M",
            "log_size=1",
            "block_state_zero=on",
            "block_state_zero=off,subformat=fixed",
        ],
    ),
];

/// Flags that the output does not depend on, and those that say how many zeros are left out.
const FLAGS: &[&str] = &[
    "-m 1",
    "-m 16",
    "-W",
    "-C",
    "-q",
    "-r 1G",
    "-t none -T none",
    "-t writeback",
    "-t directsync -T unsafe",
    "--salvage",
    "-U",
    "-S 512",
    "-S 64k",
    "-S 16M",
    "-S 0",
];

#[test]
fn every_option_of_every_format() {
    let Some(scene) = Scene::set() else { return };
    let mut cases = Vec::new();
    for (output, options) in OUTPUTS {
        for (number, options) in options.iter().enumerate() {
            let option = if options.is_empty() { String::new() } else { format!("-o {options}") };
            // Every input meets every output; the options meet one of them each.
            let inputs = if number == 0 { INPUTS } else { &INPUTS[number % INPUTS.len()..][..1] };
            cases.extend(
                inputs.iter().map(|input| {
                    Case(format!("convert -f {input} -O {output} {option} {input}.img out.img"))
                }),
            );
        }
    }
    scene.compare(&cases);
}

#[test]
fn every_flag() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = FLAGS
        .iter()
        .flat_map(|flags| {
            ["raw", "qcow2"].map(|output| Case(format!("convert {flags} -O {output} raw.img out.img")))
        })
        .collect();
    scene.compare(&cases);
}

#[test]
fn inputs_follow_each_other() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = [
        "convert raw.img qcow2.img out.img",
        "convert -f raw raw.img odd.img raw.img out.img",
        "convert -O qcow2 odd.img vhdx.img odd.img vmdk.img vpc.img out.img",
        "convert -f raw -O vpc odd.img odd.img out.img",
        "convert -O vhdx --image-opts file.filename=qcow2.img file.filename=raw.img out.img",
    ]
    .map(|words| Case(words.into()))
    .into();
    scene.compare(&cases);
}

#[test]
fn outputs_that_are_there() {
    let Some(scene) = Scene::set() else { return };
    let cases = [
        "convert -n raw.img there.img",
        "convert -n -f qcow2 -S 0 qcow2.img there.img",
        "convert -n --target-is-zero raw.img zero.img",
    ];
    // Not the room: where there is something, qemu-img makes holes of zeros, and instar writes them.
    assert_all(&cases.map(|words| Case(words.into())), |case| {
        let [(theirs, _), (ours, _)] =
            [scene.qemu.img(), &scene.instar].map(|tool| scene.run(tool, case, View::Bytes));
        let mut found = ours.differences_from(&theirs);
        if theirs.exit != Exit::Code(0) {
            found.push("qemu-img fails, so nothing was compared".into());
        }
        found
    });
}

#[test]
fn compressed_outputs() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = [
        "convert -c -O qcow2 raw.img out.img",
        "convert -c -O qcow2 -o compression_type=zstd vhdx.img out.img",
        "convert -c -m 4 -W -O qcow2 -o cluster_size=4k qcow2.img out.img",
        "convert -O vmdk -o subformat=streamOptimized raw.img out.img",
        "convert -S 0 -O vmdk -o subformat=streamOptimized zeros.img out.img",
        "convert -c -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic,compat6 qcow2.img out.img",
    ]
    .map(|words| Case(words.into()))
    .into();
    scene.compare(&cases);
}

#[test]
fn internal_snapshots() {
    let Some(scene) = Scene::set() else { return };
    let names =
        ["1", "2", "first", "snapshot.id=1", "snapshot.name=second", "snapshot.id=2,snapshot.name=second"];
    let cases = names.map(|name| Case(format!("convert -l {name} snapshots.img out.img")));
    scene.compare(&cases);
    for name in ["3", "nosuch", "snapshot.id=first", "snapshot.id=1,snapshot.name=second"] {
        let words = ["convert", "-l", name, "snapshots.img", "out.img"];
        let run = scene.instar.run(scene.props(), words).unwrap();
        let said = format!("instar: 'snapshots.img' has no snapshot '{name}'\n");
        assert!(run.stderr.starts_with(&said), "{}", run.stderr);
        assert_eq!(run.exit, Exit::Code(1));
    }
}

#[test]
fn overlays() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = [
        "convert -O qcow2 -B base.img -F raw raw.img out.img",
        "convert -O qcow2 -B base.img -F raw overlay.img out.img",
        "convert -O qcow2 -B base.img -F raw -o cluster_size=4k overlay.img out.img",
        "convert -O qcow2 -o backing_file=base.img,backing_fmt=raw overlay.img out.img",
        "convert -O qcow2 overlay.img out.img",
    ]
    .map(|words| Case(words.into()))
    .into();
    scene.compare(&cases);
}

#[test]
fn fixed_disks() {
    let Some(scene) = Scene::set() else { return };
    for options in ["subformat=fixed", "subformat=fixed,force_size=on"] {
        let disk = |tool: &Tool| {
            let dir = scene.dir();
            let run = |tool: &Tool, words: &str| tool.run(dir.path(), words.split_whitespace()).unwrap();
            let converted = run(tool, &format!("convert -O vpc -o {options} raw.img out.img"));
            assert_eq!(converted.exit, Exit::Code(0), "{options}: {}", converted.stderr);
            let back = run(scene.qemu.img(), "convert -f vpc out.img disk.img");
            assert_eq!(back.exit, Exit::Code(0), "{options}: {}", back.stderr);
            let lens = fs::metadata(dir.path().join("out.img")).unwrap().len();
            (scene::content_of(&dir.path().join("disk.img")).unwrap(), lens)
        };
        assert_eq!(disk(&scene.instar), disk(scene.qemu.img()), "{options}");
    }
}

/// What neither tool does.
#[test]
fn what_is_refused() {
    let Some(scene) = Scene::set() else { return };
    let refused: Vec<_> = [
        "convert",
        "convert raw.img",
        "convert -m 0 raw.img out.img",
        "convert -m 17 raw.img out.img",
        "convert -S 513 raw.img out.img",
        "convert -S 32M raw.img out.img",
        "convert -S 4k -C raw.img out.img",
        "convert -m 1x raw.img out.img",
        "convert -r x raw.img out.img",
        "convert -r 99E raw.img out.img",
        "convert -t nosuch raw.img out.img",
        "convert -T nosuch raw.img out.img",
        "convert --target-is-zero raw.img out.img",
        "convert -n raw.img nosuch.img",
        "convert -n raw.img odd.img",
        "convert -n -o size=1M raw.img there.img",
        "convert -c raw.img out.img",
        "convert -c -O vpc raw.img out.img",
        "convert -c -O vhdx raw.img out.img",
        "convert -c -O qcow2 -o preallocation=metadata raw.img out.img",
        "convert -c -C -O qcow2 raw.img out.img",
        "convert -C --salvage raw.img out.img",
        "convert -B base.img raw.img out.img",
        "convert -B base.img -O qcow2 raw.img out.img",
        "convert -B base.img -F raw -O vpc raw.img out.img",
        "convert -B base.img -F raw -O qcow2 raw.img odd.img out.img",
        "convert -B nosuch.img -F raw -O qcow2 raw.img out.img",
        "convert -B . -F raw -O qcow2 raw.img out.img",
        "convert -F raw -O qcow2 raw.img out.img",
        "convert -l 1 raw.img out.img",
        "convert -l 1 qcow2.img qcow2.img out.img",
        "convert -l nosuch qcow2.img out.img",
        "convert -l nosuch snapshots.img out.img",
        "convert -l snapshot.id=1,snapshot.name=second snapshots.img out.img",
        "convert -l snapshot.nosuch=1 qcow2.img out.img",
        "convert raw.img raw.img",
        "convert raw.img .",
        "convert raw.img nosuch/out.img",
        "convert raw.img /dev/null",
        "convert raw.img /dev/full",
        "convert . out.img",
        "convert -o nope=1 raw.img out.img",
        "convert -o , raw.img out.img",
        "convert -o preallocation=metadata raw.img out.img",
        "convert -O qcow2 -o compat=2 raw.img out.img",
        "convert -O qcow2 -o compat raw.img out.img",
        "convert -O qcow2 -o COMPAT=v3 raw.img out.img",
        "convert -O qcow2 -o compat=v3, raw.img out.img",
        "convert -O qcow2 -o help=on raw.img out.img",
        "convert -O qcow2 -o backing_file=base.img raw.img out.img",
        "convert -O qcow2 -o backing_fmt=raw raw.img out.img",
        "convert -O qcow2 -o cluster_size= raw.img out.img",
        "convert -O qcow2 -o cluster_size=-1 raw.img out.img",
        "convert -O qcow2 -o cluster_size=64k,,compat=v3 raw.img out.img",
        "convert -O qcow2 -o cluster_size=1000 raw.img out.img",
        "convert -O qcow2 -o cluster_size=4M raw.img out.img",
        "convert -O qcow2 -o cluster_size=64kB raw.img out.img",
        "convert -O qcow2 -o extended_l2=On raw.img out.img",
        "convert -O qcow2 -o extended_l2=on,cluster_size=8k raw.img out.img",
        "convert -O qcow2 -o refcount_bits=16x raw.img out.img",
        "convert -O qcow2 -o refcount_bits=3 raw.img out.img",
        "convert -O qcow2 -o refcount_bits=128 raw.img out.img",
        "convert -O qcow2 -o compression_type=lz4 raw.img out.img",
        "convert -O qcow2 -o compat=0.10,lazy_refcounts=on raw.img out.img",
        "convert -O qcow2 -o compat=0.10,compression_type=zstd raw.img out.img",
        "convert -O qcow2 -o data_file_raw=on raw.img out.img",
        "convert -O vmdk -o subformat=vmfs raw.img out.img",
        "convert -O vmdk -o adapter_type=LSILOGIC raw.img out.img",
        "convert -O vmdk -o hwversion=7,compat6=on raw.img out.img",
        "convert -O vpc -o subformat=x raw.img out.img",
        "convert -O vhdx -o block_size=3M raw.img out.img",
        "convert -O vhdx -o log_size=0 raw.img out.img",
        "convert -O vhdx -o log_size=5G raw.img out.img",
        "convert -O dmg raw.img out.img",
        "convert -O nosuch raw.img out.img",
        "convert --image-opts -f raw file.filename=raw.img out.img",
    ]
    .map(|words| Case(words.into()))
    .into();
    assert_all(&refused, |case| {
        let (theirs, _) = scene.run(scene.qemu.img(), case, View::Bytes);
        let (ours, _) = scene.run(&scene.instar, case, View::Bytes);
        let mut found = ours.differences_from(&Outcome::refusal());
        if theirs.exit != Exit::Code(1) {
            found.push(format!("qemu-img does it: {:?}", theirs.exit));
        }
        found
    });
}

/// What qemu-img does and instar refuses, and why. Each is checked to still be refused, and to still be a difference.
const DELIBERATE: &[(&str, &str)] = &[
    ("convert -o size=1M raw.img out.img", "qemu-img takes a size and gives the output another"),
    ("convert -o nocow=off raw.img out.img", "the file system is for whoever makes its directories"),
    ("convert -o extent_size_hint=0 raw.img out.img", "as above"),
    ("convert -O qcow2 -o encryption=off raw.img out.img", "images are not encrypted"),
    ("convert -O qcow2 -o nolazy_refcounts raw.img out.img", "deprecated, and read as another option's name"),
    ("convert -B there.img -F raw -O qcow2 raw.img there.img", "an image that stands on itself is none"),
    ("convert -O vpc -o preallocation=full raw.img out.img", "qemu-img takes it and allocates nothing"),
    ("convert -O vhdx -o preallocation=falloc raw.img out.img", "as above"),
    ("convert -O vmdk -o preallocation=full raw.img out.img", "as above"),
    ("convert -c -O vmdk raw.img out.img", "qemu-img takes it and compresses nothing"),
    ("convert --bitmaps -O qcow2 qcow2.img out.img", "persistent bitmaps are not copied"),
    ("convert -n --target-image-opts raw.img driver=raw,file.filename=there.img", "outputs are paths"),
    ("convert -O vdi raw.img out.img", "not a format that instar writes"),
];

#[test]
fn deliberate_differences() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = DELIBERATE.iter().map(|(words, _)| Case((*words).into())).collect();
    assert_all(&cases, |case| {
        let (theirs, _) = scene.run(scene.qemu.img(), case, View::Bytes);
        let (ours, _) = scene.run(&scene.instar, case, View::Bytes);
        let mut found = ours.differences_from(&Outcome::refusal());
        if theirs.exit != Exit::Code(0) {
            found.push(format!("qemu-img does not do it either: {:?}", theirs.exit));
        }
        found
    });
}

#[test]
fn options_have_the_names_that_qemu_img_lists() {
    let Some(scene) = Scene::set() else { return };
    let names = |tool: &Tool, format: &str| -> Vec<String> {
        let run = tool.run(scene.props(), ["convert", "-O", format, "-o", "help", "a", "b"]).unwrap();
        assert_eq!(run.exit, Exit::Code(0));
        assert!(run.stdout.starts_with("Supported options:\n"), "{}", run.stdout);
        let lines = run.stdout.lines().skip(1).filter(|line| !line.is_empty());
        lines.map(|line| line.split(" - ").next().unwrap().trim().to_owned()).collect()
    };
    for (format, _) in OUTPUTS {
        let theirs = names(scene.qemu.img(), format);
        for option in names(&scene.instar, format) {
            assert!(theirs.contains(&option), "{format}: {option} is not among {theirs:?}");
        }
    }
}

#[test]
fn progress_is_told_as_qemu_img_tells_it() {
    let Some(scene) = Scene::set() else { return };
    for tool in [scene.qemu.img(), &scene.instar] {
        let dir = scene.dir();
        let said = |flags: &[&str]| {
            let words = [&["convert"], flags, &["raw.img", "out.img"]].concat();
            tool.run(dir.path(), words).unwrap().stdout
        };
        let shown = said(&["-p"]);
        assert!(shown.starts_with("    (0.00/100%)\r"), "{shown:?}");
        assert!(shown.ends_with("    (100.00/100%)\r\n"), "{shown:?}");
        assert_eq!(said(&["-p", "-q"]), "");
        assert_eq!(said(&[]), "");
    }
}

/// The words of a command.
struct Case(String);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same disk in every format, and outputs that are there.
struct Scene(Stage);

impl Scene {
    /// `None` where QEMU is not installed.
    fn set() -> Option<Self> {
        Stage::set(env!("CARGO_BIN_EXE_instar"), WRITTEN, make_inputs).map(Self)
    }

    /// What came of a case, and how much room its output takes on the medium, in bytes.
    fn run(&self, tool: &Tool, case: &Case, view: View<'_>) -> (Outcome, u64) {
        let words: Vec<_> = case.0.split_whitespace().collect();
        let output = words.last().copied().unwrap_or_default();
        let dir = scene::temporary_dir().expect("a directory");
        let ran = scene::run_in(dir.path(), tool, &words, view, |dir| self.lay_out(dir));
        let (outcome, _) = ran.unwrap_or_else(|error| panic!("{case}: the test itself failed: {error}"));
        let room = fs::metadata(dir.path().join(output)).map_or(0, |file| file.blocks() * 512);
        (outcome, room)
    }

    /// Both tools make the same, and instar makes it no larger.
    fn compare(&self, cases: &[Case]) {
        assert_all(cases, |case| {
            let view = if case.0.contains("-O") { View::Image(&self.qemu) } else { View::Bytes };
            let (theirs, their_room) = self.run(self.qemu.img(), case, view);
            let (ours, our_room) = self.run(&self.instar, case, view);
            let mut found = ours.differences_from(&theirs);
            if theirs.exit != Exit::Code(0) {
                found.push("qemu-img fails, so nothing was compared".into());
            }
            let is_dense = ["preallocation", "-S 0"].iter().any(|dense| case.0.contains(dense));
            let spare = if is_dense { SPARE_CLUSTER } else { SPARE_BLOCK };
            if our_room > their_room + spare {
                found.push(format!("{our_room} bytes on the medium, where qemu-img needs {their_room}"));
            }
            found
        });
    }
}

impl Deref for Scene {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.0
    }
}

/// The same disk in every format, a raw disk that is no whole number of sectors, an overlay on a raw disk, and two kinds of
/// zeros that meet in the middle of a grain.
fn make_inputs(dir: &Path) -> io::Result<()> {
    let disk = Disk::hole(SIZE)
        .with(100, "head", 70_000)
        .with(MIB + 4096, "one", 512)
        .with(4 * MIB - 1, "middle", 200_000)
        .with(SIZE - 1000, "tail", 1000);
    disk.write(&dir.join("raw.img"))?;
    let (at, len) = ZEROS;
    let zeros = vec![0; usize::try_from(len).expect("zeros fit in memory")];
    OpenOptions::new().write(true).open(dir.join("raw.img"))?.write_all_at(&zeros, at)?;
    in_formats(dir, "-S 0", &INPUTS[1..])?;
    Disk::solid("there", SIZE + MIB).write(&dir.join("there.img"))?;
    Disk::hole(SIZE + MIB).write(&dir.join("zero.img"))?;
    Disk::solid("odd", 5000).write(&dir.join("odd.img"))?;
    Disk::solid("base", SIZE).write(&dir.join("base.img"))?;
    let overlay = "qemu-img create -q -f qcow2 -b base.img -F raw overlay.img
        qemu-io -f qcow2 -c 'write -P 7 1M 100k' -c 'write -z 3M 1M' -c 'write -P 0 5M 64k' overlay.img >/dev/null
        qemu-img create -q -f qcow2 -o cluster_size=4k zeros.img 1M
        qemu-io -f qcow2 -c 'write -z 300k 400k' zeros.img >/dev/null
        qemu-img create -q -f qcow2 snapshots.img 2M
        qemu-io -f qcow2 -c 'write -P 1 0 200k' snapshots.img >/dev/null
        qemu-img snapshot -c first snapshots.img
        qemu-io -f qcow2 -c 'write -P 2 100k 200k' snapshots.img >/dev/null
        qemu-img snapshot -c second snapshots.img
        qemu-io -f qcow2 -c 'write -P 3 0 2M' snapshots.img >/dev/null";
    Qemu::script(dir, overlay, &[])
}
