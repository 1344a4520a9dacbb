//! `instar dd` and the installed `qemu-img dd` do the same with the same arguments, from raw images to raw images.
//!
//! `count` and `skip` are plain decimal numbers throughout: a qemu-img that Debian ships reads other spellings of
//! these two as no upstream version does. The recorded baselines cover the spellings.

use core::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use testkit::cases::assert_all;
use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::Outcome;
use testkit::scene;
use testkit::tool::{Tool, require_tool};

/// Each is combined with every input. END stands for the number of whole blocks in the input, PAST for one more.
const WINDOWS: &[&str] = &[
    "",
    "count=0",
    "count=1",
    "count=3",
    "count=9223372036854775807",
    "skip=0",
    "skip=1",
    "skip=END",
    "skip=PAST",
    "skip=9223372036854775807",
    // `count` bounds where the window ends, not how much `skip` leaves.
    "count=3 skip=1",
    "count=3 skip=3",
    "count=3 skip=4",
    "count=0 skip=0",
    "count=0 skip=1",
    "count=9223372036854775807 skip=1",
    "count=9223372036854775807 skip=9223372036854775807",
    "bs=1",
    "bs=1 count=7",
    "bs=1 count=1000 skip=511",
    "bs=1 skip=END",
    "bs=1 skip=PAST",
    "bs=3",
    "bs=3 count=100 skip=5",
    "bs=3 skip=END",
    "bs=3 skip=PAST",
    "bs=513",
    "bs=513 count=3 skip=1",
    "bs=513 skip=END",
    "bs=513 skip=PAST",
    "bs=1000",
    "bs=1000 count=3",
    "bs=1000 count=1 skip=3",
    "bs=1000 skip=1",
    "bs=65536",
    "bs=65536 count=3",
    "bs=65536 count=50 skip=47",
    "bs=65536 skip=END",
    "bs=65536 skip=PAST",
    "bs=1048576",
    "bs=1048576 count=1",
    "bs=1048576 skip=1",
    "bs=1048576 count=9223372036854775807",
    "bs=2147483647",
    "bs=2147483647 count=1 skip=1",
    "bs=2147483647 count=9223372036854775807",
    "bs=2147483647 skip=9223372036854775807",
];

/// qemu-img makes a request per block, at some 50 microseconds each.
const MOST_REQUESTS: u64 = 4096;

/// A matrix that lost its inputs or windows would still be passed.
const FEWEST_WINDOW_CASES: usize = 585;

const DEFAULT_BS: u64 = 512;
const SECTOR: u64 = 512;

#[test]
fn windows() {
    let Some(qemu_img) = require_tool("qemu-img") else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let inputs = window_inputs();
    let cases: Vec<_> = inputs
        .iter()
        .flat_map(|input| WINDOWS.iter().map(move |window| WindowCase::new(input, window)))
        .filter(|case| case.requests <= MOST_REQUESTS)
        .collect();
    assert!(cases.len() >= FEWEST_WINDOW_CASES, "only {} cases", cases.len());
    assert_all(&cases, |case| {
        let lay_out = |dir: &Path| case.input.write(&dir.join("in.raw"));
        let expected = scene::outcome(&qemu_img, &case.args, lay_out);
        scene::outcome(&instar, &case.args, lay_out).differences_from(&expected)
    });
}

#[test]
fn arguments() {
    compare_all(ARGUMENTS.iter().map(|args| Pair { ours: Scene::plain(args), theirs: Scene::plain(args) }));
}

#[test]
fn long_options() {
    let pairs = LONG_OPTIONS.iter();
    compare_all(pairs.map(|(long, short)| Pair { ours: Scene::plain(long), theirs: Scene::plain(short) }));
}

#[test]
fn files() {
    compare_all(FILES.iter().map(|scene| Pair { ours: *scene, theirs: *scene }));
}

#[test]
fn instar_refuses_what_would_destroy_the_input_or_never_end() {
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    assert_all(REFUSED, |scene| scene.outcome(&instar).differences_from(&Outcome::refusal()));
}

struct WindowCase<'a> {
    input: &'a Disk,
    args: Vec<String>,
    requests: u64,
}

