//! The first command of the README.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, workspace};

const DISK: &str = "testdata/images/example.raw";

/// Builds what a user runs, and copies a part of a disk with it.
pub(crate) fn run() -> Result<()> {
    let instar = workspace::build_instar()?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("copy.raw");
    let (input, output) = (format!("if={DISK}"), format!("of={}", copy.display()));
    let mut command = Command::new(instar);
    command.args(["dd", &input, &output, "bs=4k", "skip=1", "count=3"]);
    command::run(command.current_dir(workspace::root()))?;

    let disk = fs::read(workspace::root().join(DISK)).context(DISK)?;
    ensure!(fs::read(copy)? == disk[4096..3 * 4096], "the copy is not like that part of the disk");
    Ok(())
}
