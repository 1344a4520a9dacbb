//! What to do to the output files.

use crate::{Error, FileId};

/// One thing to do to an output file.
///
/// Steps that follow a [`SetLen`](Self::SetLen) of their file touch disjoint ranges inside that length, so whoever
/// carries them out may do so in any order and side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Give the file its length in bytes. The first step of every file; the steps after it wait for it.
    SetLen {
        /// The output file.
        file: FileId,
        /// Its length in bytes.
        len: u64,
    },
    /// Copy `len` bytes from one file to another.
    Copy {
        /// The input file.
        src_file: FileId,
        /// The byte offset of the first byte to read.
        src: u64,
        /// The output file.
        file: FileId,
        /// The byte offset of the first byte to write.
        dst: u64,
        /// How many bytes.
        len: u64,
    },
    /// Write `len` zeros: their blocks are allocated, not left as a hole.
    Zero {
        /// The output file.
        file: FileId,
        /// The byte offset of the first byte to write.
        dst: u64,
        /// How many bytes.
        len: u64,
    },
}

/// Whoever takes the steps of a plan: it carries them out, prints them, or counts them.
pub trait StepSink {
    /// Takes the next step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the step cannot be taken.
    fn step(&self, step: Step) -> Result<(), Error>;
}
