//! Random commands on random images, done by `instar` and by `qemu-img`: both must do the same.
//!
//! A run is a number, its seed: the image follows from it, and the arguments. Neighbours share an image.
//!
//! | module | what |
//! |---|---|
//! | [`image`] | images as descriptions, and the shell commands that make them |
//! | [`generate`] | random images |
//! | [`command`], [`dd`], [`convert`] | random arguments |
//! | [`compare`] | one command, done by both tools |
//! | [`known`] | differences that are meant to be |
//! | [`shrink`] | the simplest case that still fails |
//! | [`campaign`] | many runs, and the figures |

mod campaign;
mod command;
mod compare;
mod convert;
mod dd;
mod generate;
mod image;
mod known;
mod shrink;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use self::campaign::Campaign;
use self::command::{COMMANDS, Command};
use self::compare::Comparer;
use crate::workspace;

const DEFAULT_RUNS: u64 = 2000;

/// What CI runs of each command: the same each time, so that it is the change that makes it fail, and not chance.
const CI_SEED: u64 = 1;
const CI_RUNS: u64 = 2000;

/// Seeds that are chosen are short enough to be typed.
const RANDOM_SEEDS: u64 = 1_000_000_000;

const MEMORY: &str = "/dev/shm";

/// What images take at most, a few at a time. In bytes.
const ROOM: u64 = 2 << 30;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (mut seed, mut runs, mut command) = (None, DEFAULT_RUNS, &COMMANDS[0]);
    let mut rest = args;
    while let [option, value, behind @ ..] = rest {
        match *option {
            "--seed" => seed = Some(value.parse().context("--seed wants a number")?),
            "--runs" => runs = value.parse().context("--runs wants a number")?,
            "--command" => command = command_named(value)?,
            _ => bail!("{USAGE}"),
        }
        rest = behind;
    }
    ensure!(rest.is_empty() && runs > 0, "{USAGE}");
    campaigns(&[Campaign { command, seed: seed.unwrap_or_else(random_seed), runs }])
}

const USAGE: &str = "usage: cargo xtask difftest [--command NAME] [--seed S] [--runs N]";

/// What CI runs.
pub(crate) fn ci() -> Result<()> {
    let campaign_of = |command| Campaign { command, seed: CI_SEED, runs: CI_RUNS };
    campaigns(&COMMANDS.iter().map(campaign_of).collect::<Vec<_>>())
}

fn campaigns(campaigns: &[Campaign]) -> Result<()> {
    let missing = ["qemu-img", "qemu-io"]
        .iter()
        .find_map(|tool| crate::command::require(process::Command::new(tool).arg("--version")).err());
    if let Some(missing) = missing {
        // What nobody compares must not look like what is equal.
        ensure!(std::env::var_os("CI").is_none(), "{missing:#}");
        writeln!(io::stderr(), "SKIPPED: the comparison with qemu-img. {missing:#}")?;
        return Ok(());
    }
    let instar = workspace::build_instar()?;
    let dir = scratch()?;
    let comparer = Comparer::new(instar, dir.path())?;
    campaigns.iter().try_for_each(|campaign| campaign.run(&comparer))
}

fn command_named(name: &str) -> Result<&'static Command> {
    let command = COMMANDS.iter().find(|command| command.name == name);
    command.with_context(|| format!("there is no generator for the command '{name}'"))
}

fn random_seed() -> u64 {
    fastrand::u64(..RANDOM_SEEDS)
}

/// In memory, if there is room for it: a disk makes all of it several times slower.
fn scratch() -> Result<TempDir> {
    let has_room = |dir: &Path| {
        statvfs(dir).is_ok_and(|system| system.blocks_available() * system.fragment_size() >= ROOM)
    };
    let memory = PathBuf::from(MEMORY);
    let parent = if has_room(&memory) { memory } else { workspace::target_dir() };
    let dir = tempfile::Builder::new().prefix("instar-difftest-").tempdir_in(&parent);
    dir.with_context(|| format!("nothing can be made in {}", parent.display()))
}
