//! Images have an identity, and the same image can be made again.

#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

use core::fmt;
use core::ops::Range;
use std::fs;
use std::io;
use std::path::Path;

use testkit::cases::assert_all;
use testkit::disk::Disk;
use testkit::outcome::{Exit, Outcome};
use testkit::scene::{self, View};
use testkit::tool::Tool;

const UUID: &str = "--uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const OTHER_UUID: &str = "--uuid=f47ac10b-58cc-4372-a567-0e02b2c3d479";

const EPOCH: &str = "SOURCE_DATE_EPOCH";
const MOMENT: &str = "1700000000";
/// In another second, minute, hour, day, month and year.
const OTHER_MOMENT: &str = "1662777777";

const DISK_SIZE: u64 = 100_352;

/// An output format, and which bytes of an image of [`DISK_SIZE`] are its own.
struct Format {
    name: &'static str,
    /// By the identity: identifiers, and checksums of what they are in.
    identity: &'static [Range<usize>],
    /// By when it was made: times, and checksums of what they are in.
    time: &'static [Range<usize>],
}

const FORMATS: &[Format] = &[
    Format { name: "raw", identity: &[], time: &[] },
    Format { name: "qcow2", identity: &[], time: &[] },
    // The eight digits of the CID in the descriptor.
    Format { name: "vmdk", identity: &[548..556], time: &[] },
    // Checksum and identifier, time and checksum, in the footer and in its copy at the beginning.
    Format {
        name: "vpc",
        identity: &[64..84, VPC_FOOTER + 64..VPC_FOOTER + 84],
        time: &[24..28, 64..68, VPC_FOOTER + 24..VPC_FOOTER + 28, VPC_FOOTER + 64..VPC_FOOTER + 68],
    },
    // Checksum, and identifiers of file and data, in both headers; the disk's identifier in the metadata.
    Format {
        name: "vhdx",
        identity: &[65540..65544, 65552..65584, 131_076..131_080, 131_088..131_120, 3_211_280..3_211_296],
        time: &[],
    },
];

/// Before it: the copy, the header, the table, and one block with its bitmap.
const VPC_FOOTER: usize = 512 + 1024 + 512 + 512 + (2 << 20);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[test]
fn an_image_can_be_made_again() {
    let then = at(MOMENT);
    assert_all(FORMATS, |format| {
        differences(&image(&then, format, &[UUID]), &image(&then, format, &[UUID]), &[])
    });
}

#[test]
fn the_identity_changes_nothing_else() {
    let then = at(MOMENT);
    assert_all(FORMATS, |format| {
        let given = image(&then, format, &[UUID]);
        let mut found = differences(&given, &image(&then, format, &[OTHER_UUID]), format.identity);
        // Without one, each image has its own. What differs is not looked at: a CID may come to have fewer digits.
        let random = [given, image(&then, format, &[]), image(&then, format, &[])];
        let all_alike = random.iter().all(|image| *image == random[0]);
        let all_differ = random[0] != random[1] && random[1] != random[2] && random[2] != random[0];
        if !(if format.identity.is_empty() { all_alike } else { all_differ }) {
            found.push("images that are to have identities of their own".to_owned());
        }
        found
    });
}

#[test]
fn the_time_changes_nothing_else() {
    let (then, later) = (at(MOMENT), at(OTHER_MOMENT));
    assert_all(FORMATS, |format| {
        let (before, after) = (image(&then, format, &[UUID]), image(&later, format, &[UUID]));
        let mut found = differences(&before, &after, format.time);
        // Without a time it is now.
        found.extend(differences(
            &before,
            &image(&Tool::named(env!("CARGO_BIN_EXE_instar")), format, &[UUID]),
            format.time,
        ));
        found
    });
}

#[test]
fn what_is_no_identity_is_refused() {
    let uuids = [
        "",
        "x",
        "6ba7b810",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c80",
    ];
    assert_all(&refusals(&uuids), |Refusal { output_format, value }| {
        let args = ["-O", output_format, "if=in.img", "of=out.img", "--uuid", value];
        differences_from_refusal(&Tool::named(env!("CARGO_BIN_EXE_instar")), &args, value)
    });
}

#[test]
fn what_is_no_time_is_refused() {
    let times = ["", "x", "-1", "1.5", " 1", "1s", "0x1", "2023-11-14", "18446744073709551616"];
    assert_all(&refusals(&times), |Refusal { output_format, value }| {
        differences_from_refusal(&at(value), &["-O", output_format, "if=in.img", "of=out.img"], EPOCH)
    });
}

/// Something that makes no sense, also where the output would not depend on it.
struct Refusal {
    output_format: &'static str,
    value: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {}", self.value, self.output_format)
    }
}

fn refusals(values: &[&'static str]) -> Vec<Refusal> {
    let of = |value| ["raw", "vpc"].map(|output_format| Refusal { output_format, value });
    values.iter().flat_map(|value| of(*value)).collect()
}

fn at(moment: &'static str) -> Tool {
    Tool::named(env!("CARGO_BIN_EXE_instar")).with(EPOCH, moment)
}

/// An image that `tool` makes, always of the same disk and with the same name.
fn image(tool: &Tool, format: &Format, args: &[&str]) -> Vec<u8> {
    try_image(tool, format, args).unwrap_or_else(|error| panic!("{format}: the test itself failed: {error}"))
}

fn try_image(tool: &Tool, format: &Format, args: &[&str]) -> io::Result<Vec<u8>> {
    let dir = scene::temporary_dir()?;
    lay_out(dir.path())?;
    let args = [&["-f", "raw", "-O", format.name, "if=in.img", "of=new.img"], args].concat();
    let run = tool.dd(dir.path(), &args)?;
    if run.exit == Exit::Code(0) {
        fs::read(dir.path().join("new.img"))
    } else {
        Err(io::Error::other(run.stderr))
    }
}

fn lay_out(dir: &Path) -> io::Result<()> {
    Disk::solid("in", DISK_SIZE).write(&dir.join("in.img"))?;
    Disk::solid("previous", 1000).write(&dir.join("out.img"))
}

/// Two images are to differ in each of the ranges `own`, and nowhere else.
fn differences(one: &[u8], other: &[u8], own: &[Range<usize>]) -> Vec<String> {
    let mut found = Vec::new();
    if one.len() != other.len() {
        found.push(format!("one has {} bytes, the other {}", one.len(), other.len()));
    }
    let differing = || one.iter().zip(other).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    if let Some(at) = differing().find(|at| !own.iter().any(|range| range.contains(at))) {
        found.push(format!("they differ at {at}"));
    }
    for range in own.iter().filter(|range| !differing().any(|at| range.contains(&at))) {
        found.push(format!("they do not differ in {range:?}"));
    }
    found
}

fn differences_from_refusal(tool: &Tool, args: &[&str], named: &str) -> Vec<String> {
    let (outcome, run) = scene::run(tool, args, View::Bytes, lay_out);
    let mut found = outcome.differences_from(&Outcome::refusal());
    if !run.stderr.contains(named) {
        found.push(format!("the message does not name {named:?}: {}", run.stderr));
    }
    found
}
