//! `instar dd` and the installed `qemu-img dd` make the same disks of the same images, from each format to each.
//!
//! `count` and `skip` are plain decimal numbers throughout: a qemu-img that Debian ships reads other spellings of
//! these two as no upstream version does.

use core::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use testkit::cases::assert_all;
use testkit::disk::Disk;
use testkit::outcome::{Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::Tool;

/// The first few of them are combined with every input and every output, the others with some.
const WINDOWS: &[&str] = &[
    "bs=65536",
    "bs=1000 skip=301 count=1801",
    "",
    "bs=65536 count=5",
    "bs=65536 skip=3",
    "bs=65536 skip=2 count=9",
    "bs=513 skip=1 count=1000",
    // Most inputs end within the second block.
    "bs=700000 skip=1",
    "bs=2147483647 count=9223372036854775807",
    "count=0",
    "bs=1048576 skip=100",
    "bs=65536 skip=4 count=3",
];

const WINDOWS_FOR_EVERYTHING: usize = 2;

/// The windows that have nothing in them, whatever the input is.
const NOTHING: &[&str] = &["count=0", "bs=1048576 skip=100", "bs=65536 skip=4 count=3"];

/// Every input meets every window where it goes to the first of them, which takes no time to look at.
const OUTPUTS: &[&str] = &["raw", "qcow2", "vmdk", "vpc", "vhdx"];

/// The inputs that meet every window whatever they go to.
const THOROUGH: &[&str] = &["qcow2, on two more", "vmdk, streamOptimized"];

/// A table that lost its inputs would still be passed.
const NUMBER_OF_INPUTS: usize = 58;

#[test]
fn every_input_becomes_the_same_disk() {
    let Some(qemu) = Qemu::require() else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let workshop = Workshop::open().expect("a directory for the inputs");
    assert_eq!(INPUTS.len(), NUMBER_OF_INPUTS);
    assert_all(INPUTS, |input| workshop.make(input).err().iter().map(ToString::to_string).collect());

    let cases = cases();
    let to_raw = NUMBER_OF_INPUTS * WINDOWS.len();
    let thorough = THOROUGH.len() * WINDOWS.len();
    let others = thorough + (NUMBER_OF_INPUTS - THOROUGH.len()) * WINDOWS_FOR_EVERYTHING;
    assert_eq!(cases.len(), to_raw + (OUTPUTS.len() - 1) * others);
    assert_all(&cases, |case| {
        let lay_out = |dir: &Path| workshop.lay_out(case.input, dir);
        let view = if case.output == "raw" { View::Bytes } else { View::Image(&qemu) };
        let (expected, _) = scene::run(qemu.img(), &case.args, view, lay_out);
        let (actual, _) = scene::run(&instar, &case.args, view, lay_out);
        if case.cannot_be_made() {
            return differences_from_failure(&actual, &expected);
        }
        let mut found = actual.differences_from(&expected);
        if expected.exit != Exit::Code(0) {
            found.push("qemu-img fails, so nothing was compared".into());
        }
        found
    });
}

/// What qemu-img does and instar refuses to do. Each is checked to still be refused, and to still be a difference.
#[test]
fn deliberate_differences() {
    let Some(qemu) = Qemu::require() else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let lay_out = |dir: &Path| Disk::solid("in", 70_144).write(&dir.join("in.img"));
    assert_all(DELIBERATE, |difference| {
        let theirs = scene::outcome(qemu.img(), difference.args, lay_out);
        let mut found =
            scene::outcome(&instar, difference.args, lay_out).differences_from(&Outcome::refusal());
        if theirs.exit != Exit::Code(0) {
            found.push(format!("qemu-img does not do it either: {:?}", theirs.exit));
        }
        found
    });
}

struct Case {
    input: &'static Input,
    output: &'static str,
    window: &'static str,
    args: Vec<String>,
}

impl Case {
    fn new(input: &'static Input, output: &'static str, window: &'static str) -> Self {
        let format = if input.format.is_empty() { vec![] } else { vec!["-f", input.format] };
        let files = ["-O", output, "if=in.img", "of=out.img"];
        let args =
            format.into_iter().chain(files).chain(window.split_whitespace()).map(String::from).collect();
        Self { input, output, window, args }
    }

    /// Only VMDK has no image of an empty disk.
    fn cannot_be_made(&self) -> bool {
        self.output == "vmdk" && NOTHING.contains(&self.window)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: dd {}", self.input.name, self.args.join(" "))
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for input in INPUTS {
        for output in OUTPUTS {
            let all = *output == OUTPUTS[0] || THOROUGH.contains(&input.name);
            let windows = if all { WINDOWS } else { &WINDOWS[..WINDOWS_FOR_EVERYTHING] };
            cases.extend(windows.iter().map(|window| Case::new(input, output, window)));
        }
    }
    cases
}

/// qemu-img leaves a file that is no image; instar leaves none.
fn differences_from_failure(actual: &Outcome, expected: &Outcome) -> Vec<String> {
    let mut found = actual.differences_from(&Outcome::refusal());
    if expected.exit != Exit::Code(1) {
        found.push(format!("qemu-img does not fail: {:?}", expected.exit));
    }
    found
}

struct Difference {
    reason: &'static str,
    args: &'static [&'static str],
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dd {:?}, refused: {}", self.args, self.reason)
    }
}

