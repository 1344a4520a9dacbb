//! What is expected of instar, whatever an image is like.

use core::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::case::Case;
use super::field::{Format, Specimen};
use super::known;
use super::run::{DEADLINE, Run, run, same_bytes};
use crate::command;

/// The most memory that a run may hold, in bytes: what it needs for itself, the guest's, and the buffers.
const MAX_PEAK: u64 = 32 << 20;

/// No message of instar for an image has these: they are for mistakes of its own.
const FAULTS: &[&str] = &["panicked", "the guest was stopped", "please report", "operation "];

const OURS: &str = "out";
const THEIRS: &str = "reference";
const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;
const REPAIRED: &str = "repaired";

/// Both tools, ready to run.
pub(super) struct Judge {
    pub(super) instar: PathBuf,
    pub(super) seed: u64,
}

/// What came of a case.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) finding: Finding,
    /// Everything that must not be, in words.
    pub(super) wrong: Vec<String>,
    pub(super) run: Run,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
pub(super) enum Finding {
    /// Both read the same bytes.
    Same,
    /// Neither reads it.
    Neither,
    /// `qemu-img` reads it, instar refuses: its message.
    QemuAlone(String),
    /// instar reads it, `qemu-img` fails: why that is right.
    InstarAlone(&'static str),
    /// Something is wrong.
    Failure,
}

/// A part of the disk that is never longer than the disk was before the case: what a header claims now is no reason to
/// fill a file system.
struct Window {
    operands: [String; 3],
    /// In bytes.
    max_len: u64,
    is_whole: bool,
}

impl Window {
    fn of(case: &Case, seed: u64, disk: u64) -> Self {
        let mut random = Case::random(&case.name, seed);
        let bs: u64 = if random.bool() { 65536 } else { [512, 4096, 65537, 1 << 20][random.usize(..4)] };
        let count = disk.div_ceil(bs);
        let skip = if random.bool() { 0 } else { random.u64(..count) };
        Self {
            operands: [format!("bs={bs}"), format!("skip={skip}"), format!("count={count}")],
            max_len: (count - skip) * bs,
            is_whole: skip == 0,
        }
    }
}

impl Judge {
    /// Reads the image in `dir`, which `case` has changed, with both tools.
    pub(super) fn judge(
        &self,
        format: &Format,
        specimen: &Specimen,
        case: &Case,
        disk: u64,
        dir: &Path,
    ) -> Result<Verdict> {
        let window = Window::of(case, self.seed, disk);
        for output in [OURS, THEIRS] {
            remove(&dir.join(output))?;
        }
        for input in fs::read_dir(dir)? {
            File::open(input?.path())?.set_modified(LONG_AGO)?;
        }
        let ours = self.dd(&self.instar, format, specimen.input, OURS, &window, dir)?;
        let mut wrong = misbehaviour(&ours, &window, dir)?;
        wrong.extend(changed_inputs(dir)?);
        let theirs = self.reference(format, specimen, &window, dir)?;
        let finding = match (ours.status.success(), theirs.status.success()) {
            (true, true) => {
                if !same_bytes(&dir.join(OURS), &dir.join(THEIRS))? {
                    wrong.push("qemu-img reads other bytes".into());
                }
                Finding::Same
            }
            (true, false) => {
                let len = dir.join(OURS).metadata()?.len();
                let why = known::why_read(format.name, &case.name, &theirs.said, window.is_whole, len);
                if why.is_none() {
                    wrong.push(format!("qemu-img does not read it: {}", theirs.said.trim_end()));
                }
                why.map_or(Finding::Failure, Finding::InstarAlone)
            }
            (false, true) => Finding::QemuAlone(plain(&ours.said)),
            (false, false) => Finding::Neither,
        };
        if case.is_unchanged() && finding != Finding::Same {
            wrong.push(format!("nothing was changed, and yet: {finding}; {}{}", ours.said, theirs.said));
        }
        let finding = if wrong.is_empty() { finding } else { Finding::Failure };
        Ok(Verdict { finding, wrong, run: ours })
    }

