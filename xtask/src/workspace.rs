//! Where things are, and cargo to make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    guest_build::workspace_root()
}

/// The directory that everything built goes to.
pub(crate) fn target_dir() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that runs this program, at the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Builds what a user runs, and returns where it is.
pub(crate) fn build_instar() -> Result<PathBuf> {
    command::run(&mut cargo(&["build", "--release"]))?;
    Ok(target_dir().join("release/instar"))
}
