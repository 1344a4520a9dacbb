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
use super::request::{Command, Request};
use super::run::{DEADLINE, Run, run, same_bytes};
use crate::command;

/// The most memory that a run may hold, in bytes: what it needs for itself, the guest's, and the buffers.
const MAX_PEAK: u64 = 32 << 20;

/// No message of instar for an image has these: they are for mistakes of its own.
const FAULTS: &[&str] = &["panicked", "the guest was stopped", "please report", "operation "];

const OURS: &str = "out";
const THEIRS: &str = "reference";
const RAW: &str = "raw";
const BACK: &str = "back";
const REPAIRED: &str = "repaired";

/// Everything that is made of an image.
const OUTPUTS: &[&str] = &[OURS, THEIRS, RAW, BACK, REPAIRED];

const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;

/// What instar says of an output that would be longer than it may be.
const BOUND: &str = "--max-output SIZE";

/// Both tools, ready to run.
pub(super) struct Judge {
    pub(super) instar: PathBuf,
}

/// An image, and what is to be made of it.
pub(super) struct Trial<'a> {
    pub(super) format: &'a Format,
    pub(super) specimen: &'a Specimen,
    pub(super) case: &'a Case,
    pub(super) request: Request,
    /// Where the image is, which the case has changed.
    pub(super) dir: &'a Path,
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
    /// The disk is longer than an output may be, so that nobody has looked at it.
    TooLarge,
    /// `qemu-img` reads it, instar refuses: its message.
    QemuAlone(String),
    /// instar reads it, `qemu-img` fails: why that is right.
    InstarAlone(&'static str),
    /// Something is wrong.
    Failure,
}

impl Judge {
    /// Lets both tools do what is asked for.
    pub(super) fn judge(&self, trial: &Trial<'_>) -> Result<Verdict> {
        let Trial { case, request, dir, .. } = trial;
        OUTPUTS.iter().try_for_each(|output| remove(&dir.join(output)))?;
        for input in fs::read_dir(dir)? {
            File::open(input?.path())?.set_modified(LONG_AGO)?;
        }
        let ours = self.instar(trial, request)?;
        let mut wrong = misbehaviour(&ours, request, dir)?;
        let finding =
            if ours.said.contains(BOUND) { Finding::TooLarge } else { compare(trial, &ours, &mut wrong)? };
        if request.command == Command::Convert && ours.status.success() {
            wrong.extend(self.other_output(trial)?);
        }
        wrong.extend(changed_inputs(dir)?);
        if case.is_unchanged() && finding != Finding::Same {
            wrong.push(format!("nothing was changed, and yet: {finding}; {}", ours.said));
        }
        let finding = if wrong.is_empty() { finding } else { Finding::Failure };
        Ok(Verdict { finding, wrong, run: ours })
    }

    /// What is wrong with the qcow2 image that instar makes of what it has just made a raw one of.
    fn other_output(&self, trial: &Trial<'_>) -> Result<Vec<String>> {
        let (dir, request) = (trial.dir, Request::convert("qcow2"));
        fs::rename(dir.join(OURS), dir.join(RAW))?;
        let ours = self.instar(trial, &request)?;
        let mut wrong = misbehaviour(&ours, &request, dir)?;
        if !ours.status.success() {
            wrong.push(format!("it becomes raw, and not qcow2: {}", ours.said));
            return Ok(wrong);
        }
        let qemu = Path::new("qemu-img");
        let check = run(qemu, &["check", "-q", "-f", "qcow2", OURS], dir)?;
        let back = run(qemu, &["convert", "-f", "qcow2", "-O", "raw", OURS, BACK], dir)?;
        for run in [check, back].iter().filter(|run| !run.status.success()) {
            wrong.push(format!("qemu-img is not content with the qcow2 image: {}", run.said));
        }
        if wrong.is_empty() && !same_bytes(&dir.join(RAW), &dir.join(BACK))? {
            wrong.push("it becomes another disk as qcow2 than as raw".into());
        }
        Ok(wrong)
    }

    fn instar(&self, trial: &Trial<'_>, request: &Request) -> Result<Run> {
        run(&self.instar, &request.to_instar(trial.format.name, trial.specimen.input, OURS), trial.dir)
    }
}

/// What `ours` is beside what `qemu-img` does.
fn compare(trial: &Trial<'_>, ours: &Run, wrong: &mut Vec<String>) -> Result<Finding> {
    let Trial { format, case, request, dir, .. } = trial;
    let theirs = reference(trial)?;
    Ok(match (ours.status.success(), theirs.status.success()) {
        (true, true) => {
            if !same_bytes(&dir.join(OURS), &dir.join(THEIRS))? {
                wrong.push("qemu-img reads other bytes".into());
            }
            Finding::Same
        }
        (true, false) => {
            let len = dir.join(OURS).metadata()?.len();
            let why = known::why_read(format.name, &case.name, &theirs.said, request.is_whole, len);
            if why.is_none() {
                let said = theirs.said.trim_end();
                wrong.push(format!("qemu-img does not read it: {}, {said}", theirs.status));
            }
            why.map_or(Finding::Failure, Finding::InstarAlone)
        }
        (false, true) => Finding::QemuAlone(plain(&ours.said)),
        (false, false) => Finding::Neither,
    })
}

/// What `qemu-img` does, with a repaired copy if it must.
fn reference(trial: &Trial<'_>) -> Result<Run> {
    let Trial { format, specimen, request, dir, .. } = trial;
    let qemu = Path::new("qemu-img");
    if !specimen.repair {
        return run(qemu, &request.to_qemu(format.name, specimen.input, THEIRS), dir);
    }
    fs::copy(dir.join(specimen.input), dir.join(REPAIRED))?;
    let repair = run(qemu, &["check", "-q", "-r", "all", "-f", format.name, REPAIRED], dir)?;
    if !repair.status.success() {
        return Ok(repair);
    }
    run(qemu, &request.to_qemu(format.name, REPAIRED, THEIRS), dir)
}

/// What no image may bring instar to.
fn misbehaviour(run: &Run, request: &Request, dir: &Path) -> Result<Vec<String>> {
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
    if len > request.max_len.next_multiple_of(512) {
        wrong.push(format!("it wrote {len} bytes where {} were asked for", request.max_len));
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
        let is_output = OUTPUTS.iter().any(|output| entry.file_name() == *output);
        if !is_output && entry.metadata()?.modified()? != LONG_AGO {
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
            Self::TooLarge => f.write_str("longer than an output may be"),
            Self::QemuAlone(said) => write!(f, "refused here alone: {said}"),
            Self::InstarAlone(why) => write!(f, "read here alone: {why}"),
            Self::Failure => f.write_str("failures"),
        }
    }
}
