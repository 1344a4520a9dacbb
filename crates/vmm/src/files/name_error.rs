//! Why a file was not opened that an image names.

use core::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::FileErrorKind;
use super::naming::{MAX_DEPTH, MAX_FILES};
use crate::shown::shown;

/// A file that an image names, and that was not opened.
#[derive(Debug, Error)]
#[error("'{}' names '{}'{kind}", shown(image), shown(name))]
#[non_exhaustive]
pub struct NameError {
    /// The image, as the user or another image named it.
    pub image: PathBuf,
    /// The name in it. It may hold anything: to be escaped before it is shown.
    pub name: String,
    /// Why the file was not opened.
    pub kind: NameErrorKind,
}

/// Why a file was not opened that an image names.
#[derive(Debug)]
#[non_exhaustive]
pub enum NameErrorKind {
    /// The name is empty.
    Empty,
    /// There is a zero byte in it.
    Nul,
    /// It is longer than [`NAME_LEN`](guest_abi::exchange::NAME_LEN).
    TooLong,
    /// It begins with a protocol.
    Protocol,
    /// It leads out of the image's directory, and not into one that the user allowed; or to a device, and the user
    /// allowed no directory that this is in. Whether there is anything is not known.
    NotAllowed,
    /// The image is itself at the end of a chain of [`MAX_DEPTH`] names.
    TooDeep,
    /// The file is the image itself, or one by whose names the image was found.
    Cycle,
    /// The command has [`MAX_FILES`] files already.
    TooMany,
    /// The system cannot look a name up so that it stays beneath a directory.
    Unsupported,
    /// There is no file, or one that cannot be used, at an allowed place.
    File(FileErrorKind),
}

impl NameError {
    pub(super) fn new(image: &Path, name: &[u8], kind: NameErrorKind) -> Self {
        Self { image: image.to_owned(), name: String::from_utf8_lossy(name).into_owned(), kind }
    }
}

impl fmt::Display for NameErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty | Self::Nul => f.write_str(", which is not the name of a file"),
            Self::TooLong => f.write_str(", which is too long for the name of a file"),
            Self::Protocol => f.write_str(", which is not the plain path of a file"),
            Self::NotAllowed => f.write_str(", which is not a file in its directory"),
            Self::TooDeep => write!(f, ", and is itself the last of {MAX_DEPTH} that name each other"),
            Self::Cycle => f.write_str(", which leads back to itself"),
            Self::TooMany => write!(f, ", and there are {MAX_FILES} files already"),
            Self::Unsupported => f.write_str(
                ", which cannot be opened safely: this system does not have openat2 (Linux 5.6 does)",
            ),
            Self::File(kind) => write!(f, ": {kind}"),
        }
    }
}

impl From<FileErrorKind> for NameErrorKind {
    fn from(kind: FileErrorKind) -> Self {
        Self::File(kind)
    }
}
