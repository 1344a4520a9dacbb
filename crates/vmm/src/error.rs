//! Every way a command can end other than well.

use core::fmt;
use std::path::PathBuf;

use crate::exec::ExecError;
use crate::kvm::KvmError;
use crate::process::ProcessError;
use crate::ring::FailureKind;
use crate::sandbox::GuestFault;
use crate::shown::shown;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no virtual machine to run a guest in.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// There is no process to run a guest in.
    #[error(transparent)]
    Process(ProcessError),
    /// The guest found that a file is not what it would have to be.
    #[error(transparent)]
    Image(#[from] ImageFailure),
    /// The guest is not to be trusted any more.
    #[error("{}", stopped(.0))]
    Guest(#[from] GuestFault),
    /// What the guest asked for was not, or not all, done.
    #[error(transparent)]
    Exec(ExecError),
}

impl From<ExecError> for Error {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Decoding(error) => *error,
            error => Self::Exec(error),
        }
    }
}

impl From<ProcessError> for Error {
    fn from(error: ProcessError) -> Self {
        match error {
            // The user has lost patience, and it is nobody's fault.
            ProcessError::Ended(GuestFault::Interrupted) => Self::Guest(GuestFault::Interrupted),
            error => Self::Process(error),
        }
    }
}

/// Why a guest is not to be trusted. That the user has lost patience says nothing about it.
fn stopped(fault: &GuestFault) -> String {
    match fault {
        GuestFault::Interrupted => fault.to_string(),
        fault => format!("the guest was stopped: {fault}"),
    }
}

/// A command that failed, and what it leaves behind.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why it failed.
    #[source]
    pub error: Error,
    /// The outputs that are neither what they were nor what they were to be.
    pub incomplete: Vec<PathBuf>,
}

/// What a guest found wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFailure {
    /// What is wrong.
    pub kind: FailureKind,
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Whether the file is read, not written.
    pub is_input: bool,
    /// The byte offset of the structure at fault.
    pub at: u64,
    /// What it is about: the guest's words, harmless for a terminal.
    pub what: String,
}

impl fmt::Display for ImageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, is_input, at, what, .. } = self;
        let file = shown(&self.file);
        match kind {
            FailureKind::NotThisFormat => write!(f, "'{file}' is not a {what} image"),
            FailureKind::UnsupportedFormat if *is_input => {
                write!(f, "cannot read '{file}': the {what} format is not supported")
            }
            FailureKind::UnsupportedFormat => {
                write!(f, "cannot write '{file}': the {what} format is not supported")
            }
            FailureKind::UnsupportedFeature if !is_input => {
                write!(f, "cannot write '{file}': {what} is not supported")
            }
            FailureKind::UnsupportedFeature => {
                write!(f, "'{file}' uses {what}, which is not supported (byte {at})")
            }
            FailureKind::Corrupt => write!(f, "'{file}' is corrupt at byte {at}: {what}"),
            FailureKind::WrongParent => {
                write!(
                    f,
                    "'{file}' is not the parent that the image on it was made for: its {what} is another"
                )
            }
            FailureKind::NotFound => write!(f, "'{file}' has no such {what}"),
            FailureKind::TooLarge => write!(f, "'{file}': {what} is too large (byte {at})"),
            FailureKind::Io => write!(f, "'{file}': {what} (byte {at})"),
            FailureKind::BadRequest => write!(f, "the guest did not understand its request: {what}"),
        }
    }
}

impl core::error::Error for ImageFailure {}
