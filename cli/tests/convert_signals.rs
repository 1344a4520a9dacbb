//! Signals while a conversion runs, which goes slowly because it is told to.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Instant, SystemTime};

use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1};
use tempfile::TempDir;
use testkit::running::Running;
use testkit::scene;

/// Of the input, in bytes. At [`RATE`] this takes longer than any test waits.
const DISK_LEN: usize = 8 << 20;
const RATE: &str = "128k";

/// How long instar gets to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is made of the disk.
const OUTPUTS: [&str; 5] = ["-O raw", "-O qcow2", "-O qcow2 -c", "-O vmdk", "-O vhdx"];

/// A conversion that has begun.
struct Conversion {
    dir: TempDir,
    disk: Vec<u8>,
    process: Running,
}

impl Conversion {
    fn begin(options: &str) -> Self {
        let dir = scene::temporary_dir().expect("a directory");
        // It does not compress: otherwise there would be little to write.
        let mut random = 1_u32;
        let disk: Vec<u8> = (0..DISK_LEN / 4)
            .flat_map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random ^ random >> 16).to_le_bytes()
            })
            .collect();
        let input = dir.path().join("disk.raw");
        fs::write(&input, &disk).expect("an input");
        File::open(input).and_then(|input| input.set_modified(SystemTime::UNIX_EPOCH)).expect("a time");
        let mut command = Command::new(env!("CARGO_BIN_EXE_instar"));
        command.args(["convert", "-r", RATE]).args(options.split_whitespace()).args(["disk.raw", "out"]);
        let process = Running::begin(command.current_dir(dir.path())).expect("instar starts");
        let conversion = Self { dir, disk, process };
        conversion.wait_for_output();
        conversion
    }

    fn wait_for_output(&self) {
        let began = Instant::now();
        while self.dir.path().join("out").metadata().map_or(0, |output| output.len()) == 0 {
            assert!(began.elapsed() < PATIENCE, "there is no output");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, signal: i32) {
        self.process.send(signal).expect("it runs");
    }

    /// Waits for the end, and returns what was said.
    fn end(self) -> (ExitStatus, String) {
        let (status, said) = self.process.end().expect("it ends, and says why");
        let input = self.dir.path().join("disk.raw");
        let modified = input.metadata().and_then(|input| input.modified()).expect("the input is there");
        assert_eq!(modified, SystemTime::UNIX_EPOCH, "the input was written to");
        assert!(fs::read(input).expect("the input") == self.disk, "the input was changed");
        (status, said)
    }
}

#[test]
fn a_signal_ends_the_conversion_with_a_message_and_as_that_signal() {
    for (signal, options) in [SIGINT, SIGTERM, SIGHUP, SIGINT, SIGINT].into_iter().zip(OUTPUTS) {
        let conversion = Conversion::begin(options);
        conversion.send(signal);
        let (status, said) = conversion.end();
        assert_eq!(status.signal(), Some(signal), "{options}: {said}");
        assert!(said.starts_with("instar: interrupted"), "{options}: {said}");
        assert!(said.contains("'out' is incomplete"), "{options}: {said}");
    }
}

#[test]
fn killing_it_harms_no_input() {
    for options in OUTPUTS {
        let conversion = Conversion::begin(options);
        conversion.send(SIGKILL);
        let (status, said) = conversion.end();
        assert_eq!((status.signal(), said.as_str()), (Some(SIGKILL), ""), "{options}");
    }
}

#[test]
fn sigusr1_prints_a_line_and_the_conversion_goes_on() {
    for options in OUTPUTS {
        let mut conversion = Conversion::begin(options);
        // The line is due within a tick of a tenth of a second.
        for _ in 0..3 {
            conversion.send(SIGUSR1);
            thread::sleep(Duration::from_millis(150));
        }
        assert!(!conversion.process.has_ended().expect("it is a child"), "{options}: it has ended");
        conversion.send(SIGTERM);
        let (status, said) = conversion.end();
        assert_eq!(status.signal(), Some(SIGTERM), "{options}: {said}");
        let line = said.lines().next().unwrap_or_default();
        assert!(line.starts_with("instar: ") && line.contains(" bytes written ("), "{options}: {said}");
        assert!(line.ends_with("/s"), "{options}: {said}");
    }
}
