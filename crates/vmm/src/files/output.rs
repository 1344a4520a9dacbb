//! Files that are written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::libc::off_t;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs, statfs};
use vm_memory::VolatileSlice;

use super::direct;
use super::error::{FileError, FileErrorKind, FileOperation};
use super::input::end_of;
use super::kind::{FileKind, Nature};
use super::lock::{Claim, claim};
use super::naming::parent;
use super::open::open;
use crate::shown::shown;

/// The unit that `st_blocks` counts in, in bytes.
const STAT_BLOCK: u64 = 512;

/// A file that is to be written.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has been done to it. What was at the path, if anything.
    Found(Option<Nature>),
    /// It is this command's.
    Made(Opened),
}

/// An output that has been opened, and not been changed yet.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    pub(super) nature: Nature,
}

impl Output {
    /// Looks at what is at `path`.
    pub(super) fn find(path: &Path) -> Result<Self, FileError> {
        match find(path) {
            Ok(found) => Ok(Self { path: path.to_owned(), state: State::Found(found) }),
            Err(kind) => Err(FileError::new(path, FileOperation::Create, kind)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is at the path, if anything.
    pub(super) fn nature(&self) -> Option<Nature> {
        match &self.state {
            State::Found(found) => *found,
            State::Made(opened) => Some(opened.nature),
        }
    }

    fn is_a(&self, kind: FileKind) -> bool {
        self.nature().is_some_and(|nature| nature.kind == kind)
    }

    pub(crate) fn is_made(&self) -> bool {
        matches!(self.state, State::Made(_))
    }

    /// Refuses `len` bytes where the file system has certainly no room for them: writing all that an image claims to be
    /// would leave none for anybody else before it failed.
    pub(super) fn refuse_without_room(&self, len: u64) -> Result<(), FileError> {
        let place = match self.nature() {
            None => parent(&self.path),
            Some(nature) if nature.kind == FileKind::Regular => &self.path,
            Some(_) => return Ok(()),
        };
        match room(place) {
            Some(room) if room < len => {
                Err(self.failed(FileOperation::Create, FileErrorKind::NoRoom { len, room }))
            }
            _ => Ok(()),
        }
    }

    /// Opens the file, creating it if it is not there, and changes nothing in it.
    ///
    /// A block device is opened exclusively, which fails if it is mounted, part of a volume, or otherwise in use by
    /// the system: `qemu-img` would write under a mounted file system's feet.
    pub(super) fn open(&self) -> Result<Opened, FileError> {
        self.try_open().map_err(|kind| self.failed(FileOperation::Create, kind))
    }

    fn try_open(&self) -> Result<Opened, FileErrorKind> {
        let is_block_device = self.is_a(FileKind::BlockDevice);
        let flags = if is_block_device { OFlag::O_EXCL } else { OFlag::empty() };
        let mut options = OpenOptions::new();
        // A lock that others can share takes a file that can be read.
        options.read(true).write(true).create(!is_block_device).truncate(false).mode(0o644);
        let (file, nature) = open(&self.path, &mut options, flags)?;
        Ok(Opened { file, nature })
    }

    /// Takes over what was opened here, and gives it `len` bytes. A regular file loses what was in it. What somebody else
    /// uses is refused before.
    pub(super) fn make(&mut self, opened: Opened, len: u64) -> Result<(), FileError> {
        let locked = claim(&opened.file, opened.nature, Claim::Write);
        locked.map_err(|kind| self.failed(FileOperation::Create, kind))?;
        opened.fit(len).map_err(|kind| self.not_sized(kind))?;
        self.state = State::Made(opened);
        let opened = self.opened();
        if opened.nature.kind == FileKind::Regular {
            allocate(&opened.file, len).map_err(|error| self.not_sized(error.into()))?;
        }
        Ok(())
    }

    /// Gives it `len` bytes once more.
    ///
    /// # Errors
    ///
    /// When that fails, or the device is too short.
    ///
    /// # Panics
    ///
    /// If the output has not been made.
    pub(super) fn resize(&self, len: u64) -> Result<(), FileError> {
        let opened = self.opened();
        opened.fit(len).and_then(|()| opened.truncate(len)).map_err(|kind| self.not_sized(kind))
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// When writing fails; the error names the first byte that could not be written.
    ///
    /// # Panics
    ///
    /// If the output has not been made.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let file = self.file();
        self.write_all(bytes.len(), offset, |done, at| file.write_at(&bytes[done..], at))
    }

    /// Writes all of a guest's `memory` at `offset`.
    ///
    /// # Errors
    ///
    /// As [`write_all_at`](Self::write_all_at).
    ///
    /// # Panics
    ///
    /// If the output has not been made.
    pub(crate) fn write_all_from(&self, memory: &VolatileSlice<'_>, offset: u64) -> Result<(), FileError> {
        let file = self.file();
        self.write_all(memory.len(), offset, |done, at| {
            let rest = memory.offset(done).map_err(io::Error::other)?;
            direct::write_at(file, &rest, at)
        })
    }

    /// Writes `len` bytes at `offset`: `write` is told how many have been written, and where the others go.
    fn write_all(
        &self,
        len: usize,
        offset: u64,
        mut write: impl FnMut(usize, u64) -> io::Result<usize>,
    ) -> Result<(), FileError> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            match write(done, at) {
                Ok(0) => return Err(self.not_written(io::ErrorKind::WriteZero.into(), at)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.not_written(error, at)),
            }
        }
        Ok(())
    }

    /// Waits until everything is on the medium. Errors of delayed writing show here at the latest.
    ///
    /// # Errors
    ///
    /// When syncing fails.
    ///
    /// # Panics
    ///
    /// If the output has not been made.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        let synced = self.file().sync_data();
        let cannot = |error: &io::Error| error.raw_os_error().map(Errno::from_raw) == Some(Errno::EINVAL);
        match synced {
            // Most character devices have nothing to sync.
            Err(error) if self.is_a(FileKind::CharacterDevice) && cannot(&error) => Ok(()),
            synced => synced.map_err(|error| self.failed(FileOperation::Sync, error)),
        }
    }

