//! A command that runs, and the signals that it gets.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A command that has begun.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn begin(command: &mut Command) -> io::Result<Self> {
        command.stderr(Stdio::piped()).spawn().map(Self)
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    ///
    /// When there is nobody to get it.
    pub fn send(&self, signal: i32) -> io::Result<()> {
        let status =
            Command::new("kill").args(["-s", &signal.to_string(), &self.0.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill: {status}"))) }
    }

    /// Whether it has ended.
    ///
    /// # Errors
    ///
    /// When that cannot be told.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        self.0.try_wait().map(|status| status.is_some())
    }

    /// Waits for the end: how it came, and what was said on stderr.
    ///
    /// # Errors
    ///
    /// When that cannot be read as text, or waited for.
    pub fn end(mut self) -> io::Result<(ExitStatus, String)> {
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        Ok((self.0.wait()?, said))
    }
}
