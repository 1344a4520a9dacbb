//! One command, done by both tools with the same image.

use core::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use testkit::outcome::{Entry, Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::{Run, Tool};

use super::command::{Input, Invocation, OUTPUT};
use super::image::{Image, Op, Origin, PIECES, PIECES_LEN, PIECES_NAMES, TOP};
use super::known;

/// Begins every message about a guest that did what no guest should.
const GUEST_AT_FAULT: &[&str] = &["the guest was stopped", "of the guest", "the guest finished", "panicked"];

/// The tools, and a directory to use them in.
pub(super) struct Comparer {
    instar: Tool,
    qemu: Qemu,
    dir: PathBuf,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Both made the same.
    Equal,
    /// Both failed.
    BothFailed,
    /// One of the differences that instar makes on purpose, and why.
    Deliberate(&'static str),
    /// In words.
    Different(Vec<String>),
}

/// An image that lies in a directory.
pub(super) struct Made {
    dir: tempfile::TempDir,
    pub(super) image: Image,
    pub(super) input: Input,
}

impl Comparer {
    /// Works in `dir`, and leaves what it made to whoever owns that.
    pub(super) fn new(instar: PathBuf, dir: &Path) -> Result<Self> {
        Qemu::script(dir, PIECES, &[]).context("making data to fill images with")?;
        for name in PIECES_NAMES {
            let len = fs::metadata(dir.join(name))?.len();
            ensure!(len == PIECES_LEN, "the file of {name} has {len} bytes, and should have {PIECES_LEN}");
        }
        let qemu = Qemu::require().context("qemu-img and qemu-io are not installed")?;
        Ok(Self { instar: Tool::named(instar), qemu, dir: dir.to_owned() })
    }

    /// Makes `image`.
    pub(super) fn make(&self, image: &Image) -> io::Result<Made> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        Qemu::script(dir.path(), &image.script(), &[])?;
        let top = image.top();
        let file_len = fs::metadata(dir.path().join(TOP))?.len();
        let input = Input { format: top.format, size: top.size, file_len, landmarks: landmarks(image) };
        Ok(Made { dir, image: image.clone(), input })
    }

    /// Lets both tools do `invocation`.
    pub(super) fn compare(&self, made: &Made, invocation: &Invocation) -> io::Result<Verdict> {
        let view = if invocation.output_format() == "raw" { View::Bytes } else { View::Image(&self.qemu) };
        let (mut theirs, their_run) = self.run(self.qemu.img(), made, invocation, view)?;
        if !invocation.command.is_dense {
            theirs.fully_allocated.clear();
        }
        let (ours, our_run) = self.run(&self.instar, made, invocation, view)?;
        let differences = differences(&ours, &our_run, &theirs);
        Ok(if differences.is_empty() {
            if ours.exit == Exit::Code(0) { Verdict::Equal } else { Verdict::BothFailed }
        } else if let Some(reason) = known::reason(&made.image, &ours, &our_run, &theirs) {
            Verdict::Deliberate(reason)
        } else {
            let said = [said("instar", &our_run), said("qemu-img", &their_run)];
            Verdict::Different([differences, said.into_iter().flatten().collect()].concat())
        })
    }

    fn run(
        &self,
        tool: &Tool,
        made: &Made,
        invocation: &Invocation,
        view: View<'_>,
    ) -> io::Result<(Outcome, Run)> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        scene::run_in(dir.path(), tool, &invocation.words(), view, |dir| made.link_into(dir))
    }
}

impl Made {
    /// Puts the image into `dir`. Its files are the same ones there: nothing may change them.
    fn link_into(&self, dir: &Path) -> io::Result<()> {
        for file in fs::read_dir(self.dir.path())? {
            let file = file?;
            fs::hard_link(file.path(), dir.join(file.file_name()))?;
        }
        Ok(())
    }
}

/// Where anything begins or ends, on any disk of the chain.
fn landmarks(image: &Image) -> Vec<u64> {
    let mut landmarks = Vec::new();
    for layer in &image.layers {
        landmarks.push(layer.size);
        landmarks.extend(layer.ops.iter().map(Op::end));
        if let Origin::Converted { ops, .. } = &layer.origin {
            landmarks.extend(ops.iter().map(Op::end));
        }
    }
    landmarks.retain(|&at| at <= image.top().size);
    landmarks
}

/// How far instar is from having done what qemu-img did. What is left after a failure is not compared.
fn differences(ours: &Outcome, run: &Run, theirs: &Outcome) -> Vec<String> {
    if ours.exit == Exit::Code(1) && theirs.exit == Exit::Code(1) {
        let fault = GUEST_AT_FAULT.iter().any(|words| run.stderr.contains(words));
        return fault.then(|| "the guest was at fault".into()).into_iter().collect();
    }
    let mut found = ours.differences_from(theirs);
    if let Some(Entry::Image(image)) = ours.changed.get(OUTPUT) {
        found.extend(image.damage.clone());
    }
    found
}

fn said(tool: impl Display, run: &Run) -> Option<String> {
    let text = run.stderr.trim_end();
    (!text.is_empty()).then(|| format!("{tool} says: {text}"))
}
