//! What `dd` is known for, row by row: each is held against the installed `qemu-img`, for every format.
//!
//! `count` and `skip` are plain decimal numbers, but where their suffixes are the subject: a qemu-img that Debian ships
//! reads other spellings of these two as no upstream version does.

use core::fmt;
use core::ops::Deref;
use std::fs;
use std::os::unix::fs::MetadataExt;

use testkit::cases::assert_all;
use testkit::disk::{Disk, MIB};
use testkit::outcome::{Exit, Outcome, Stderr};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::stage::{Stage, in_formats};
use testkit::tool::Tool;

const FORMATS: &[&str] = &["raw", "qcow2", "vmdk", "vpc", "vhdx"];

/// Of the disk in every input: 599 sectors, which is no round number of anything.
const SIZE: u64 = 306_688;

/// Of a disk without data: more than any format's tables, which are written too.
const HOLE: u64 = 4 * MIB;

/// What both tools are to come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A copy, and not a word.
    Copy,
    /// An empty image, and not a word.
    Nothing,
    /// An empty image, and a warning.
    SkippedTooFar,
    /// A message, and nothing written.
    Refusal,
}

#[test]
fn row_01_a_block_size_that_does_not_divide_the_size() {
    every_format(Expected::Copy, &["bs=1000", "bs=65537"]);
}

#[test]
fn row_02_a_count_beyond_the_end() {
    every_format(Expected::Copy, &["bs=65536 count=100", "count=9223372036854775807"]);
}

#[test]
fn row_03_a_count_within_the_disk() {
    every_format(Expected::Copy, &["count=1", "bs=1000 count=77"]);
}

#[test]
fn row_04_a_count_of_zero() {
    every_format(Expected::Nothing, &["count=0", "bs=65536 count=0"]);
}

#[test]
fn row_05_a_skip_within_the_disk() {
    every_format(Expected::Copy, &["bs=65536 skip=1", "skip=598"]);
}

#[test]
fn row_06_a_skip_beyond_the_end() {
    every_format(Expected::SkippedTooFar, &["bs=1048576 skip=2", "skip=9223372036854775807"]);
}

#[test]
fn row_07_a_skip_and_a_count() {
    every_format(Expected::Copy, &["bs=65536 skip=1 count=3", "bs=513 skip=300 count=301"]);
    every_format(Expected::SkippedTooFar, &["bs=65536 skip=3 count=2"]);
}

#[test]
fn row_08_a_block_size_of_zero() {
    every_format(Expected::Refusal, &["bs=0"]);
}

#[test]
fn row_09_no_input_or_no_output() {
    let Some(scene) = Scene::set() else { return };
    for operands in ["if=raw.img", "of=out.img", "bs=512", ""] {
        let every = FORMATS.iter().map(|output| Case::plain(&format!("-O {output} {operands}")));
        let cases: Vec<_> = every.chain([Case::plain(operands)]).collect();
        scene.compare(Expected::Refusal, &cases);
    }
}

#[test]
fn row_10_no_output_format() {
    let Some(scene) = Scene::set() else { return };
    let inputs = FORMATS.iter().map(|input| Case::new(input, None, ""));
    // What is probed is the same as what is named, but for what shows no mark.
    let probed = FORMATS.iter().map(|input| Case::plain(&format!("if={input}.img of=out.img bs=65536")));
    scene.compare(Expected::Copy, &inputs.chain(probed).collect::<Vec<_>>());
}

#[test]
fn row_11_a_plain_qcow2_output() {
    let Some(scene) = Scene::set() else { return };
    let cases: Vec<_> = FORMATS.iter().map(|input| Case::new(input, Some("qcow2"), "bs=65536")).collect();
    scene.compare(Expected::Copy, &cases);
    for input in FORMATS {
        let dir = scene.dir();
        let args = ["dd", "-f", input, "-O", "qcow2", &format!("if={input}.img"), "of=out.img"];
        assert_eq!(scene.instar.run(dir.path(), args).unwrap().exit, Exit::Code(0));
        let info = scene.qemu.img().run(dir.path(), ["info", "--output=json", "out.img"]).unwrap().stdout;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["cluster-size"], 65536);
        let data = &info["format-specific"]["data"];
        assert_eq!((&data["compat"], &data["refcount-bits"]), (&"1.1".into(), &16.into()), "{info}");
    }
}

#[test]
fn row_12_unknown_operands_and_output_formats() {
    every_format(Expected::Refusal, &["foo=bar", "seek=1", "count"]);
    let Some(scene) = Scene::set() else { return };
    let unknown = ["nosuch", "RAW", "qcow3"];
    let pairs = FORMATS.iter().flat_map(|input| unknown.map(|output| Case::new(input, Some(output), "")));
    scene.compare(Expected::Refusal, &pairs.collect::<Vec<_>>());
}

