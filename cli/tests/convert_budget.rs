//! How much a conversion may write follows from what the user says, not from what an image claims.

use std::fs;

use tempfile::TempDir;
use testkit::disk::{Disk, GIB, MIB};
use testkit::outcome::{Entry, Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::{Run, Tool};

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// What an administrator says.
const VARIABLE: &str = "INSTAR_MAX_OUTPUT";

/// Outputs that have all their length at first, and those that grow.
const FIXED: [&str; 3] = ["-O raw", "-O vpc -o subformat=fixed", "-O vhdx -o subformat=fixed"];
const GROWING: [&str; 6] =
    ["-O qcow2", "-O qcow2 -c", "-O vmdk", "-O vmdk -o subformat=streamOptimized", "-O vpc", "-O vhdx"];

fn instar() -> Tool {
    Tool::named(INSTAR)
}

/// A disk that does not compress.
fn disk() -> TempDir {
    let dir = scene::temporary_dir().expect("a directory");
    Disk::solid("disk", 12 * MIB).write(&dir.path().join("in.raw")).expect("a disk");
    dir
}

/// What `instar convert OPTIONS in.raw out` does with `disk`, where "out" may be there already.
fn convert(instar: &Tool, disk: &TempDir, options: &str, is_there: bool) -> (Outcome, Run) {
    let words: Vec<_> =
        ["convert"].into_iter().chain(options.split_whitespace()).chain(["in.raw", "out"]).collect();
    scene::run_words(instar, &words, View::Bytes, |dir| {
        if is_there {
            fs::write(dir.join("out"), "what was there")?;
        }
        fs::hard_link(disk.path().join("in.raw"), dir.join("in.raw"))
    })
}

/// The length of what is found as "out".
fn output_len(outcome: &Outcome) -> Option<u64> {
    match outcome.changed.get("out") {
        Some(Entry::File(content)) => Some(content.size),
        _ => None,
    }
}

#[test]
fn an_output_that_would_be_too_large_is_not_begun() {
    let disk = disk();
    for (options, is_there) in FIXED.iter().flat_map(|options| [(options, false), (options, true)]) {
        let (outcome, run) = convert(&instar(), &disk, &format!("{options} --max-output 12582911"), is_there);
        assert_eq!(outcome.differences_from(&Outcome::refusal()), [""; 0], "{options}: {}", run.stderr);
        for words in ["creating 'out': it would have ", "more than 12582911\n", "--max-output SIZE"] {
            assert!(run.stderr.contains(words), "{options}: {}", run.stderr);
        }
    }
}

#[test]
fn an_output_that_becomes_too_large_is_not_finished() {
    let disk = disk();
    for options in GROWING {
        let (outcome, run) = convert(&instar(), &disk, &format!("{options} --max-output 9M"), false);
        assert_eq!(outcome.exit, Exit::Code(1), "{options}: {}", run.stderr);
        for words in ["'out': it would have ", "more than 9437184\n", "--max-output SIZE"] {
            assert!(run.stderr.contains(words), "{options}: {}", run.stderr);
        }
        let len = output_len(&outcome);
        assert!(len.is_none_or(|len| len <= 9 * MIB), "{options}: {len:?}");
        assert_eq!(len.is_some(), run.stderr.contains("'out' is incomplete"), "{options}: {}", run.stderr);
    }
}

#[test]
fn an_output_that_is_just_small_enough_is_made() {
    let disk = disk();
    for options in FIXED {
        let (outcome, _) = convert(&instar(), &disk, options, false);
        let len = output_len(&outcome).expect("an output");
        for (bound, works) in [(len, true), (len - 1, false)] {
            let (outcome, run) = convert(&instar(), &disk, &format!("{options} --max-output {bound}"), false);
            assert_eq!(outcome.exit == Exit::Code(0), works, "{options} {bound}: {}", run.stderr);
        }
    }
}

#[test]
fn the_stricter_bound_counts() {
    let disk = disk();
    for (option, administrator, works) in [
        ("", "12M", true),
        ("", "12582911", false),
        ("--max-output 12M", "13M", true),
        ("--max-output 13M", "1M", false),
        ("--max-output 1M", "13M", false),
    ] {
        let (outcome, run) = convert(&instar().with(VARIABLE, administrator), &disk, option, false);
        assert_eq!(outcome.exit == Exit::Code(0), works, "{option} {administrator}: {}", run.stderr);
    }
}

/// A disk of a tebibyte with nothing on it.
#[test]
fn the_bound_is_for_the_file_and_not_for_the_disk() {
    let Some(_) = Qemu::require() else { return };
    let dir = scene::temporary_dir().expect("a directory");
    Qemu::script(dir.path(), "qemu-img create -q -f qcow2 in 1T", &[]).expect("an image");
    let convert = |options: &str| {
        let words = ["convert"].into_iter().chain(options.split_whitespace()).chain(["in", "out"]);
        instar().run(dir.path(), words).expect("instar starts")
    };
    let run = convert("--max-output 1G");
    assert_eq!(run.exit, Exit::Code(1));
    assert!(run.stderr.contains("creating 'out': it would have ") && !dir.path().join("out").exists());

    let run = convert("--max-output 1G -O qcow2");
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
    assert!(dir.path().join("out").metadata().expect("an output").len() < GIB / 64);
}