const IN: &str = "if=in.img";
const OUT: &str = "of=out.img";
const NOT_WRITTEN: &str = "a format that instar does not write";

const DELIBERATE: &[Difference] = &[
    Difference { reason: NOT_WRITTEN, args: &["-f", "raw", "-O", "qcow", IN, OUT] },
    Difference { reason: NOT_WRITTEN, args: &["-f", "raw", "-O", "qed", IN, OUT] },
    Difference { reason: NOT_WRITTEN, args: &["-f", "raw", "-O", "vdi", IN, OUT] },
    Difference { reason: NOT_WRITTEN, args: &["-f", "raw", "-O", "parallels", IN, OUT] },
    Difference { reason: "the output is the input", args: &["-O", "qcow2", IN, "of=in.img"] },
    Difference { reason: "the output is the input", args: &["-U", "-O", "vmdk", IN, "of=./in.img"] },
];

/// Where inputs are made, once each, and taken from.
struct Workshop {
    dir: TempDir,
}

impl Workshop {
    fn open() -> io::Result<Self> {
        let dir = scene::temporary_dir()?;
        // Odd multiples of 512, so that no cluster ends where a disk does.
        noise("noise", 2_300_416).write(&dir.path().join("noise.raw"))?;
        noise("top", 1_300_480).write(&dir.path().join("top.raw"))?;
        Ok(Self { dir })
    }

    fn make(&self, input: &Input) -> io::Result<()> {
        let dir = self.dir_of(input);
        fs::create_dir(&dir)?;
        let raw = |name| self.dir.path().join(name);
        let script = format!("{PRELUDE}\n{}", input.script);
        Qemu::script(&dir, &script, &[&raw("noise.raw"), &raw("top.raw")])
    }

    /// Puts the files of `input` into `dir`. Each is the same file in every directory: nothing may change it.
    fn lay_out(&self, input: &Input, dir: &Path) -> io::Result<()> {
        for file in fs::read_dir(self.dir_of(input))? {
            let file = file?;
            fs::hard_link(file.path(), dir.join(file.file_name()))?;
        }
        Ok(())
    }

    fn dir_of(&self, input: &Input) -> PathBuf {
        self.dir.path().join(input.name)
    }
}

/// Data at both ends and within, also where it does not fill a cluster.
fn noise(tag: &str, size: u64) -> Disk {
    Disk::hole(size)
        .with(0, &format!("{tag}a"), 70_000)
        .with(300_000, &format!("{tag}b"), 400_000)
        .with(size / 2 + 100_000, &format!("{tag}c"), 4096)
        .with(size - 66_000, &format!("{tag}d"), 66_000)
}

/// An image, or several of which the first is "in.img", as a script makes it.
struct Input {
    /// Also that of its directory.
    name: &'static str,
    /// Empty to have it probed.
    format: &'static str,
    script: &'static str,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn probed(name: &'static str, script: &'static str) -> Input {
    Input { name, format: "", script }
}

const fn named(name: &'static str, format: &'static str, script: &'static str) -> Input {
    Input { name, format, script }
}

