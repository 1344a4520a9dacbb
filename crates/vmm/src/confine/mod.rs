//! The host's own process gives up what it does not need.
//!
//! What a guest says is checked. Should there be a mistake in the checks, this is what is left to whoever finds it: a
//! process that can read and write the files that it has open, and nothing else.
//!
//! | when | what goes |
//! |---|---|
//! | [at the start](at_start) | new privileges through programs with the set-user-ID bit; memory dumps; other processes looking in |
//! | [when all files are open](enter) | capabilities; every path (Landlock, where the kernel has it); every system call but [a few](ALLOWED) |

mod syscalls;

use std::io;

use caps::{CapSet, errors::CapsError};
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

pub use self::syscalls::{ALLOWED, Allowed, Arguments, Pattern};

/// Why the process could not be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The kernel did not take away what was offered.
    #[error("this process cannot be confined: {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Capabilities stayed.
    #[error("this process cannot be confined: dropping capabilities: {0}")]
    Capabilities(#[from] CapsError),
    /// The kernel has Landlock, and refused the rules.
    #[error("this process cannot be confined: Landlock: {0}")]
    Landlock(#[from] RulesetError),
    /// There is no filter for system calls.
    #[error("this process cannot be confined: seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// What no command needs, from the first moment on. To be called before anything is opened.
///
/// # Errors
///
/// When the kernel refuses.
pub fn at_start() -> Result<(), ConfineError> {
    prctl::set_no_new_privs().map_err(kernel("giving up new privileges"))?;
    // Guests' memory and images' content do not belong into a file in some directory.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(kernel("turning memory dumps off"))?;
    prctl::set_dumpable(false).map_err(kernel("keeping other processes out"))
}

/// Confines the process to the files that it has open. It can be entered once.
///
/// The filter holds for all threads, Landlock and the loss of capabilities for the one that calls and those that it starts.
/// So there must be no others yet: the executor starts its own when there is something to write, which is later.
///
/// # Errors
///
/// When the kernel has no seccomp, or refuses.
pub fn enter() -> Result<(), ConfineError> {
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set)?;
    }
    give_up_paths()?;
    seccompiler::apply_filter_all_threads(&only_threads_by_clone()?)?;
    seccompiler::apply_filter_all_threads(&only_allowed()?)?;
    Ok(())
}

/// No path can be opened, made or removed, whatever the system call. Kernels without Landlock have the filter alone.
fn give_up_paths() -> Result<(), RulesetError> {
    let everything = AccessFs::from_all(ABI::V5);
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(everything)?;
    rules.create()?.restrict_self().map(drop)
}

/// The system calls in [`ALLOWED`]; the others fail with `EPERM`.
fn only_allowed() -> Result<BpfProgram, seccompiler::Error> {
    let denied = SeccompAction::Errno(nix::libc::EPERM.unsigned_abs());
    let rules = syscalls::rules()?;
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// A filter cannot look at the arguments of `clone3`, which lie in memory. Where it is said not to exist, the C library
/// takes `clone`, whose arguments tell a thread from a process.
fn only_threads_by_clone() -> Result<BpfProgram, seccompiler::Error> {
    let missing = SeccompAction::Errno(nix::libc::ENOSYS.unsigned_abs());
    let clone3 = [(nix::libc::SYS_clone3, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(clone3, SeccompAction::Allow, missing, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

fn kernel(doing: &'static str) -> impl FnOnce(nix::Error) -> ConfineError {
    move |error| ConfineError::Kernel { doing, source: error.into() }
}