impl<'a> WindowCase<'a> {
    fn new(input: &'a Disk, window: &str) -> Self {
        // Raw images are as long as their last sector, even where the file ends within it.
        let len = input.size().next_multiple_of(SECTOR);
        let bs = operand(window, "bs").map_or(DEFAULT_BS, |bs| bs.parse().expect("plain decimals"));
        let blocks = |n: u64| (n / bs).to_string();
        let window = window.replace("END", &blocks(len)).replace("PAST", &blocks(len + bs));

        let number = |name| operand(&window, name).map(|n| n.parse::<u64>().expect("plain decimals"));
        let end = len.div_ceil(bs).min(number("count").unwrap_or(u64::MAX));
        let requests = end.saturating_sub(number("skip").unwrap_or(0));

        let files = ["-f", "raw", "-O", "raw", "if=in.raw", "of=out.img"];
        let args = files.into_iter().chain(window.split_whitespace()).map(String::from).collect();
        Self { input, args, requests }
    }
}

impl fmt::Display for WindowCase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input of {} bytes: dd {}", self.input.size(), self.args.join(" "))
    }
}

fn window_inputs() -> Vec<Disk> {
    let sizes = [0, 1, 100, 511, 512, 513, 1000, 64 * KIB, 1_000_003, MIB, MIB + 1];
    let mut inputs: Vec<_> = sizes.iter().map(|&size| Disk::solid("window", size)).collect();
    inputs.push(Disk::hole(8 * MIB).with(3 * MIB + 100, "middle", 100_000));
    inputs.push(Disk::hole(3 * MIB));
    inputs
}

/// The value of NAME=VALUE in `window`.
fn operand<'a>(window: &'a str, name: &str) -> Option<&'a str> {
    window.split_whitespace().find_map(|operand| operand.strip_prefix(name)?.strip_prefix('='))
}

/// Arguments, and what there is beside the files that every scene has.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    lay_out: fn(&Path) -> io::Result<()>,
    args: &'static [&'static str],
}

impl Scene {
    fn plain(args: &'static [&'static str]) -> Self {
        Self { name: "plain files", lay_out: nothing_more, args }
    }

    fn outcome(&self, tool: &Tool) -> Outcome {
        scene::outcome(tool, self.args, |dir| self.lay_out(dir))
    }

    fn lay_out(&self, dir: &Path) -> io::Result<()> {
        Disk::solid("in", 70_003).write(&dir.join("in.raw"))?;
        Disk::solid("small", 1000).write(&dir.join("small.raw"))?;
        (self.lay_out)(dir)
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: dd {:?}", self.name, self.args)
    }
}

/// What instar does in one scene is to be what qemu-img does in another, which mostly is the same one.
struct Pair {
    ours: Scene,
    theirs: Scene,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ours.fmt(f)
    }
}

fn compare_all(pairs: impl Iterator<Item = Pair>) {
    let Some(qemu_img) = require_tool("qemu-img") else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let pairs: Vec<_> = pairs.collect();
    assert_all(&pairs, |pair| pair.ours.outcome(&instar).differences_from(&pair.theirs.outcome(&qemu_img)));
}

const IN: &str = "if=in.raw";
const OUT: &str = "of=out.img";

