//! One error for all formats: a kind to match on, where it is, and what it is about.

use core::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not an image of the format that was asked for.
    NotThisFormat,
    /// The image's format is known by name, but not read or not written.
    UnsupportedFormat,
    /// The image uses a feature of its format that is not supported.
    UnsupportedFeature,
    /// The image contradicts its format's specification or itself.
    Corrupt,
    /// The image is not the one that another, which stands on it, was made for.
    WrongParent,
    /// The image has nothing of the name that was asked for.
    NotFound,
    /// A size is beyond what the format, or the caller's limits, allow.
    TooLarge,
    /// The bytes could not be read, or the steps not be taken, for a reason outside the image.
    Io,
}

/// An error at a place in an image.
///
/// It borrows nothing and allocates nothing, so it passes through a sandbox's wall unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error {
    /// What kind of thing went wrong.
    pub kind: ErrorKind,
    /// Where: the byte offset in the file that holds the offending structure.
    pub at: u64,
    /// What it is about, for a person: a format's name, a structure, a feature.
    pub what: &'static str,
}

impl Error {
    /// An error of `kind` about `what`, at byte offset `at`.
    #[must_use]
    pub const fn new(kind: ErrorKind, at: u64, what: &'static str) -> Self {
        Self { kind, at, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, at, what } = self;
        match kind {
            ErrorKind::NotThisFormat => write!(f, "not a {what} image"),
            ErrorKind::UnsupportedFormat => write!(f, "the {what} format is not supported"),
            ErrorKind::UnsupportedFeature => write!(f, "unsupported: {what} (at byte {at})"),
            ErrorKind::Corrupt => write!(f, "corrupt image: {what} (at byte {at})"),
            ErrorKind::WrongParent => {
                write!(f, "not the parent that the image on it was made for: its {what} is another")
            }
            ErrorKind::NotFound => write!(f, "no such {what}"),
            ErrorKind::TooLarge => write!(f, "too large: {what} (at byte {at})"),
            ErrorKind::Io => write!(f, "{what} (at byte {at})"),
        }
    }
}

impl core::error::Error for Error {}
