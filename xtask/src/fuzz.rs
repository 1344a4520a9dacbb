//! The fuzz targets. `fuzz/README.md` says what is there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, workspace};

const DEFAULT_SECONDS: u32 = 5;

/// What CI's search begins with: the same inputs in the same order every time, so that it is the change that makes it fail, and
/// not chance. Chance is for the long campaigns.
const CI_SEED: u32 = 1;

/// What a target may take at most: seconds for one input; megabytes for all, and for one allocation. No code under test
/// allocates in proportion to what an input claims.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256"];

/// All targets, in short, and the same way each time.
pub(crate) fn ci() -> Result<()> {
    fuzz(&Search { seconds: DEFAULT_SECONDS, seed: Some(CI_SEED) }, None)
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (mut seconds, mut only) = (DEFAULT_SECONDS, None);
    for arg in args.chunks(2) {
        match arg {
            ["--seconds", number] => seconds = number.parse().context("--seconds wants a number")?,
            ["--target", name] => only = Some(*name),
            _ => bail!("usage: cargo xtask fuzz [--seconds N] [--target NAME]"),
        }
    }
    fuzz(&Search { seconds, seed: None }, only)
}

/// How each target is searched.
struct Search {
    seconds: u32,
    /// Where chance begins; by chance, if nothing is said.
    seed: Option<u32>,
}

/// Runs all targets, or `only` one.
fn fuzz(search: &Search, only: Option<&str>) -> Result<()> {
    if let Err(missing) = command::require(nightly_cargo().args(["fuzz", "--version"])) {
        // What nobody runs must not look like what succeeded.
        ensure!(std::env::var_os("CI").is_none(), "{missing:#}");
        writeln!(io::stderr(), "SKIPPED: fuzzing. {missing:#}")?;
        return Ok(());
    }
    let mut targets = targets()?;
    targets.retain(|target| only.is_none_or(|only| only == target));
    ensure!(!targets.is_empty(), "there is no such fuzz target: see fuzz/README.md");
    targets.iter().try_for_each(|target| fuzz_target(target, search))
}

/// Replays the committed inputs of `target`, and those that earlier runs found, then searches.
fn fuzz_target(target: &str, search: &Search) -> Result<()> {
    let dir = dir();
    // The first directory is where new inputs go.
    let corpus = dir.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let committed = ["seeds", "regressions"].map(|kind| dir.join(kind).join(target));

    let mut command = nightly_cargo();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"]).arg(target_dir()).arg(target);
    command.arg(corpus).args(committed.iter().filter(|inputs| inputs.is_dir()));
    command.args([
        "--",
        &format!("-max_total_time={}", search.seconds),
        "-verbosity=0",
        "-print_final_stats=1",
    ]);
    command.args(search.seed.map(|seed| format!("-seed={seed}"))).args(LIMITS);
    command::run(&mut command)
}

/// The targets are named like their files.
fn targets() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(dir().join("fuzz_targets"))? {
        targets.extend(target(&entry?.path()));
    }
    targets.sort();
    Ok(targets)
}

fn target(source: &Path) -> Option<String> {
    source.extension().filter(|extension| *extension == "rs")?;
    source.file_stem()?.to_str().map(String::from)
}

fn dir() -> PathBuf {
    workspace::root().join("fuzz")
}

/// Apart from what the stable compiler builds.
fn target_dir() -> PathBuf {
    workspace::target_dir().join("fuzz")
}

/// Sanitizers need a nightly compiler. The `cargo` on the path is rustup's, which knows `+nightly`; the one that runs
/// this program does not.
fn nightly_cargo() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").current_dir(workspace::root());
    command
}