#[test]
fn row_13_sizes_with_suffixes() {
    every_format(Expected::Copy, &["bs=64k", "bs=1.5K"]);
    every_format(Expected::Refusal, &["bs=64kB"]);
    // What the installed qemu-img may not know of `count` and `skip` comes to the same as plain numbers.
    let Some(scene) = Scene::set() else { return };
    let pairs =
        [("bs=64 count=1k skip=.5k", "bs=64 count=1024 skip=512"), ("bs=1 count=0x1000", "bs=1 count=4096")];
    for (ours, theirs) in pairs {
        for (input, output) in FORMATS.iter().zip(FORMATS.iter().rev()) {
            let [ours, theirs] = [ours, theirs].map(|operands| Case::new(input, Some(output), operands));
            let expected = scene.run(scene.qemu.img(), &theirs);
            assert_eq!(expected.exit, Exit::Code(0), "qemu-img: {theirs}");
            assert_eq!(scene.run(&scene.instar, &ours).differences_from(&expected), [""; 0], "{ours}");
        }
    }
}

#[test]
fn row_14_dense_outputs() {
    let Some(scene) = Scene::set() else { return };
    // qemu-img writes all of a disk that is one hole, and so does instar.
    let pairs = FORMATS.iter().flat_map(|input| FORMATS.iter().map(move |output| (input, output)));
    for (input, output) in pairs {
        let dir = scene::temporary_dir().unwrap();
        let create = format!("qemu-img create -q -f {input} {input}.img {HOLE}");
        Qemu::script(dir.path(), &create, &[]).unwrap();
        let args = Case::new(input, Some(output), "bs=65536").words;
        for tool in [scene.qemu.img(), &scene.instar] {
            assert_eq!(tool.dd(dir.path(), &args).unwrap().exit, Exit::Code(0), "{input} to {output}");
            let allocated = fs::metadata(dir.path().join("out.img")).unwrap().blocks() * 512;
            assert!(allocated >= HOLE, "{input} to {output}: {allocated} bytes are on the medium");
        }
    }
}

/// Every input, to every output, with every one of these windows.
fn every_format(expected: Expected, operands: &[&str]) {
    let Some(scene) = Scene::set() else { return };
    let mut cases = Vec::new();
    for input in FORMATS {
        for output in FORMATS {
            cases.extend(operands.iter().map(|operands| Case::new(input, Some(output), operands)));
        }
    }
    scene.compare(expected, &cases);
}

/// The words behind `dd`, the format of the output among them.
struct Case {
    words: Vec<String>,
    output: String,
}

impl Case {
    fn new(input: &str, output: Option<&str>, operands: &str) -> Self {
        let option = output.map_or_else(String::new, |output| format!("-O {output}"));
        Self::plain(&format!("-f {input} {option} if={input}.img of=out.img {operands}"))
    }

    fn plain(words: &str) -> Self {
        let words: Vec<_> = words.split_whitespace().map(String::from).collect();
        let option = words.iter().position(|word| word == "-O");
        let output = option.map_or_else(|| "raw".into(), |option| words[option + 1].clone());
        Self { words, output }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dd {}", self.words.join(" "))
    }
}

/// The same disk in every format.
struct Scene(Stage);

impl Scene {
    /// `None` where QEMU is not installed.
    fn set() -> Option<Self> {
        let disk = Disk::hole(SIZE).with(100, "head", 70_000).with(200_000, "tail", SIZE - 200_000);
        let stage = Stage::set(env!("CARGO_BIN_EXE_instar"), &[], |dir| {
            disk.write(&dir.join("raw.img"))?;
            in_formats(dir, "", &FORMATS[1..])
        });
        stage.map(Self)
    }

    fn run(&self, tool: &Tool, case: &Case) -> Outcome {
        let view = if case.output == "raw" { View::Bytes } else { View::Image(&self.qemu) };
        scene::run(tool, &case.words, view, |dir| self.lay_out(dir)).0
    }

    /// Both tools do the same, and it is what the row says.
    fn compare(&self, expected: Expected, cases: &[Case]) {
        assert_all(cases, |case| {
            let (theirs, ours) = (self.run(self.qemu.img(), case), self.run(&self.instar, case));
            // There is no VMDK of nothing. qemu-img says so too, and leaves a file that is none.
            let is_empty = matches!(expected, Expected::Nothing | Expected::SkippedTooFar);
            if is_empty && case.output == "vmdk" {
                let mut found = ours.differences_from(&Outcome::refusal());
                found.extend((theirs.exit != Exit::Code(1)).then(|| "qemu-img makes one".into()));
                return found;
            }
            let mut found = ours.differences_from(&theirs);
            found.extend(expected.differences(&ours));
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

impl Expected {
    fn differences(self, actual: &Outcome) -> Vec<String> {
        let (exit, stderr) = match self {
            Self::Copy | Self::Nothing => (Exit::Code(0), Stderr::Silent),
            Self::SkippedTooFar => (Exit::Code(0), Stderr::SkipWarning),
            Self::Refusal => return actual.differences_from(&Outcome::refusal()),
        };
        let is_like_the_row = actual.exit == exit && actual.stderr == stderr && actual.changed.len() == 1;
        let found = (!is_like_the_row).then(|| format!("not what the row says: {actual:?}"));
        found.into_iter().collect()
    }
}
