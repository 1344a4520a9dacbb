//! The tests.

use anyhow::Result;

use crate::{command, workspace};

pub(crate) fn run(args: &[&str]) -> Result<()> {
    command::run(workspace::cargo(&["test", "--workspace"]).args(args))
}

/// Those of whole commands again, in the sandbox that is not the default where KVM works. The tests of the sandboxes
/// themselves use both.
pub(crate) fn in_processes() -> Result<()> {
    command::run(workspace::cargo(&["test", "--package", "instar"]).env("INSTAR_SANDBOX", "process"))
}
