//! What failed, on which file, at which byte.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::kind::FileKind;
use crate::shown::shown;

/// Something that could not be done with a file.
#[derive(Debug, Error)]
#[error("{operation} '{}'{}: {kind}", shown(path), AtByte(*offset))]
#[non_exhaustive]
pub struct FileError {
    /// The file, as the user or an image named it.
    pub path: PathBuf,
    /// What was being done.
    pub operation: FileOperation,
    /// The byte of the file at which it failed, if it was at one.
    pub offset: Option<u64>,
    /// Why it failed.
    pub kind: FileErrorKind,
}

/// What was being done with a file when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileOperation {
    /// Opening it, or finding out about it, to read it.
    Open,
    /// Creating or opening it, or finding out whether that is possible, to write it.
    Create,
    /// Giving it its length.
    Resize,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Waiting until all that was written is on the medium.
    Sync,
}

/// Why it failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The operating system refused.
    #[error("{}", reason(.0))]
    Io(io::Error),
    /// A file of this kind holds no disk image.
    #[error("it is {0}")]
    Unusable(FileKind),
    /// Nobody may write to the device.
    #[error("it is a device that cannot be written")]
    ReadOnly,
    /// It is a symbolic link, at a name that the user did not give.
    #[error("it is a symbolic link, which is followed only where the command line names it")]
    Link,
    /// The path is empty.
    #[error("the name is empty")]
    NoName,
    /// It is to be written, but is also read, or written as something else.
    #[error("it is the same file as '{}'", shown(other))]
    SameFile {
        /// The other name of the file.
        other: PathBuf,
    },
    /// Another process has it open as an image, and says so by a lock.
    #[error("{0}")]
    Locked(Conflict),
    /// The device is shorter than what is to be written to it.
    #[error("cannot grow a device of {device_len} bytes to {needed}")]
    CannotGrow {
        /// The device's length in bytes.
        device_len: u64,
        /// The length needed, in bytes.
        needed: u64,
    },
    /// The output would be larger than the user wants any to be.
    #[error("it would have {len} bytes, and no output may have more than {allowed}")]
    TooLarge {
        /// The length that it would have, in bytes: all files that are written together.
        len: u64,
        /// The length that it may have, in bytes.
        allowed: u64,
    },
    /// The output consists of more files than this process may have open.
    #[error("this process may have {allowed} files open, and the output consists of too many")]
    TooMany {
        /// How many it may have.
        allowed: u64,
    },
    /// The file system has less room than the output would take.
    #[error("it would have {len} bytes, and the file system has room for {room}")]
    NoRoom {
        /// The length that it would have, in bytes.
        len: u64,
        /// What is free, and what would become free, in bytes.
        room: u64,
    },
    /// It is to be written in place, and is too short for that.
    #[error("it has {len} bytes, and {needed} are needed")]
    TooShort {
        /// Its length in bytes.
        len: u64,
        /// The length needed, in bytes.
        needed: u64,
    },
    /// The file became shorter while it was read.
    #[error("it ends at byte {len}, it was {opened_len} bytes long when it was opened")]
    Shrunk {
        /// Where it ends, in bytes.
        len: u64,
        /// Its length when it was opened, in bytes.
        opened_len: u64,
    },
}

/// What another process does that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// It may write to the input.
    #[error("another process is writing to it")]
    Writer,
    /// It does not let anybody read the input.
    #[error("another process keeps it from being read")]
    NoReaders,
    /// It reads or writes the output, or wants nobody else to write to it.
    #[error("another process is using it")]
    User,
}

impl FileError {
    pub(super) fn new(path: &Path, operation: FileOperation, kind: impl Into<FileErrorKind>) -> Self {
        Self { path: path.to_owned(), operation, offset: None, kind: kind.into() }
    }

    pub(super) fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }
}

impl From<io::Error> for FileErrorKind {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for FileErrorKind {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Create => "creating",
            Self::Resize => "resizing",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "syncing",
        })
    }
}

struct AtByte(Option<u64>);

impl fmt::Display for AtByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |offset| write!(f, " at byte {offset}"))
    }
}

/// The reason without the number that [`io::Error`] puts behind it.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_owned())
}
