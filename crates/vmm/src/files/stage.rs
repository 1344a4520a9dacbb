//! Memory that is written and read as a file: where bytes wait on their way from inputs to outputs.

use std::fs::File;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::error::{FileError, FileErrorKind, FileOperation};
use super::input::Input;
use super::kind::Nature;
use super::output::Output;

/// A file that has no name and is gone with the command.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) input: Input,
    pub(super) output: Output,
}

/// What messages call it.
const NAME: &str = "the staging area";

impl Stage {
    /// A stage of `len` bytes.
    pub(super) fn new(len: u64) -> Result<Self, FileError> {
        Self::try_new(len).map_err(|kind| FileError::new(Path::new(NAME), FileOperation::Create, kind))
    }

    fn try_new(len: u64) -> Result<Self, FileErrorKind> {
        let file = File::from(memfd_create(c"instar stage", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(len)?;
        let nature = Nature::of(&file.metadata()?)?;
        let output = Output::adopt(Path::new(NAME), file.try_clone()?, nature, len);
        Ok(Self { input: Input::adopt(Path::new(NAME), file, nature)?, output })
    }
}
