//! The process that copies has given up everything else while it does.

use core::time::Duration;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use testkit::disk::{Disk, GIB, MIB};
use testkit::scene;

/// How long instar gets to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `/proc/PID/task/TID/status` says of a thread with a filter, and without rights.
const CONFINED: [&str; 4] =
    ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"];

#[test]
fn a_copy_is_made_by_a_confined_process() {
    // Long enough to be looked at: all of it is written, zeros included.
    assert_confined(&Disk::hole(4 * GIB), &["dd", "if=in", "of=out"]);
}

#[test]
fn a_conversion_is_made_by_a_confined_process() {
    // Long enough to be looked at: it is told to be slow.
    let disk = Disk::solid("disk", 16 * MIB);
    for options in [&["-O", "raw"][..], &["-O", "qcow2"], &["-O", "qcow2", "-c"], &["-O", "vhdx"]] {
        assert_confined(&disk, &[&["convert", "-r", "512k"], options, &["in", "out"]].concat());
    }
}

/// That `instar WORDS` gives up everything else while it works on `disk`, which is the file "in".
fn assert_confined(disk: &Disk, words: &[&str]) {
    let dir = scene::temporary_dir().expect("a directory");
    disk.write(&dir.path().join("in")).expect("a disk");
    let mut instar = Command::new(env!("CARGO_BIN_EXE_instar"))
        .args(words)
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("instar starts");
    let began = Instant::now();
    let mut seen: Vec<String> = Vec::new();
    // With the workers: what was started before would have kept its rights.
    while seen.len() < 2 || !seen.iter().all(|status| is_confined(status)) {
        assert!(began.elapsed() < PATIENCE, "{words:?}: not confined: {seen:?}");
        assert_eq!(instar.try_wait().expect("it is a child"), None, "{words:?}: it ended before: {seen:?}");
        thread::sleep(Duration::from_micros(500));
        seen = threads(instar.id());
    }
    instar.kill().expect("it can be ended");
    instar.wait().expect("it is a child");
}

/// The status of each thread of a process that runs the program: KVM adds one of the kernel's own.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.filter(|status| status.starts_with("Name:\tinstar\n")).collect()
}

fn is_confined(status: &str) -> bool {
    CONFINED.iter().all(|line| status.lines().any(|found| found == *line))
}