    /// What `qemu-img` does, with a repaired copy if it must.
    fn reference(&self, format: &Format, specimen: &Specimen, window: &Window, dir: &Path) -> Result<Run> {
        let qemu = Path::new("qemu-img");
        if !specimen.repair {
            return self.dd(qemu, format, specimen.input, THEIRS, window, dir);
        }
        fs::copy(dir.join(specimen.input), dir.join(REPAIRED))?;
        let repair = run(qemu, &["check", "-q", "-r", "all", "-f", format.name, REPAIRED], dir)?;
        if !repair.status.success() {
            return Ok(repair);
        }
        self.dd(qemu, format, REPAIRED, THEIRS, window, dir)
    }

    fn dd(
        &self,
        tool: &Path,
        format: &Format,
        input: &str,
        output: &str,
        window: &Window,
        dir: &Path,
    ) -> Result<Run> {
        let (input, output) = (format!("if={input}"), format!("of={output}"));
        let operands = window.operands.iter().map(String::as_str);
        let args: Vec<&str> =
            ["dd", "-f", format.name, &input, &output].into_iter().chain(operands).collect();
        run(tool, &args, dir)
    }
}

/// What no image may bring instar to.
fn misbehaviour(run: &Run, window: &Window, dir: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let said = run.said.trim_end();
    if run.hung() {
        wrong.push(format!("it did not end within {DEADLINE:?}"));
    } else if !matches!(run.status.code(), Some(0 | 1)) {
        wrong.push(format!("it ended with {}: {said}", run.status));
    }
    if run.status.code() == Some(1) && !run.said.starts_with("instar: ") {
        wrong.push(format!("it gives no reason: {said:?}"));
    }
    if FAULTS.iter().any(|fault| said.contains(fault)) {
        wrong.push(format!("it found a mistake of its own: {said}"));
    }
    if said.contains(|c: char| c.is_control() && c != '\n') {
        wrong.push(format!("its message is not fit for a terminal: {said:?}"));
    }
    if run.peak > MAX_PEAK {
        wrong.push(format!("it held {} KiB of memory, {} are the bound", run.peak >> 10, MAX_PEAK >> 10));
    }
    let output = dir.join(OURS).metadata();
    let len = output.as_ref().map_or(0, fs::Metadata::len);
    if len > window.max_len.next_multiple_of(512) {
        wrong.push(format!("it wrote {len} bytes where {} were asked for", window.max_len));
    }
    if !run.status.success()
        && run.status.signal().is_none()
        && output.is_ok() != said.contains("is incomplete")
    {
        wrong.push(format!("it does not say whether it left an output: {said}"));
    }
    Ok(wrong)
}

/// Whatever is written to has a newer date than all files had before.
fn changed_inputs(dir: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != OURS && entry.metadata()?.modified()? != LONG_AGO {
            wrong.push(format!("it changed {}", entry.file_name().display()));
        }
    }
    Ok(wrong)
}

/// A message without what differs from case to case.
fn plain(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("instar: ");
    let mut plain = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if plain.ends_with('N') => {}
            '0'..='9' => plain.push('N'),
            c => plain.push(c),
        }
    }
    plain
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("making room"),
        _ => Ok(()),
    }
}

/// Fails without what the cases need.
pub(super) fn require_oracle() -> Result<()> {
    for tool in ["qemu-img", "qemu-io"] {
        command::require(std::process::Command::new(tool).arg("--version"))?;
    }
    Ok(())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("read alike"),
            Self::Neither => f.write_str("refused by both"),
            Self::QemuAlone(said) => write!(f, "refused here alone: {said}"),
            Self::InstarAlone(why) => write!(f, "read here alone: {why}"),
            Self::Failure => f.write_str("failures"),
        }
    }
}
