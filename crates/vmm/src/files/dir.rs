//! Directories that names found in images may lead into.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;

use super::error::FileErrorKind;
use super::kind::{FileKind, Nature};
use super::naming::climbed;
use super::open::let_wait;

/// How often a lookup is tried again that a renaming elsewhere has disturbed.
const TRIES: usize = 16;

/// A directory, and everything beneath it.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// Absolute paths to it: without symbolic links, and as it was named. They only tell which names are meant to lead
    /// here; where a name really leads is found out from `fd`.
    paths: [PathBuf; 2],
}

/// Why a path leads to no file beneath a directory.
#[derive(Debug)]
pub(super) enum Miss {
    /// It leads out of the directory, or to a device where devices are not meant. Nothing else is known about it.
    Outside,
    /// This system cannot look a path up that is to stay beneath a directory.
    Unsupported,
    /// What is there, beneath the directory, cannot be opened.
    Unusable(FileErrorKind),
}

impl Dir {
    /// The directory at `path`, as the user named it.
    pub(super) fn open(path: &Path) -> Result<Self, FileErrorKind> {
        let fd = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd, paths: [fs::canonicalize(path)?, std::path::absolute(path)?] })
    }

    /// The directory at `rest` beneath this one.
    pub(super) fn subdir(&self, rest: &Path) -> Result<Self, Miss> {
        let fd = self.look_up(rest, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let path = self.paths[0].join(rest);
        let real = fs::canonicalize(&path).map_err(FileErrorKind::from)?;
        Ok(Self { fd, paths: [real, path] })
    }

    /// Its path without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// What comes behind this directory in the absolute `path`, if that leads here.
    pub(super) fn rest_of<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        self.paths.iter().find_map(|dir| path.strip_prefix(dir).ok())
    }

    /// Opens the file at `rest` for reading: a regular one or, where `devices` are meant, a block device.
    ///
    /// Symbolic links and `..` are followed as long as they stay beneath this directory.
    pub(super) fn open_file(&self, rest: &Path, devices: bool) -> Result<(File, Nature), Miss> {
        // To open a FIFO or a device is to do something with it: looking comes first.
        let looked_at = File::from(self.look_up(rest, OFlag::O_PATH)?);
        nature(&looked_at, devices)?;
        let file = File::from(self.look_up(rest, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let nature = nature(&file, devices)?;
        let_wait(&file)?;
        Ok((file, nature))
    }

    /// The absolute path that `rest` comes to when the first symbolic link in it is replaced by where that leads; nothing
    /// where there is none, or `rest` leaves this directory before it. Like all paths, it only tells what is meant.
    pub(super) fn through_first_link(&self, rest: &Path) -> Option<PathBuf> {
        let mut seen = PathBuf::new();
        let mut unseen = rest.components();
        while let Some(component) = unseen.next() {
            match component {
                Component::Normal(name) => {
                    let path = seen.join(name);
                    if let Some(target) = self.link(&path) {
                        return Some(climbed(&self.path().join(seen), &target).join(unseen.as_path()));
                    }
                    seen = path;
                }
                Component::ParentDir => seen.pop().then_some(())?,
                _ => {}
            }
        }
        None
    }

    /// What the symbolic link at `rest` says, if there is one.
    fn link(&self, rest: &Path) -> Option<PathBuf> {
        let link = self.look_up(rest, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        readlinkat(&link, "").ok().map(PathBuf::from)
    }

    fn look_up(&self, rest: &Path, flags: OFlag) -> Result<OwnedFd, Miss> {
        let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let disturbed = |result: &Result<_, Errno>| matches!(result, Err(Errno::EAGAIN | Errno::EINTR));
        let mut result = openat2(&self.fd, rest, how);
        for _ in 1..TRIES {
            if !disturbed(&result) {
                break;
            }
            result = openat2(&self.fd, rest, how);
        }
        result.map_err(Miss::from)
    }
}

/// The nature of a file that an image may name.
fn nature(file: &File, devices: bool) -> Result<Nature, Miss> {
    let nature = Nature::of(&file.metadata().map_err(FileErrorKind::from)?)?;
    match nature.kind {
        FileKind::Regular => Ok(nature),
        FileKind::BlockDevice if devices => Ok(nature),
        FileKind::BlockDevice => Err(Miss::Outside),
        kind => Err(Miss::Unusable(FileErrorKind::Unusable(kind))),
    }
}

impl From<Errno> for Miss {
    fn from(errno: Errno) -> Self {
        match errno {
            // Out of the directory; through a link of the kind that `/proc` has, or through too many links.
            Errno::EXDEV | Errno::ELOOP => Self::Outside,
            Errno::ENOSYS => Self::Unsupported,
            errno => Self::Unusable(errno.into()),
        }
    }
}

impl From<FileErrorKind> for Miss {
    fn from(kind: FileErrorKind) -> Self {
        Self::Unusable(kind)
    }
}