/// Options, operands and names, all in the same directory. What `dd_matrix` has for every format is not here.
const ARGUMENTS: &[&[&str]] = &[
    // Options, as getopt allows them to be written.
    &[IN, OUT],
    &["-f", "raw", IN, OUT],
    &["-O", "raw", IN, OUT],
    &["-f", "raw", "-O", "raw", IN, OUT],
    &["-fraw", IN, OUT],
    &["-fraw", "-Oraw", IN, OUT],
    &["-U", IN, OUT],
    &["-UOraw", IN, OUT],
    &["-Uf", "raw", IN, OUT],
    &["--force-share", IN, OUT],
    &["--force", IN, OUT],
    // Options after operands, and the end of options.
    &[IN, OUT, "-f", "raw", "-O", "raw"],
    &[IN, "-f", "raw", OUT, "-Oraw", "bs=1000"],
    &["--", IN, OUT],
    &["-f", "raw", "--", IN, OUT],
    &[IN, "--", OUT],
    &[IN, OUT, "--"],
    &["--", IN, OUT, "-O", "raw"],
    &["--", "--", IN, OUT],
    // Options that are none, or lack their argument, or have one too many.
    &["-Z", IN, OUT],
    &["-UZ", IN, OUT],
    &["-n", IN, OUT],
    &["-V"],
    &["--version"],
    &["--nope", IN, OUT],
    &["--for", "raw", IN, OUT],
    &["--bs=512", IN, OUT],
    &["-bs=512", IN, OUT],
    &["--force-share=x", IN, OUT],
    &[IN, OUT, "-f"],
    &[IN, OUT, "-O"],
    &[IN, OUT, "--format"],
    // Formats that do not exist, do not fit, or cannot be written.
    &["-f", "nosuch", IN, OUT],
    &["-f", "", IN, OUT],
    &["-f", "RAW", IN, OUT],
    &["-f", "qcow2", IN, OUT],
    &["-f", "file", IN, OUT],
    &["-O", "", IN, OUT],
    &["-O", "file", IN, OUT],
    &["-O", "bochs", IN, OUT],
    // Help.
    &["-h"],
    &["--help"],
    &["--hel"],
    &[IN, OUT, "--help"],
    &["nonsense", "--help"],
    &["-h", "-Z"],
    &["-Z", "-h"],
    // The last of several counts, and each must be valid.
    &["-f", "qcow2", "-f", "raw", IN, OUT],
    &["-O", "nosuch", "-O", "raw", IN, OUT],
    &["-O", "raw", "-O", "nosuch", IN, OUT],
    &["if=nope.raw", IN, OUT],
    &["if=small.raw", IN, OUT],
    &[IN, "if=small.raw", OUT],
    &[IN, "of=other.img", OUT],
    &[IN, OUT, "bs=1000", "bs=4096", "count=1"],
    &[IN, OUT, "count=1", "count=3"],
    &[IN, OUT, "skip=1", "skip=130"],
    &[IN, OUT, "bs=0", "bs=512"],
    &[IN, OUT, "bs=512", "bs=0"],
    // Operands that are none.
    &[IN, OUT, "nonsense"],
    &["foo=bar", IN, OUT],
    &["foo=bar"],
    &[IN, OUT, ""],
    &[IN, OUT, "="],
    &[IN, OUT, "=1"],
    &[IN, OUT, "-"],
    &[IN, OUT, "if"],
    &["IF=in.raw", OUT],
    &[" if=in.raw", OUT],
    &[IN, OUT, "BS=512"],
    &[IN, OUT, "conv=notrunc"],
    &[IN, OUT, "iflag=direct"],
    &[IN, OUT, "oflag=direct"],
    &[IN, OUT, "status=none"],
    &[IN, OUT, "ibs=512"],
    &[IN, OUT, "obs=512"],
    // Block sizes: unlike `count` and `skip`, every qemu-img reads these alike.
    &[IN, OUT, "bs=64K", "count=1"],
    &[IN, OUT, "bs=1M"],
    &[IN, OUT, "bs=.5k"],
    &[IN, OUT, "bs=0x200"],
    &[IN, OUT, "bs=01000", "count=1"],
    &[IN, OUT, "bs=+512"],
    &[IN, OUT, "bs= 512"],
    &[IN, OUT, "bs=512 "],
    &[IN, OUT, "bs=512b"],
    &[IN, OUT, "bs=512c"],
    &[IN, OUT, "bs=1kB"],
    &[IN, OUT, "bs=1e3"],
    &[IN, OUT, "bs=1.5"],
    &[IN, OUT, "bs=0x1k"],
    &[IN, OUT, "bs=-1"],
    &[IN, OUT, "bs=x"],
    &[IN, OUT, "bs="],
    &[IN, OUT, "bs=2147483648"],
    &[IN, OUT, "bs=18446744073709551616"],
    &[IN, OUT, "count=-1"],
    &[IN, OUT, "count=x"],
    &[IN, OUT, "skip=-1"],
    &[IN, OUT, "skip=9223372036854775808"],
    // Names.
    &["if=./in.raw", "of=./out.img"],
    &["if=file:in.raw", "of=file:out.img"],
    &[IN, "of=a=b"],
    &["if=a=b", OUT],
    &[IN, "of=-"],
    &["if=-", OUT],
    &[IN, "of=./foo:bar"],
    &[IN, "of=foo:bar"],
    &["if=foo:bar", OUT],
    &[IN, "of=json:{}"],
    &[IN, "of="],
    &["if=", OUT],
    // Names of what cannot be read or written.
    &["if=nope.raw", OUT],
    &["-f", "raw", "if=nope.raw", OUT],
    &["-O", "nosuch", "if=nope.raw", OUT],
    &["if=nodir/in.raw", OUT],
    &["if=in.raw/", OUT],
    &["if=.", OUT],
    &[IN, "of=."],
    &[IN, "of=out.img/"],
    &[IN, "of=nodir/out.img"],
    &[IN, "of=small.raw/out.img"],
    &[IN, "of=/dev/null"],
    &[IN, "of=/dev/full"],
];

