//! How a conversion is done: how fast, by how many, and what is said meanwhile.

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;
use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::{Content, Exit};
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Run, Tool};

/// Enough for all threads to have something to do.
const DISK_LEN: u64 = 24 * MIB;

/// What is made of the disk.
const OUTPUTS: [&str; 8] = [
    "-O raw",
    "-O qcow2",
    "-O qcow2 -c",
    "-O qcow2 -c -o compression_type=zstd,cluster_size=4k",
    "-O vmdk",
    "-O vmdk -o subformat=streamOptimized",
    "-O vpc",
    "-O vhdx",
];

fn instar() -> Tool {
    Tool::named(env!("CARGO_BIN_EXE_instar")).with("SOURCE_DATE_EPOCH", "1")
}

/// A directory with `disk` as "disk.raw".
fn dir_with(disk: &Disk) -> TempDir {
    let dir = scene::temporary_dir().expect("a directory");
    disk.write(&dir.path().join("disk.raw")).expect("an input");
    dir
}

/// What `tool convert OPTIONS disk.raw out` does in `dir`.
fn convert(tool: &Tool, dir: &Path, options: &str) -> Run {
    let words = ["convert"].into_iter().chain(options.split_whitespace()).chain(["disk.raw", "out"]);
    let run = tool.run(dir, words).expect("it starts");
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""), "{options}");
    run
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let disk = Disk::hole(DISK_LEN).with(512, "first", 5 * MIB).with(8 * MIB - 100, "second", 7 * MIB).with(
        DISK_LEN - 700 * KIB,
        "last",
        700 * KIB,
    );
    let dir = dir_with(&disk);
    for output in OUTPUTS {
        let made_by = |threads: u32| -> Content {
            let uuid = "--uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8";
            convert(&instar(), dir.path(), &format!("-m {threads} {uuid} {output}"));
            scene::content_of(&dir.path().join("out")).expect("an output")
        };
        let by_one = made_by(1);
        for threads in [2, 16] {
            assert_eq!(made_by(threads), by_one, "{threads} threads, {output}");
        }
    }
}

#[test]
fn a_rate_is_kept() {
    let dir = dir_with(&Disk::solid("disk", 2 * MIB));
    for (threads, output) in
        [(1, "-O raw"), (16, "-O raw"), (2, "-O qcow2"), (16, "-O qcow2 -c"), (2, "-O vhdx")]
    {
        let began = Instant::now();
        convert(&instar(), dir.path(), &format!("-r 4M -m {threads} {output}"));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(500), "{threads} threads, {output}: {took:?}");
    }
}

/// What is said on the way is a matter of time; how it is said is not.
#[test]
fn progress_has_the_form_that_qemu_img_gives_it() {
    let Some(qemu) = Qemu::require() else { return };
    let dir = dir_with(&Disk::solid("disk", 8 * MIB));
    for tool in [qemu.img(), &instar()] {
        for output in ["-O raw", "-O qcow2", "-O vhdx"] {
            let said = convert(tool, dir.path(), &format!("-p -r 16M {output}")).stdout;
            let lines: Vec<_> = said.strip_suffix("\r\n").expect("an end").split('\r').collect();
            let done: Vec<_> = lines.iter().map(|line| hundredths(line)).collect();
            assert!(done.iter().all(Option::is_some), "{output}: {said:?}");
            assert!(done.is_sorted() && done.len() > 2, "{output}: {said:?}");
            assert_eq!((done[0], done[done.len() - 1]), (Some(0), Some(10_000)), "{output}: {said:?}");
        }
    }
}

/// What `    (12.34/100%)` says, in hundredths of a percent.
fn hundredths(line: &str) -> Option<u32> {
    let (whole, part) = line.strip_prefix("    (")?.strip_suffix("/100%)")?.split_once('.')?;
    (part.len() == 2).then_some(())?;
    Some(whole.parse::<u32>().ok()? * 100 + part.parse::<u32>().ok()?)
}
