//! A command under test or one to compare with, and a single run of it.

use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::outcome::Exit;

/// Far more than any case needs, so that only a command that hangs meets it.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// A program, mostly one that has a `dd` command in `qemu-img`'s manner.
pub struct Tool {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// What a finished command left behind, except for files.
pub struct Run {
    /// How it ended.
    pub exit: Exit,
    /// What it printed.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
}

impl Tool {
    /// The program `program`: a path, or a name to look for where programs are.
    #[must_use]
    pub fn named(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), environment: Vec::new() }
    }

    /// The same with an environment variable.
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs `PROGRAM dd ARGS` in `dir`, where relative names in `args` lead.
    pub fn dd<S: AsRef<OsStr>>(&self, dir: &Path, args: &[S]) -> io::Result<Run> {
        let dd = [OsStr::new("dd")].into_iter().chain(args.iter().map(S::as_ref));
        self.run(dir, dd)
    }

    /// The same for a program that stops itself, as by Ctrl-Z: then `meanwhile` is done, and it goes on.
    pub fn dd_stopping<S: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: &[S],
        meanwhile: impl FnOnce(),
    ) -> io::Result<Run> {
        let dd = [OsStr::new("dd")].into_iter().chain(args.iter().map(S::as_ref));
        let begun = self.begin(dir, dd)?;
        let pid = begun.child.id();
        while !has_stopped(pid)? {
            thread::sleep(POLL);
        }
        meanwhile();
        Command::new("kill").args(["-s", "CONT", &pid.to_string()]).status()?;
        begun.end()
    }

    /// Runs `PROGRAM ARGS` in `dir`.
    pub fn run<S: AsRef<OsStr>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> io::Result<Run> {
        self.begin(dir, args)?.end()
    }

    fn begin<S: AsRef<OsStr>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> io::Result<Begun> {
        // Files rather than pipes: a command that prints much cannot block on a reader that waits for its exit.
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let child = Command::new(&self.program)
            .args(args)
            .current_dir(dir)
            .env("LC_ALL", "C")
            // It would end the options at the first operand; the cases are about the default.
            .env_remove("POSIXLY_CORRECT")
            // It would date the outputs.
            .env_remove("SOURCE_DATE_EPOCH")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()?;
        Ok(Begun { child, stdout, stderr })
    }
}

/// A run that has not ended.
struct Begun {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Begun {
    fn end(mut self) -> io::Result<Run> {
        let exit = wait_until(self.child, Instant::now() + DEADLINE)?;
        Ok(Run { exit, stdout: written_to(&mut self.stdout)?, stderr: written_to(&mut self.stderr)? })
    }
}

/// Whether the process `pid` has been stopped. That it has ended instead is an error.
fn has_stopped(pid: u32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    if status.contains("\nState:\tZ") {
        return Err(io::Error::other("it ended without having stopped"));
    }
    Ok(status.contains("\nState:\tT"))
}

/// The tool `name` to compare with, or `None` where it is not installed.
///
/// In CI its absence is a failure: a comparison that nobody makes must not look like one that succeeded.
pub fn require_tool(name: &str) -> Option<Tool> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if found {
        return Some(Tool::named(name));
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI must compare with it");
    // Not `eprintln!`, which the test harness swallows when a test passes.
    let _ = writeln!(io::stderr(), "SKIPPED: a comparison with {name}, which is not installed");
    None
}

/// Runs the shell script `script`, whose `$1`, `$2`, … are `args`, in `dir`, with mounts that nobody else sees and that
/// are gone afterwards.
///
/// `None` where this user may not mount anything, which is a failure in CI.
pub fn with_own_mounts<S: AsRef<OsStr>>(dir: &Path, script: &str, args: &[S]) -> Option<io::Result<Run>> {
    elsewhere(dir, &["unshare", "--mount"], "true", script, args)
}

/// Runs the shell scripts `prepare` and `script`, whose `$1`, `$2`, … are `args`, in `dir`, by `wrapper`: a command that
/// runs another in a world of its own.
///
/// `None` where this user cannot go there, which shows in that the first script alone fails. In CI that is a failure.
pub fn elsewhere<S: AsRef<OsStr>>(
    dir: &Path,
    wrapper: &[&str],
    prepare: &str,
    script: &str,
    args: &[S],
) -> Option<io::Result<Run>> {
    let shell = |script: &str| {
        let shell = wrapper[1..].iter().copied().chain(["sh", "-ec", script, "sh"]).map(OsStr::new);
        Tool::named(wrapper[0]).run(dir, shell.chain(args.iter().map(S::as_ref)))
    };
    let works = shell(prepare);
    if !works.as_ref().is_ok_and(|run| run.exit == Exit::Code(0)) {
        let why = works.map_or_else(|error| error.to_string(), |run| run.stderr);
        assert!(std::env::var_os("CI").is_none(), "CI must be able to run {wrapper:?}: {why}");
        let _ = writeln!(io::stderr(), "SKIPPED: a test that needs {wrapper:?}, which does not work here");
        return None;
    }
    Some(shell(&format!("{prepare}; {script}")))
}

fn wait_until(mut child: Child, deadline: Instant) -> io::Result<Exit> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Exit::from(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(Exit::TimedOut);
        }
        thread::sleep(POLL);
    }
}

fn written_to(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
