//! Which sandbox the user wants guests to run in.

use std::ffi::OsString;

use clap::ValueEnum;
use vmm::kvm::KvmError;
use vmm::{Choice, Sandboxes};

use crate::console;
use crate::failure::Failure;

/// The variable by which an administrator chooses.
const VARIABLE: &str = "INSTAR_SANDBOX";

/// A choice, as it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Wanted {
    /// A virtual machine where KVM works, otherwise a process
    Auto,
    /// A virtual machine
    Kvm,
    /// A process without files, privileges or system calls
    Process,
}

impl From<Wanted> for Choice {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Auto => Self::Auto,
            Wanted::Kvm => Self::Kvm,
            Wanted::Process => Self::Process,
        }
    }
}

/// What the option and the environment want together.
pub(crate) fn of(option: Wanted) -> Result<Sandboxes, Failure> {
    let administrator = std::env::var_os(VARIABLE).map_or(Ok(Choice::Auto), parse)?;
    Ok(Sandboxes::new(administrator.and(option.into()), tell))
}

fn parse(value: OsString) -> Result<Choice, Failure> {
    let wanted = value.to_str().and_then(|value| Wanted::from_str(value, false).ok());
    wanted.map(Choice::from).ok_or(Failure::UnknownSandbox(VARIABLE, value))
}

fn tell(error: &KvmError) {
    console::say(&format!("{error}; images are read in a process instead"));
}