/// Long spellings of options, and what means the same to every qemu-img: most have the long ones only from 10.1 on.
const LONG_OPTIONS: &[(&[&str], &[&str])] = &[
    (&["--format", "raw", IN, OUT], &["-f", "raw", IN, OUT]),
    (&["--format=raw", IN, OUT], &["-f", "raw", IN, OUT]),
    (&["--form=raw", IN, OUT], &["-f", "raw", IN, OUT]),
    (&["--format=qcow2", IN, OUT], &["-f", "qcow2", IN, OUT]),
    (&["--format=", IN, OUT], &["-f", "", IN, OUT]),
    (&["--output-format", "raw", IN, OUT], &["-O", "raw", IN, OUT]),
    (&["--output-format=raw", IN, OUT], &["-O", "raw", IN, OUT]),
    (&["--output=raw", IN, OUT], &["-O", "raw", IN, OUT]),
    (&["--output-format=nosuch", IN, OUT], &["-O", "nosuch", IN, OUT]),
    (&[IN, OUT, "--output-format", "raw"], &[IN, OUT, "-O", "raw"]),
    (&["--", IN, OUT, "--format=raw"], &["--", IN, OUT, "-fraw"]),
];

/// Outputs that exist already, and inputs that are not plain.
const FILES: &[Scene] = &[
    Scene { name: "longer output", lay_out: longer_output, args: &[IN, OUT] },
    Scene { name: "longer output, small window", lay_out: longer_output, args: &[IN, OUT, "count=1"] },
    Scene { name: "longer output, empty window", lay_out: longer_output, args: &[IN, OUT, "count=0"] },
    Scene { name: "longer output, skip too far", lay_out: longer_output, args: &[IN, OUT, "skip=9999"] },
    Scene { name: "longer output, bad number", lay_out: longer_output, args: &[IN, OUT, "bs=0"] },
    Scene { name: "longer output, bad operand", lay_out: longer_output, args: &[IN, OUT, "foo=bar"] },
    Scene { name: "longer output, bad format", lay_out: longer_output, args: &["-O", "nosuch", IN, OUT] },
    Scene { name: "longer output, wrong format", lay_out: longer_output, args: &["-f", "qcow2", IN, OUT] },
    Scene { name: "longer output, no input", lay_out: longer_output, args: &["if=nope.raw", OUT] },
    Scene { name: "longer output, not the last", lay_out: longer_output, args: &[IN, OUT, "of=other.img"] },
    Scene { name: "shorter output", lay_out: shorter_output, args: &[IN, OUT] },
    Scene { name: "sparse output", lay_out: sparse_output, args: &[IN, OUT] },
    Scene { name: "read-only output", lay_out: read_only_output, args: &[IN, OUT] },
    Scene { name: "output with two names", lay_out: hard_linked_output, args: &[IN, OUT] },
    Scene { name: "output by a symlink", lay_out: symlinked_output, args: &[IN, OUT] },
    Scene { name: "output by a dangling symlink", lay_out: dangling_output, args: &[IN, OUT] },
    Scene { name: "output by a symlink to nowhere", lay_out: unreachable_output, args: &[IN, OUT] },
    Scene { name: "output by a symlink to itself", lay_out: looping_output, args: &[IN, OUT] },
    Scene { name: "output is a directory", lay_out: directory_output, args: &[IN, OUT] },
    Scene { name: "output is a FIFO", lay_out: fifo_output, args: &[IN, OUT] },
    Scene { name: "input by a symlink", lay_out: odd_inputs, args: &["if=link.raw", OUT] },
    Scene { name: "input by a dangling symlink", lay_out: odd_inputs, args: &["if=dangling.raw", OUT] },
    Scene { name: "read-only input", lay_out: odd_inputs, args: &["if=read-only.raw", OUT] },
    Scene { name: "input is a directory", lay_out: odd_inputs, args: &["if=directory", OUT] },
    // What a guest writes to its raw disk must not decide how the disk is read.
    Scene { name: "input like qcow2", lay_out: odd_inputs, args: &["-f", "raw", "if=like-qcow2.raw", OUT] },
    Scene { name: "input like qcow2, probed", lay_out: odd_inputs, args: &["if=like-qcow2.raw", OUT] },
];

