//! Other programs.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Shows `command`, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("`{shown}` cannot be started"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

/// Fails if `command`, which does nothing but answer, cannot be run.
pub(crate) fn require(command: &mut Command) -> Result<()> {
    let runs = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        bail!("`{}` does not run: is it installed?", shown(command));
    }
    Ok(())
}

/// The command as a person would type it, names of directories left out.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let mut words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    if let Some((_, name)) = words[0].rsplit_once('/') {
        words[0] = name.to_owned().into();
    }
    words.join(" ")
}
