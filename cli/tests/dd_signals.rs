//! Signals while a copy runs: the status line, and the ways to end it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;

use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1};
use tempfile::TempDir;
use testkit::running::Running;

/// All of it a hole, so that it takes no room; but writing it takes seconds.
const DISK_LEN: u64 = 8 << 30;

/// A copy that has begun.
struct Copy {
    dir: TempDir,
    process: Running,
}

impl Copy {
    fn begin() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let input = File::create(dir.path().join("disk.raw")).expect("an input");
        input.set_len(DISK_LEN).expect("room for a hole");
        let mut command = Command::new(env!("CARGO_BIN_EXE_instar"));
        command.args(["dd", "if=disk.raw", "of=out"]).current_dir(dir.path());
        let process = Running::begin(&mut command).expect("instar starts");
        let copy = Self { dir, process };
        copy.wait_for_output();
        copy
    }

    /// Waits until the output has its length: then the copy is about to begin.
    fn wait_for_output(&self) {
        let output = self.dir.path().join("out");
        while output.metadata().map_or(0, |metadata| metadata.len()) < DISK_LEN {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, signal: i32) {
        self.process.send(signal).expect("it runs");
    }

    /// Waits for the end, and returns what was said.
    fn end(self) -> (ExitStatus, String) {
        let (status, said) = self.process.end().expect("it ends, and says why");
        let input = self.dir.path().join("disk.raw").metadata().expect("the input is there");
        assert_eq!((input.len(), input.blocks()), (DISK_LEN, 0), "the input was changed");
        (status, said)
    }
}

#[test]
fn a_signal_ends_the_copy_with_a_message_and_as_that_signal() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let copy = Copy::begin();
        copy.send(signal);
        let (status, said) = copy.end();
        assert_eq!(status.signal(), Some(signal), "{said}");
        assert!(said.starts_with("instar: interrupted"), "{said}");
        assert!(said.contains("'out' is incomplete"), "{said}");
    }
}

#[test]
fn killing_it_harms_no_input() {
    let copy = Copy::begin();
    copy.send(SIGKILL);
    let (status, said) = copy.end();
    assert_eq!((status.signal(), said.as_str()), (Some(SIGKILL), ""));
}

/// How often each signal is sent, each time a little later than before.
const MOMENTS: u32 = 60;

/// Longer than a copy of [`SHORT_LEN`] takes, so that the last signals come too late.
const SPAN: Duration = Duration::from_millis(150);

/// Of it, all is data.
const SHORT_LEN: usize = 16 << 20;

/// From before instar listens to after it has ended.
#[test]
fn a_signal_may_come_at_any_moment() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let disk: Vec<u8> = (0..SHORT_LEN).map(|at| u8::try_from(at % 251).expect("less than 251")).collect();
    fs::write(dir.path().join("disk.raw"), &disk).expect("an input");
    let mut ends = [0; 3];
    for (number, signal) in
        (0..MOMENTS).flat_map(|number| [SIGINT, SIGTERM, SIGHUP, SIGKILL].map(|s| (number, s)))
    {
        let _ = fs::remove_file(dir.path().join("out"));
        let mut copy = Command::new(env!("CARGO_BIN_EXE_instar"));
        copy.args(["dd", "if=disk.raw", "of=out"]).current_dir(dir.path()).stderr(Stdio::piped());
        let copy = copy.spawn().expect("instar starts");
        thread::sleep(SPAN * number / MOMENTS);
        // It fails where the process has ended, as it may have.
        let _ = Command::new("kill")
            .args(["-s", &signal.to_string(), &copy.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let output = copy.wait_with_output().expect("it was started");
        ends[end_of(&output, signal, dir.path(), &disk)] += 1;

        assert!(fs::read(dir.path().join("disk.raw")).expect("the input") == disk, "the input was changed");
        let left = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(
            left,
            1 + usize::from(dir.path().join("out").exists()),
            "more than input and output is left"
        );
    }
    assert!(ends.iter().all(|&count| count > 0), "ended at once, with a message, after the copy: {ends:?}");
}

/// Which end of three a copy came to: by the signal at once, by the signal with a message, or well.
fn end_of(output: &Output, signal: i32, dir: &Path, disk: &[u8]) -> usize {
    let said = String::from_utf8_lossy(&output.stderr);
    let out = fs::read(dir.join("out")).ok();
    if output.status.success() {
        assert!(said.is_empty() && out.as_deref() == Some(disk), "{said}");
        return 2;
    }
    assert_eq!(output.status.signal(), Some(signal), "{said}");
    if said.is_empty() {
        // It was not listening yet, unless it cannot.
        assert!(signal == SIGKILL || out.is_none(), "an output was left without a word");
        return 0;
    }
    assert!(signal != SIGKILL && said.starts_with("instar: interrupted"), "{said}");
    assert_eq!(said.contains("'out' is incomplete"), out.is_some(), "{said}");
    1
}

#[test]
fn sigusr1_prints_a_line_and_the_copy_goes_on() {
    let copy = Copy::begin();
    // The line is due within a tick of a tenth of a second.
    for _ in 0..3 {
        copy.send(SIGUSR1);
        thread::sleep(Duration::from_millis(150));
    }
    copy.send(SIGTERM);
    let (status, said) = copy.end();
    assert_eq!(status.signal(), Some(SIGTERM), "{said}");
    let line = said.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("instar: ") && line.contains(&format!("of {DISK_LEN} bytes written (")),
        "{said}"
    );
    assert!(line.ends_with("/s"), "{said}");
}