/// What scripts may use: two disks, of noise and holes, and commands.
const PRELUDE: &str = r#"
NOISE=$1 TOP=$2
# IMAGE FORMAT [OPTIONS]: the disk of noise.
noise() { image=$1 format=$2; shift 2; qemu-img convert -f raw -O $format "$@" $NOISE $image; }
# IMAGE FORMAT [OPTIONS]: half of the disk is text.
mixed() {
    { yes 'some text that can be compressed' | head -c 1000000; tail -c +1000001 $NOISE; } >mixed
    image=$1 format=$2; shift 2; qemu-img convert -f raw -O $format "$@" mixed $image; rm mixed
}
# IMAGE FORMAT [OPTIONS]: data that neither begins nor ends with a cluster, zeros of both kinds.
scribbled() {
    image=$1 format=$2; shift 2; qemu-img create -q -f $format "$@" $image 2300416; scribble $image $format
}
# IMAGE FORMAT: the same on what there is.
scribble() {
    qemu-io -f $2 -c 'write -P 1 0 1536' -c 'write -P 2 256000 307200' -c 'write -P 3 716800 512' \
        -c 'write -z 307200 102400' -c 'write -z 786432 131072' -c 'write -P 4 2299904 512' $1 >/dev/null
}
# BASE FORMAT SIZE: in.img, with a little of its own.
overlay() {
    qemu-img create -q -f qcow2 -b $1 -F $2 in.img $3
    qemu-io -f qcow2 -c 'write -P 7 66000 70000' -c 'write -z 196608 65536' -c 'write -P 8 900000 100' in.img >/dev/null
}
"#;

