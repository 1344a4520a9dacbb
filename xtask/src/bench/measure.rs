//! Running the tools, and taking their time.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use signal_hook::consts::SIGINT;
use wait4::Wait4;

use super::case::{Case, Task};
use super::place::Place;
use crate::command;

/// The tools, ready to run.
#[derive(Debug)]
pub(super) struct Bench {
    instar: PathBuf,
    quick: bool,
    /// Set by Ctrl-C, which then ends the measurement the ordinary way, and nothing large is left behind.
    interrupted: Arc<AtomicBool>,
}

/// What a case came to.
#[derive(Debug)]
pub(super) struct Measured {
    /// In a virtual machine.
    pub(super) kvm: Summary,
    /// In a process.
    pub(super) process: Summary,
    pub(super) rivals: [Summary; 2],
}

/// All runs of one tool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub(super) median: Duration,
    /// The most memory that a run held at a time, in bytes.
    pub(super) peak: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Duration,
    peak: u64,
}

impl Bench {
    pub(super) fn new(instar: PathBuf, quick: bool) -> Result<Self> {
        for tool in ["qemu-img", "cp", "dd"] {
            command::require(Command::new(tool).arg("--version"))?;
        }
        let interrupted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
        Ok(Self { instar, quick, interrupted })
    }

    /// Runs the tools in turn, so that what changes while it is measured changes for all of them.
    pub(super) fn measure(&self, place: &Place, case: &Case) -> Result<Measured> {
        place.write_input(case.input)?;
        let mut tools = self.tools(place, case);
        let mut samples = [const { Vec::new() }; 4];
        // The first round only warms the caches.
        for round in 0..=self.rounds(case) {
            for (tool, samples) in tools.iter_mut().zip(&mut samples) {
                let sample = self.run(tool, &place.output())?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let [kvm, process, rivals @ ..] = samples.map(Summary::of);
        Ok(Measured { kvm, process, rivals })
    }

    fn rounds(&self, case: &Case) -> usize {
        if self.quick { case.rounds.div_ceil(5) } else { case.rounds }
    }

    /// instar in a virtual machine and in a process, and its rivals.
    fn tools(&self, place: &Place, case: &Case) -> [Command; 4] {
        let (kvm, process) = (self.instar(place, case, "kvm"), self.instar(place, case, "process"));
        let qemu = qemu_img(place, case);
        match case.task {
            Task::Dd { .. } => {
                let mut cp = Command::new("cp");
                cp.arg("--sparse=never").arg(place.input()).arg(place.output());
                [kvm, process, qemu, cp]
            }
            Task::Convert(_) => {
                let mut parallel = qemu_img(place, case);
                parallel.args(["-m", "16", "-W"]);
                [kvm, process, qemu, parallel]
            }
        }
    }

    fn instar(&self, place: &Place, case: &Case, sandbox: &str) -> Command {
        let mut command = Command::new(&self.instar);
        let bs = if let Task::Dd { instar_bs, .. } = case.task { instar_bs } else { None };
        add_task(&mut command, place, case, bs);
        command.args(["--sandbox", sandbox]).env_remove("INSTAR_SANDBOX");
        command
    }

    /// Runs a tool once. Its output is there only meanwhile: there may be no room for two.
    fn run(&self, tool: &mut Command, output: &Path) -> Result<Sample> {
        prepare()?;
        let sample = time(tool);
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        remove(output)?;
        sample.with_context(|| format!("`{}` cannot be measured", command::shown(tool)))
    }
}

fn qemu_img(place: &Place, case: &Case) -> Command {
    let mut command = Command::new("qemu-img");
    let bs = if let Task::Dd { qemu_bs, .. } = case.task { qemu_bs } else { None };
    add_task(&mut command, place, case, bs);
    command
}

/// What both tools are told alike, and the block size `bs`.
fn add_task(command: &mut Command, place: &Place, case: &Case, bs: Option<&str>) {
    let (input, output) = (place.input(), place.output());
    let formats = ["-f", case.input.format(), "-O", case.output_format];
    match case.task {
        Task::Dd { .. } => {
            command.arg("dd").args(formats).arg(operand("if=", &input)).arg(operand("of=", &output));
            command.args(bs.map(|bs| format!("bs={bs}")));
        }
        Task::Convert(options) => {
            command.arg("convert").args(formats).args(options).arg(input).arg(output);
        }
    }
}

fn operand(name: &str, path: &Path) -> OsString {
    let mut operand = OsString::from(name);
    operand.push(path);
    operand
}

/// Lets a run find what every other finds: nothing that waits to be written, and memory that this machine has.
///
/// A virtual machine that has not used its memory for a while has lost it, and the first to touch it again waits for more than it
/// takes to copy what is put there. Nobody's time is to include that, and it is not known before whose would. So as much as a run
/// may need is taken, and given back.
fn prepare() -> Result<()> {
    // Programs of their own: what this one has held counts for the programs that it starts, too.
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "of=/dev/null", "bs=1280M", "count=1", "status=none"]);
    ensure!(dd.status()?.success(), "`{}` failed: has the machine so much memory?", command::shown(&dd));
    ensure!(Command::new("sync").status()?.success(), "`sync` failed");
    Ok(())
}

fn time(tool: &mut Command) -> Result<Sample> {
    tool.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let used = tool.spawn()?.wait4()?;
    let time = start.elapsed();
    ensure!(used.status.success(), "{}", used.status);
    Ok(Sample { time, peak: used.rusage.maxrss })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Summary {
    fn of(mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.time);
        let peak = samples.iter().map(|sample| sample.peak).max();
        Self { median: samples[samples.len() / 2].time, peak: peak.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_median_time_and_the_greatest_peak() {
        let sample = |time, peak| Sample { time: Duration::from_millis(time), peak };
        let summary = Summary::of(vec![sample(9, 1), sample(1, 7), sample(2, 3)]);
        assert_eq!((summary.median, summary.peak), (Duration::from_millis(2), 7));
    }
}
