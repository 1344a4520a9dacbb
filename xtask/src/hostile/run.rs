//! One run of a program that may do anything.

use core::time::Duration;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait4::Wait4;

/// What takes longer hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// What a program did.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) status: ExitStatus,
    pub(super) said: String,
    pub(super) time: Duration,
    /// The most memory that it held at a time, in bytes.
    pub(super) peak: u64,
}

impl Run {
    pub(super) fn hung(&self) -> bool {
        self.time >= DEADLINE
    }
}

/// Runs `program ARGS` in `dir`, for as long as it may take.
pub(super) fn run<S: AsRef<OsStr>>(program: &Path, args: &[S], dir: &Path) -> Result<Run> {
    let mut stderr = tempfile::tempfile()?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut child =
        command.stderr(stderr.try_clone()?).spawn().with_context(|| program.display().to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (sender, receiver) = mpsc::channel();
    let used = thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait4()));
        receiver.recv_timeout(DEADLINE).or_else(|_| {
            kill(pid, Signal::SIGKILL)?;
            anyhow::Ok(receiver.recv()?)
        })
    })?
    .context("waiting for it")?;
    let time = start.elapsed();
    let mut said = Vec::new();
    stderr.rewind()?;
    stderr.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(Run { status: used.status, said, time, peak: used.rusage.maxrss })
}

/// Whether two files have the same bytes. They are not held in memory: what this program holds counts for those that
/// it starts.
pub(super) fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let (mut one, mut other) = (fs::File::open(one)?, fs::File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        for (file, bytes) in [(&mut one, &mut left), (&mut other, &mut right)] {
            bytes.clear();
            file.take(1 << 18).read_to_end(bytes)?;
        }
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
