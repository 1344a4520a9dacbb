//! Signals while a copy runs: the status line, and the ways to end it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1};
use tempfile::TempDir;

/// All of it a hole, so that it takes no room; but writing it takes seconds.
const DISK_LEN: u64 = 8 << 30;

/// A copy that has begun.
struct Copy {
    dir: TempDir,
    child: Child,
}

impl Copy {
    fn begin() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let input = File::create(dir.path().join("disk.raw")).expect("an input");
        input.set_len(DISK_LEN).expect("room for a hole");
        let child = Command::new(env!("CARGO_BIN_EXE_instar"))
            .args(["dd", "if=disk.raw", "of=out"])
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("instar starts");
        let copy = Self { dir, child };
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
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", &signal.to_string(), &pid]).status();
        assert!(status.expect("kill starts").success());
    }

    /// Waits for the end, and returns what was said.
    fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
        let status = self.child.wait().expect("it was started");
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
