//! The tests.

use anyhow::Result;

use crate::{command, workspace};

pub(crate) fn run(args: &[&str]) -> Result<()> {
    command::run(workspace::cargo(&["test", "--workspace"]).args(args))
}
