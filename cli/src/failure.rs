//! Why a command failed, in words that say what to do.

use core::fmt;
use std::ffi::OsString;
use std::path::PathBuf;

use fmt_core::Format;
use vmm::exec::ExecError;
use vmm::files::{Conflict, FileError, FileErrorKind, NameErrorKind};
use vmm::kvm::KvmError;
use vmm::{Error, Failed, FailureKind, GuestFault, shown};

use crate::filename::DescriptionError;
use crate::output_options::OptionError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An operand that the command does not have.
    UnknownOperand(OsString),
    /// A number that is none: the name of the operand, option or variable, and its value.
    NotANumber(&'static str, OsString),
    /// A number that an operand does not allow: the operand's name, and what it does.
    OutOfRange { operand: &'static str, min: u64, max: u64 },
    /// An environment variable that is no time: its name, and its value.
    NotASecond(&'static str, OsString),
    /// An environment variable that names no sandbox: its name, and its value.
    UnknownSandbox(&'static str, OsString),
    /// A required operand is not there.
    Missing(&'static str),
    /// A number of bytes that is not one of whole sectors: the option, and its value.
    NotSectors(&'static str, OsString),
    /// A way to cache that there is not: the option, and its value.
    UnknownCache(&'static str, OsString),
    /// What names no snapshot.
    NotASnapshot(OsString),
    /// An image that has no such snapshot.
    NoSnapshot(PathBuf, OsString),
    /// There is no input, or no output.
    NoFiles,
    /// Options that do not go together, or not with the files.
    Contradiction(&'static str),
    /// An option that `qemu-img` has and instar has not: its name, and why.
    NotSupported(&'static str, &'static str),
    /// An option of the output's format that cannot be followed.
    Option(OptionError),
    /// The backing file of the output cannot be one.
    NoBacking(FileError),
    /// What the options say does not fit a request.
    TooLong,
    /// There is no format of that name.
    UnknownFormat(OsString),
    /// The name of a file that names a protocol, and that protocol.
    Protocol(OsString, OsString),
    /// An input that is described by options, which cannot be followed.
    Description(DescriptionError),
    /// `--object` was given.
    Object,
    /// A file cannot be used. Nothing was touched.
    File(FileError),
    /// The command was begun and failed.
    Run(Failed),
}

impl From<DescriptionError> for Failure {
    fn from(error: DescriptionError) -> Self {
        Self::Description(error)
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::Option(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Run(failed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperand(name) => write!(f, "unrecognized operand '{}'", shown(name))?,
            Self::NotANumber(operand, value) => {
                write!(f, "invalid {operand}: '{}' is not a number", shown(value))?;
            }
            Self::OutOfRange { operand, min, max } => {
                write!(f, "invalid {operand}: it must be between {min} and {max}")?;
            }
            Self::NotASecond(name, value) => {
                write!(f, "invalid {name}: '{}' is not a number of seconds", shown(value))?;
            }
            Self::UnknownSandbox(name, value) => {
                write!(f, "invalid {name}: '{}' is not a sandbox", shown(value))?;
            }
            Self::Missing(operand) => {
                write!(f, "no {operand}= was given: both an input and an output are needed")?;
            }
            Self::NotSectors(option, value) => {
                write!(f, "invalid {option}: '{}' is not a multiple of 512", shown(value))?;
            }
            Self::UnknownCache(option, value) => {
                write!(f, "invalid {option}: '{}' is not a way to cache", shown(value))?;
            }
            Self::NotASnapshot(text) => write!(f, "invalid -l: '{}' names no snapshot", shown(text))?,
            Self::NoSnapshot(image, snapshot) => {
                write!(f, "'{}' has no snapshot '{}'", shown(image), shown(snapshot))?;
            }
            Self::NoFiles => f.write_str("both an input and an output are needed")?,
            Self::Contradiction(what) => write!(f, "this cannot be done: {what}")?,
            Self::NotSupported(option, why) => write!(f, "{option} is not supported: {why}")?,
            Self::Option(error) => write!(f, "{error}")?,
            Self::NoBacking(error) => write!(f, "the backing file cannot be used: {error}")?,
            Self::TooLong => f.write_str("the options of the output, and the names among them, are too long")?,
            Self::UnknownFormat(name) => write!(f, "unknown format '{}'", shown(name))?,
            Self::Protocol(protocol, _) => {
                write!(f, "unknown protocol '{}': instar reads and writes files only", shown(protocol))?;
            }
            Self::Description(error) => write!(f, "{error}")?,
            // Not what it was given: that may be a passphrase.
            Self::Object => f.write_str(
                "--object is not supported: what it defines (secrets, threads, throttles) is for drivers that instar \
                 does not have",
            )?,
            Self::File(error) => write!(f, "{error}")?,
            Self::Run(failed) => {
                write!(f, "{}", failed.error)?;
                for path in &failed.incomplete {
                    write!(f, "\n  '{}' is incomplete", shown(path))?;
                }
            }
        }
        match self.hint() {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// What the user can do.
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownOperand(_) | Self::Missing(_) => {
                Some("instar dd --help lists the operands".to_owned())
            }
            Self::NotANumber(..) => Some(
                "numbers are like 512, 0x200, 64k or 1.5M; the suffixes are b, k, M, G, T, P, E".to_owned(),
            ),
            Self::UnknownCache(..) => Some(
                "the ways are none, off, writeback, writethrough, directsync and unsafe".to_owned(),
            ),
            Self::NotASnapshot(_) => Some(
                "a snapshot has an ID and a name: either of them, or snapshot.id=ID,snapshot.name=NAME".to_owned(),
            ),
            Self::NoSnapshot(..) => Some(
                "a snapshot is found by its ID or its name, and in qcow2 images only".to_owned(),
            ),
            Self::NoFiles => Some("instar convert INPUT [INPUT...] OUTPUT".to_owned()),
            Self::Option(error) => error.hint(),
            Self::NoBacking(error) => backing_hint(&error.kind).map(ToOwned::to_owned),
            Self::OutOfRange { .. }
            | Self::NotASecond(..)
            | Self::NotSectors(..)
            | Self::Contradiction(_)
            | Self::NotSupported(..)
            | Self::TooLong => None,
            Self::Description(error) => error.hint().map(ToOwned::to_owned),
            Self::Object => Some(
                "a passphrase on a command line can be read by every user of the machine, and is kept in histories"
                    .to_owned(),
            ),
            Self::UnknownSandbox(..) => Some("the sandboxes are auto, kvm and process".to_owned()),
            Self::UnknownFormat(_) => {
                let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
                Some(format!("the formats are {}", names.join(", ")))
            }
            Self::Protocol(_, name) => Some(format!("a file of that name is ./{}", shown(name))),
            Self::File(error) => file_hint(&error.kind).map(ToOwned::to_owned),
            Self::Run(failed) => run_hint(&failed.error),
        }
    }
}

fn backing_hint(kind: &FileErrorKind) -> Option<&'static str> {
    match kind {
        FileErrorKind::Io(_) => Some("a name that is relative begins at the directory of the output"),
        FileErrorKind::Locked(_) => {
            Some("-U takes it all the same; what is written to it then shows in the output, too")
        }
        _ => None,
    }
}

fn file_hint(kind: &FileErrorKind) -> Option<&'static str> {
    match kind {
        FileErrorKind::Locked(Conflict::Writer) => {
            Some("-U reads it all the same; what is copied may then be of different moments")
        }
        FileErrorKind::TooLarge { .. } => Some(
            "if it is to be that large, say so: --max-output SIZE, and INSTAR_MAX_OUTPUT in the environment, of which the \
             smaller one counts",
        ),
        FileErrorKind::TooMany { .. } => Some("allow more (ulimit -n), or choose a subformat of fewer files"),
        FileErrorKind::NoRoom { .. } => Some("write it elsewhere, or copy less of the disk"),
        FileErrorKind::Locked(_) => Some("wait for the other process, or end it"),
        _ => None,
    }
}

fn name_hint(kind: &NameErrorKind) -> Option<&'static str> {
    match kind {
        NameErrorKind::NotAllowed => Some("--allow-path DIR lets images name the files beneath DIR"),
        NameErrorKind::File(kind) => file_hint(kind),
        _ => None,
    }
}

fn run_hint(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Kvm(KvmError::Missing) => {
            "load the module (modprobe kvm_intel or kvm_amd), enable virtualization in the machine's firmware, or pass \
             the device into the container (--device /dev/kvm)"
        }
        Error::Kvm(KvmError::Forbidden) => {
            "let this user in (sudo usermod -aG kvm \"$USER\", then log in again), or pass the device into the \
             container with its permissions"
        }
        Error::Process(_) => {
            "images are read in a sandbox or not at all: this one needs Linux 5.9, seccomp filters, and programs that run \
             from memory (sysctl vm.memfd_noexec below 2); the other one, --sandbox kvm, needs /dev/kvm"
        }
        Error::Image(failure) if failure.kind == FailureKind::UnsupportedFormat && failure.is_input => {
            "-f raw copies the file's bytes as they are"
        }
        Error::Image(failure) if failure.kind == FailureKind::UnsupportedFormat => {
            "instar writes raw, qcow2, vmdk, vpc and vhdx"
        }
        Error::Image(failure) if failure.kind == FailureKind::WrongParent => {
            "what was made on top of a parent can only be read with that parent as it was then"
        }
        Error::Exec(ExecError::Name(error)) => name_hint(&error.kind)?,
        Error::Exec(ExecError::File(error)) => file_hint(&error.kind)?,
        Error::Guest(GuestFault::Interrupted) => return None,
        Error::Guest(_) | Error::Exec(ExecError::Refused { .. } | ExecError::OutputNeverMade(_)) => {
            "if the image can be shared, please report this"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
