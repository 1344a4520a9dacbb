//! What a command takes follows from what the user asks for, not from what an image claims.

use std::fs;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;

use testkit::disk::{Disk, MIB};
use testkit::outcome::{Entry, Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::{Run, Tool};
use wait4::Wait4;

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// What an administrator says.
const VARIABLE: &str = "INSTAR_MAX_OUTPUT";

/// The memory of a run at its peak, in bytes: all of the executor's buffers and of the pages that a guest touches.
const MAX_PEAK: u64 = 24 << 20;

/// Images of disks of so many mebibytes that are a few kilobytes long: their format, and how they are made.
const CLAIMS: &[(&str, u64, &[&str])] = &[
    ("qcow2", 64 << 20, &["-o", "cluster_size=2M"]),
    ("qcow2", 8 << 20, &["-o", "extended_l2=on"]),
    ("vmdk", 60 << 20, &[]),
    ("vhdx", 60 << 20, &[]),
];

fn disk() -> Disk {
    Disk::solid("disk", MIB)
}

/// `instar dd OPTIONS if=in.raw of=out`, where the administrator says this, and where "out" is there already or not.
fn dd(options: &[&str], administrator: Option<&str>, is_there: bool) -> (Outcome, Run) {
    let mut instar = Tool::named(INSTAR);
    if let Some(value) = administrator {
        instar = instar.with(VARIABLE, value);
    }
    let args = [options, &["if=in.raw", "of=out"]].concat();
    scene::run(&instar, &args, View::Bytes, |dir| {
        if is_there {
            fs::write(dir.join("out"), "what was there")?;
        }
        disk().write(&dir.join("in.raw"))
    })
}

#[test]
fn an_output_that_is_too_large_is_not_begun() {
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx"] {
        for is_there in [false, true] {
            let (outcome, run) = dd(&["-O", format, "--max-output", "1048575"], None, is_there);
            assert_eq!(outcome.differences_from(&Outcome::refusal()), [""; 0], "{}", run.stderr);
            for words in ["creating 'out': it would have ", "more than 1048575\n", "--max-output SIZE"] {
                assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
            }
        }
    }
}

#[test]
fn the_bound_is_for_the_file() {
    for (options, len) in [(&["--max-output", "1M"][..], MIB), (&["--max-output", "64k", "count=128"], 65536)]
    {
        let (outcome, run) = dd(options, None, false);
        let Some(Entry::File(content)) = outcome.changed.get("out") else {
            panic!("{outcome:?}{}", run.stderr)
        };
        assert_eq!((outcome.exit, content.size), (Exit::Code(0), len));
    }
}

#[test]
fn the_stricter_bound_counts() {
    for (option, administrator, works) in [
        (None, Some("1M"), true),
        (None, Some("1048575"), false),
        (Some("1M"), Some("2M"), true),
        (Some("2M"), Some("512k"), false),
        (Some("512k"), Some("2M"), false),
    ] {
        let options: Vec<_> = option.into_iter().flat_map(|size| ["--max-output", size]).collect();
        let (outcome, run) = dd(&options, administrator, false);
        assert_eq!(outcome.exit == Exit::Code(0), works, "{option:?} {administrator:?}: {}", run.stderr);
    }
}

#[test]
fn a_bound_that_is_none_is_refused() {
    for (option, administrator) in
        [("nosuch", None), ("-1", None), ("", None), ("1M", Some("")), ("1M", Some("x"))]
    {
        let (outcome, run) = dd(&["--max-output", option], administrator, false);
        assert_eq!(outcome.differences_from(&Outcome::refusal()), [""; 0]);
        let name = administrator.map_or("--max-output", |_| VARIABLE);
        assert!(run.stderr.contains(&format!("invalid {name}: ")), "{}", run.stderr);
    }
}

/// Both ends of a disk are far apart, and so are their places in its tables.
#[test]
fn what_an_image_claims_costs_nothing() {
    let Some(qemu) = Qemu::require() else { return };
    for &(format, mebibytes, options) in CLAIMS {
        let dir = scene::temporary_dir().expect("a directory");
        let size = format!("{mebibytes}M");
        let create = ["create", "-q", "-f", format, "in", &size];
        let made = qemu.img().run(dir.path(), create.iter().chain(options)).expect("it starts");
        assert_eq!((made.exit, made.stderr.as_str()), (Exit::Code(0), ""));

        let (exit, said) = measured(dir.path(), &["--max-output", "1G"]);
        assert_eq!(exit, Exit::Code(1));
        assert!(
            said.contains("creating 'out': it would have ") && !dir.path().join("out").exists(),
            "{said}"
        );
        for window in [
            ["skip=0".to_owned(), "count=1".to_owned()],
            [format!("skip={}", mebibytes - 1), format!("count={mebibytes}")],
        ] {
            let (exit, said) = measured(dir.path(), &["bs=1M", &window[0], &window[1]]);
            assert_eq!((exit, said.as_str()), (Exit::Code(0), ""));
            let content = scene::content_of(&dir.path().join("out")).expect("an output");
            assert_eq!(content, Disk::hole(MIB).content(), "{format} {window:?}");
        }
    }
}

/// How `instar dd ARGS if=in of=out` ends, which never takes more memory than it may, and what it says.
fn measured(dir: &Path, args: &[&str]) -> (Exit, String) {
    let mut stderr = tempfile::tempfile().expect("a file");
    let instar = Command::new(INSTAR)
        .arg("dd")
        .args(args)
        .args(["if=in", "of=out"])
        .current_dir(dir)
        .stderr(stderr.try_clone().expect("another descriptor"))
        .spawn();
    let used = instar.expect("instar starts").wait4().expect("it was started");
    assert!(used.rusage.maxrss <= MAX_PEAK, "{args:?}: {} bytes", used.rusage.maxrss);
    let mut said = String::new();
    stderr.rewind().and_then(|()| stderr.read_to_string(&mut said)).expect("text");
    (used.status.into(), said)
}