    fn file(&self) -> &File {
        &self.opened().file
    }

    fn opened(&self) -> &Opened {
        match &self.state {
            State::Made(opened) => opened,
            State::Found(_) => panic!("'{}' has not been made", shown(&self.path)),
        }
    }

    fn not_sized(&self, kind: FileErrorKind) -> FileError {
        self.failed(FileOperation::Resize, kind)
    }

    fn not_written(&self, error: io::Error, offset: u64) -> FileError {
        self.failed(FileOperation::Write, error).at(offset)
    }

    fn failed(&self, operation: FileOperation, kind: impl Into<FileErrorKind>) -> FileError {
        FileError::new(&self.path, operation, kind)
    }
}

impl Opened {
    /// Whether `needed` bytes fit on the device, if it is one.
    fn fit(&self, needed: u64) -> Result<(), FileErrorKind> {
        let device_len = match self.nature.kind {
            FileKind::Regular => return Ok(()),
            FileKind::BlockDevice => end_of(&self.file)?,
            _ => 0,
        };
        if needed <= device_len { Ok(()) } else { Err(FileErrorKind::CannotGrow { device_len, needed }) }
    }

    /// Makes a regular file `len` bytes long; devices cannot be.
    fn truncate(&self, len: u64) -> Result<(), FileErrorKind> {
        if self.nature.kind == FileKind::Regular {
            self.file.set_len(len)?;
        }
        Ok(())
    }
}

/// Empties `file` and gives it `len` bytes and, where that is worth it, the room for them.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    file.set_len(0)?;
    let room = off_t::try_from(len).map_err(|_| Errno::EFBIG)?;
    let reserved =
        is_worth_reserving(file, len)? && fallocate(file, FallocateFlags::empty(), 0, room).is_ok();
    // Without a reservation, which not every file system makes and a signal ends, writing finds out about the room.
    if reserved { Ok(()) } else { file.set_len(len) }
}

/// Whether to ask the file system for the room of `len` bytes before they are written.
///
/// On a disk that makes writing faster; in memory it only does the same work earlier, without a second thread. And asking
/// for more than there is would leave none for anybody else until the answer comes.
fn is_worth_reserving(file: &File, len: u64) -> io::Result<bool> {
    let system = fstatfs(file)?;
    let free = system.blocks_available().saturating_mul(system.block_size().unsigned_abs());
    Ok(system.filesystem_type() != TMPFS_MAGIC && free >= len)
}

/// The bytes that there is room for at `path`, a file or the directory that one is to be made in, if they are known: what is
/// free, and what is taken by the file, which will be emptied. On file systems that compress, zeros take no room.
fn room(path: &Path) -> Option<u64> {
    let system = statfs(path).ok()?;
    let counts = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&system.filesystem_type());
    // One in memory may have no bound, and says that it has no blocks.
    if !counts || system.blocks() == 0 {
        return None;
    }
    let free = system.blocks_free().saturating_mul(system.block_size().unsigned_abs());
    let found = fs::metadata(path).ok()?;
    let taken = if found.is_file() { found.blocks().saturating_mul(STAT_BLOCK) } else { 0 };
    Some(free.saturating_add(taken))
}

/// What is at `path`, if anything.
fn find(path: &Path) -> Result<Option<Nature>, FileErrorKind> {
    if path.as_os_str().is_empty() {
        return Err(FileErrorKind::NoName);
    }
    match fs::metadata(path) {
        Ok(metadata) => Nature::of(&metadata).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            find_parent(path)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that there is something to create `path` in.
fn find_parent(path: &Path) -> io::Result<()> {
    fs::metadata(parent(path)).map(drop)
}
