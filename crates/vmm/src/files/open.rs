//! Opening what a path leads to.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::error::FileErrorKind;
use super::kind::Nature;

/// Opens `path` with these options and flags, if it is something that a command can work with.
///
/// A FIFO with nobody at its other end does not hold up the command, although it may be there only since the path was
/// looked at. Reading and writing block, as usual.
pub(super) fn open(
    path: &Path,
    options: &mut OpenOptions,
    flags: OFlag,
) -> Result<(File, Nature), FileErrorKind> {
    let file = options.custom_flags((flags | OFlag::O_NONBLOCK).bits()).open(path)?;
    let nature = Nature::of(&file.metadata()?)?;
    let_wait(&file)?;
    Ok((file, nature))
}

/// Lets reading and writing `file` wait, whatever opening it was allowed to.
pub(super) fn let_wait(file: &File) -> Result<(), FileErrorKind> {
    fcntl(file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(())
}
