//! Files that are read and written in place.

use std::fs::{self, OpenOptions};
use std::path::Path;

use nix::fcntl::OFlag;

use super::error::{FileError, FileErrorKind, FileOperation};
use super::input::Input;
use super::kind::{FileKind, Nature};
use super::lock::Claim;
use super::open::open;
use super::output::Output;

/// A file that is there, and becomes another one step by step.
#[derive(Debug)]
pub(super) struct InPlace {
    pub(super) input: Input,
    pub(super) output: Output,
    /// It may not be what it was any more.
    pub(super) is_touched: bool,
}

impl InPlace {
    /// Opens the file at `path`, and changes nothing in it.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        Self::try_open(path).map_err(|kind| FileError::new(path, FileOperation::Open, kind))
    }

    fn try_open(path: &Path) -> Result<Self, FileErrorKind> {
        // As for inputs, looking first gives the better message; and a block device must not be anybody else's.
        let found = Nature::of(&fs::metadata(path)?)?;
        let flags = if found.kind == FileKind::BlockDevice { OFlag::O_EXCL } else { OFlag::empty() };
        let (file, nature) = open(path, OpenOptions::new().read(true).write(true), flags)?;
        if nature.is_read_only_device() {
            return Err(FileErrorKind::ReadOnly);
        }
        let input = Input::adopt(path, file.try_clone()?, nature)?;
        let output = Output::adopt(path, file, nature, input.len());
        Ok(Self { input, output, is_touched: false })
    }

    /// Locks it as QEMU locks an image that it writes.
    pub(super) fn lock(&self) -> Result<(), FileErrorKind> {
        self.output.lock(Claim::Edit)
    }
}