const INPUTS: &[Input] = &[
    named("raw", "raw", "cp $NOISE in.img"),
    named("raw, a byte beyond a sector", "raw", "cp $NOISE in.img; truncate -s 1000449 in.img"),
    named("raw, no whole sectors", "raw", "cp $NOISE in.img; truncate -s 1000003 in.img"),
    named("raw, all hole", "raw", "truncate -s 1234432 in.img"),
    named("raw, a qcow2 image in it", "raw", "scribbled in.img qcow2"),
    probed("raw, probed", "cp $NOISE in.img"),
    probed("qcow2", "noise in.img qcow2"),
    probed("qcow2, blank", "qemu-img create -q -f qcow2 in.img 1234432"),
    probed("qcow2, version 2", "noise in.img qcow2 -o compat=0.10"),
    probed("qcow2, version 2, zeros", "scribbled in.img qcow2 -o compat=0.10"),
    probed("qcow2, clusters of 512", "scribbled in.img qcow2 -o cluster_size=512"),
    probed("qcow2, clusters of 4k", "noise in.img qcow2 -o cluster_size=4k"),
    probed("qcow2, clusters of 64k", "scribbled in.img qcow2"),
    probed("qcow2, clusters of 2M", "scribbled in.img qcow2 -o cluster_size=2M"),
    probed("qcow2, subclusters", "scribbled in.img qcow2 -o extended_l2=on"),
    probed("qcow2, subclusters of 64k", "scribbled in.img qcow2 -o extended_l2=on,cluster_size=2M"),
    probed("qcow2, subclusters on a base", "
        noise base.img raw; qemu-img create -q -f qcow2 -o extended_l2=on -b base.img -F raw in.img
        scribble in.img qcow2"),
    probed("qcow2, refcounts of 1 bit", "noise in.img qcow2 -o refcount_bits=1"),
    probed("qcow2, refcounts of 8 bits", "noise in.img qcow2 -o refcount_bits=8"),
    probed("qcow2, refcounts of 64 bits", "noise in.img qcow2 -o refcount_bits=64"),
    probed("qcow2, lazy refcounts", "scribbled in.img qcow2 -o lazy_refcounts=on"),
    probed("qcow2, compressed", "mixed in.img qcow2 -c"),
    probed("qcow2, compressed with zstd", "mixed in.img qcow2 -c -o compression_type=zstd"),
    probed("qcow2, compressed, clusters of 512", "mixed in.img qcow2 -c -o cluster_size=512"),
    probed("qcow2, compressed with zstd, clusters of 2M",
        "mixed in.img qcow2 -c -o compression_type=zstd,cluster_size=2M"),
    probed("qcow2, compressed, written to", "mixed in.img qcow2 -c; scribble in.img qcow2"),
    probed("qcow2, all zeros", "
        qemu-img create -q -f qcow2 in.img 2M; qemu-io -f qcow2 -c 'write -z 0 2M' in.img >/dev/null"),
    probed("qcow2, zeros over data", "
        noise in.img qcow2; qemu-io -f qcow2 -c 'write -z 64k 640k' -c 'write -z -u 1M 640k' in.img >/dev/null"),
    probed("qcow2, preallocated", "noise in.img qcow2 -o preallocation=metadata"),
    probed("qcow2, snapshots", "
        noise in.img qcow2; qemu-img snapshot -c one in.img; scribble in.img qcow2
        qemu-img snapshot -c two in.img; qemu-io -f qcow2 -c 'write -P 9 100000 300000' in.img >/dev/null"),
    probed("qcow2, bitmaps", "noise in.img qcow2; qemu-img bitmap --add in.img one; scribble in.img qcow2"),
    probed("qcow2, grown", "noise in.img qcow2; qemu-img resize -q in.img +100352"),
    probed("qcow2, shrunk", "noise in.img qcow2; qemu-img resize -q --shrink in.img 1000448"),
    probed("qcow2, on raw", "noise base.img raw; overlay base.img raw 2300416"),
    probed("qcow2, on a shorter one", "cp $TOP base.img; overlay base.img raw 2300416"),
    probed("qcow2, on a longer one", "noise base.img raw; overlay base.img raw 1300480"),
    probed("qcow2, on raw without whole sectors", "
        cp $NOISE base.img; truncate -s 1000003 base.img; overlay base.img raw 2300416"),
    probed("qcow2, on qcow2", "mixed base.img qcow2 -c; overlay base.img qcow2 2300416"),
    probed("qcow2, on vmdk", "noise base.img vmdk; overlay base.img vmdk 2300416"),
    probed("qcow2, on two more", "
        noise one.img raw; qemu-img create -q -f qcow2 -o cluster_size=4k -b one.img -F raw two.img 2400256
        scribble two.img qcow2; overlay two.img qcow2 2500096"),
    probed("qcow2, data in a file", "noise in.img qcow2 -o data_file=in.data"),
    probed("qcow2, raw data in a file", "scribbled in.img qcow2 -o data_file=in.data,data_file_raw=on"),
    probed("vmdk", "noise in.img vmdk"),
    probed("vmdk, streamOptimized", "mixed in.img vmdk -o subformat=streamOptimized"),
    probed("vmdk, monolithicFlat", "noise in.img vmdk -o subformat=monolithicFlat"),
    probed("vmdk, twoGbMaxExtentSparse", "noise in.img vmdk -o subformat=twoGbMaxExtentSparse"),
    probed("vmdk, twoGbMaxExtentFlat", "noise in.img vmdk -o subformat=twoGbMaxExtentFlat"),
    probed("vmdk, zeroed grains", "
        noise in.img vmdk -o zeroed_grain=on; qemu-io -f vmdk -c 'write -z 64k 640k' in.img >/dev/null"),
    probed("vmdk, on vmdk", "
        noise base.img vmdk; qemu-img create -q -f vmdk -b base.img -F vmdk in.img; scribble in.img vmdk"),
    probed("vpc", "noise in.img vpc"),
    probed("vpc, exact size", "noise in.img vpc -o force_size=on"),
    named("vpc, fixed", "vpc", "noise in.img vpc -o subformat=fixed"),
    named("vpc, fixed, exact size", "vpc", "noise in.img vpc -o subformat=fixed,force_size=on"),
    probed("vhdx", "noise in.img vhdx"),
    probed("vhdx, fixed", "noise in.img vhdx -o subformat=fixed"),
    probed("vhdx, blocks of 1M", "scribbled in.img vhdx -o block_size=1M"),
    probed("vhdx, blocks of 8M", "scribbled in.img vhdx -o block_size=8M"),
    probed("vhdx, no zero blocks", "noise in.img vhdx -o block_state_zero=off,block_size=1M"),
];