/// Not compared: qemu-img zeroes an input that is also the output, and waits for ever for a FIFO's writer.
const REFUSED: &[Scene] = &[
    Scene { name: "output is the input", lay_out: nothing_more, args: &[IN, "of=in.raw"] },
    Scene { name: "output is the input, -U", lay_out: nothing_more, args: &["-U", IN, "of=in.raw"] },
    Scene { name: "output is the input, two paths", lay_out: nothing_more, args: &[IN, "of=./in.raw"] },
    Scene { name: "output is the input, prefix", lay_out: nothing_more, args: &[IN, "of=file:in.raw"] },
    Scene {
        name: "output is the input, empty window",
        lay_out: nothing_more,
        args: &[IN, "of=in.raw", "count=0"],
    },
    Scene { name: "output is the input, symlink", lay_out: input_twice, args: &[IN, "of=soft.raw"] },
    Scene { name: "output is the input, hard link", lay_out: input_twice, args: &[IN, "of=hard.raw"] },
    Scene { name: "input is a FIFO", lay_out: fifo_input, args: &["if=fifo", OUT] },
    Scene { name: "input is a FIFO, raw", lay_out: fifo_input, args: &["-f", "raw", "if=fifo", OUT] },
];

fn nothing_more(_: &Path) -> io::Result<()> {
    Ok(())
}

fn longer_output(dir: &Path) -> io::Result<()> {
    Disk::solid("longer", 200_000).write(&dir.join("out.img"))
}

fn shorter_output(dir: &Path) -> io::Result<()> {
    Disk::solid("shorter", 100).write(&dir.join("out.img"))
}

fn sparse_output(dir: &Path) -> io::Result<()> {
    Disk::hole(4 * MIB).write(&dir.join("out.img"))
}

fn read_only_output(dir: &Path) -> io::Result<()> {
    longer_output(dir)?;
    make_read_only(&dir.join("out.img"))
}

fn hard_linked_output(dir: &Path) -> io::Result<()> {
    longer_output(dir)?;
    fs::hard_link(dir.join("out.img"), dir.join("second.img"))
}

fn symlinked_output(dir: &Path) -> io::Result<()> {
    Disk::solid("longer", 200_000).write(&dir.join("second.img"))?;
    symlink("second.img", dir.join("out.img"))
}

fn dangling_output(dir: &Path) -> io::Result<()> {
    symlink("second.img", dir.join("out.img"))
}

fn unreachable_output(dir: &Path) -> io::Result<()> {
    symlink("nodir/second.img", dir.join("out.img"))
}

fn looping_output(dir: &Path) -> io::Result<()> {
    symlink("out.img", dir.join("out.img"))
}

fn directory_output(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("out.img"))
}

fn fifo_output(dir: &Path) -> io::Result<()> {
    make_fifo(&dir.join("out.img"))
}

fn fifo_input(dir: &Path) -> io::Result<()> {
    make_fifo(&dir.join("fifo"))
}

fn input_twice(dir: &Path) -> io::Result<()> {
    symlink("in.raw", dir.join("soft.raw"))?;
    fs::hard_link(dir.join("in.raw"), dir.join("hard.raw"))
}

fn odd_inputs(dir: &Path) -> io::Result<()> {
    symlink("in.raw", dir.join("link.raw"))?;
    symlink("nope.raw", dir.join("dangling.raw"))?;
    fs::create_dir(dir.join("directory"))?;
    Disk::solid("read-only", 1000).write(&dir.join("read-only.raw"))?;
    make_read_only(&dir.join("read-only.raw"))?;
    // The magic number of qcow2, and a version that no program knows.
    fs::write(dir.join("like-qcow2.raw"), b"QFI\xfb\0\0\0\x09")?;
    File::options().write(true).open(dir.join("like-qcow2.raw"))?.set_len(64 * KIB)
}

fn make_read_only(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o444))
}

fn make_fifo(path: &Path) -> io::Result<()> {
    let status = Command::new("mkfifo").arg(path).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("mkfifo: {status}"))) }
}
