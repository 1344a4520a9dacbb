//! Files that are written.

use core::num::NonZeroU32;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, posix_fallocate};
use nix::libc::off_t;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs, statfs};
use vm_memory::VolatileSlice;

use super::direct;
use super::error::{FileError, FileErrorKind, FileOperation};
use super::input::end_of;
use super::kind::{FileKind, Nature, allocated, is_in_memory};
use super::lock::{Claim, claim};
use super::mapping::Mapping;
use super::naming::parent;
use super::open::open;
use crate::shown::shown;

/// How an output is treated. The default is what `dd` does: it is made anew, and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// Given, zeros are not written to a file that reads as zeros: one that was made anew, or of which
    /// [that is said](Self::is_zero). Zeros between other bytes are left out then where they are so many bytes.
    pub holes: Option<NonZeroU32>,
    /// When the file system is asked for the room.
    pub reserve: Reserve,
    /// Whether what is there is written in place: it is not created, emptied, or made longer.
    pub keeps_content: bool,
    /// Whether what is there reads as zeros, as the user knows.
    pub is_zero: bool,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self { holes: None, reserve: Reserve::IfFaster, keeps_content: false, is_zero: false }
    }
}

/// When the file system is asked for the room of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// As the file is written.
    Never,
    /// At the beginning, where that makes writing faster. A file system that cannot do it is not asked for more.
    IfFaster,
    /// At the beginning. Without all of the room the command fails.
    Always,
}

/// A file that is to be written.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    options: OutputOptions,
    /// The user has named it: it may be a link then.
    is_named: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has been done to it. What was at the path, if anything; and how long it is to be, once that is known.
    Found {
        nature: Option<Nature>,
        len: Option<u64>,
    },
    Open(Opened),
}

/// An output that has been opened.
#[derive(Debug)]
struct Opened {
    file: Arc<File>,
    nature: Nature,
    /// It is made anew, of pages in memory.
    is_in_memory: bool,
    /// The length that it is to have, or has.
    len: u64,
    /// There was nothing when it was looked for.
    is_new: bool,
    /// It is nobody else's.
    is_claimed: bool,
    /// It is this command's, and has its length. Before that it is as it was.
    is_made: bool,
}

impl Output {
    /// Looks at what is at `path`.
    pub(super) fn find(path: &Path, options: OutputOptions) -> Result<Self, FileError> {
        let found = if options.keeps_content { look_at(path).map(Some) } else { find(path) };
        match found {
            Ok(nature) => {
                let state = State::Found { nature, len: None };
                Ok(Self { path: path.to_owned(), options, is_named: true, state })
            }
            Err(kind) => Err(FileError::new(path, FileOperation::Create, kind)),
        }
    }

    /// Looks at what is at `path`, which the user has not named: it is no link.
    pub(super) fn find_unnamed(path: &Path, options: OutputOptions) -> Result<Self, FileError> {
        if path.is_symlink() {
            return Err(FileError::new(path, FileOperation::Create, FileErrorKind::Link));
        }
        Ok(Self { is_named: false, ..Self::find(path, options)? })
    }

    /// Takes over a file that has `len` bytes, and needs nothing before it is written.
    pub(super) fn adopt(path: &Path, file: File, nature: Nature, len: u64) -> Self {
        let state = State::Open(Opened {
            file: Arc::new(file),
            nature,
            is_in_memory: false,
            len,
            is_new: false,
            is_claimed: true,
            is_made: true,
        });
        Self { path: path.to_owned(), options: OutputOptions::default(), is_named: true, state }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is at the path, if anything.
    pub(super) fn nature(&self) -> Option<Nature> {
        match &self.state {
            State::Found { nature, .. } => *nature,
            State::Open(opened) => Some(opened.nature),
        }
    }

    /// Its length in bytes, or the one that it is to have; `None` while that is not known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.state {
            State::Found { len, .. } => *len,
            State::Open(opened) => Some(opened.len),
        }
    }

    /// How it is treated.
    pub(super) fn options(&self) -> OutputOptions {
        self.options
    }

    fn is_a(&self, kind: FileKind) -> bool {
        self.nature().is_some_and(|nature| nature.kind == kind)
    }

    /// The length of the pieces of zeros that are not written to it, in bytes; `None` where zeros are written.
    pub(crate) fn hole_grain(&self) -> Option<u64> {
        let OutputOptions { holes, keeps_content, is_zero, .. } = self.options;
        let reads_as_zeros = is_zero || (!keeps_content && self.is_a(FileKind::Regular));
        holes.filter(|_| reads_as_zeros).map(|grain| grain.get().into())
    }

    /// The length of the block device that it is, in bytes, if it is one that can be looked at. It is not relied on: what does
    /// not fit is refused when it is asked for.
    pub(super) fn device_len(&self) -> Option<u64> {
        let found = self.is_a(FileKind::BlockDevice).then(|| {
            // What is there by now may be something else, which is not to be waited for.
            open(&self.path, OpenOptions::new().read(true), OFlag::empty())
        })?;
        end_of(&found.ok()?.0).ok()
    }

    pub(crate) fn is_made(&self) -> bool {
        matches!(&self.state, State::Open(opened) if opened.is_made)
    }

    /// Whether what is at the path is no longer what was there.
    pub(super) fn is_touched(&self) -> bool {
        matches!(&self.state, State::Open(opened) if opened.is_made || opened.is_new && opened.is_claimed)
    }

    /// Notes that it is to have `len` bytes.
    pub(super) fn plan(&mut self, planned: u64) {
        match &mut self.state {
            State::Found { len, .. } => *len = Some(planned),
            State::Open(opened) => opened.len = planned,
        }
    }

    /// Refuses a length for which the file system has certainly no room: writing all that an image claims to be would leave
    /// none for anybody else before it failed.
    pub(super) fn refuse_without_room(&self) -> Result<(), FileError> {
        let len = self.len().unwrap_or(0);
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

    /// Opens the file, creating it if it is not there, and changes nothing in it. What it is may be another thing than what
    /// was found.
    ///
    /// A block device is opened exclusively, which fails if it is mounted, part of a volume, or otherwise in use by
    /// the system: `qemu-img` would write under a mounted file system's feet.
    pub(super) fn open(&mut self) -> Result<(), FileError> {
        if let State::Found { .. } = self.state {
            let opened = self.try_open().map_err(|kind| self.failed(FileOperation::Create, kind))?;
            self.state = State::Open(opened);
        }
        Ok(())
    }

    fn try_open(&self) -> Result<Opened, FileErrorKind> {
        let is_block_device = self.is_a(FileKind::BlockDevice);
        let create = !is_block_device && !self.options.keeps_content;
        let mut flags = if is_block_device { OFlag::O_EXCL } else { OFlag::empty() };
        flags.set(OFlag::O_NOFOLLOW, !self.is_named);
        let mut options = OpenOptions::new();
        // A lock that others can share takes a file that can be read.
        options.read(true).write(true).create(create).truncate(false).mode(0o644);
        let (file, nature) = open(&self.path, &mut options, flags)?;
        if nature.is_read_only_device() {
            return Err(FileErrorKind::ReadOnly);
        }
        let is_anew = nature.kind == FileKind::Regular && !self.options.keeps_content;
        Ok(Opened {
            is_in_memory: is_anew && is_in_memory(&file)?,
            file: Arc::new(file),
            nature,
            len: self.len().unwrap_or(0),
            is_new: self.nature().is_none(),
            is_claimed: false,
            is_made: false,
        })
    }

    /// Locks what has been opened.
    pub(super) fn lock(&self, what_for: Claim) -> Result<(), FileErrorKind> {
        let opened = self.opened();
        claim(&opened.file, opened.nature, what_for)
    }

    /// Makes sure that what has been opened can be what it is to be: nobody else uses it, and it is long enough where it
    /// cannot become longer.
    pub(super) fn claim(&mut self) -> Result<(), FileError> {
        self.lock(Claim::Write).map_err(|kind| self.failed(FileOperation::Create, kind))?;
        self.opened_mut().is_claimed = true;
        let opened = self.opened();
        opened.fit(opened.len, self.options).map_err(|kind| self.not_sized(kind))
    }

    /// Takes over what has been opened, and gives it its length. A regular file loses what was in it, unless it is written in
    /// place.
    pub(super) fn make(&mut self) -> Result<(), FileError> {
        let options = self.options;
        let opened = self.opened_mut();
        opened.is_made = true;
        let sized = if opened.is_sized(options) { opened.size_anew(options.reserve) } else { Ok(()) };
        sized.map_err(|error| self.not_sized(error.into()))
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
    pub(super) fn resize(&mut self, len: u64) -> Result<(), FileError> {
        let (opened, options) = (self.opened(), self.options);
        opened.fit(len, options).map_err(|kind| self.not_sized(kind))?;
        if opened.is_sized(options) {
            opened.file.set_len(len).map_err(|error| self.not_sized(error.into()))?;
        }
        self.opened_mut().len = len;
        Ok(())
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

    /// The `len` bytes from `offset` on, mapped, where they are in memory and that can be done.
    ///
    /// # Panics
    ///
    /// If the output has not been made.
    pub(crate) fn map(&self, offset: u64, len: u64) -> Option<Mapping> {
        let opened = self.opened();
        if opened.is_in_memory { Mapping::new(&opened.file, offset, len) } else { None }
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
            State::Open(opened) => opened,
            State::Found { .. } => panic!("'{}' has not been opened", shown(&self.path)),
        }
    }

    fn opened_mut(&mut self) -> &mut Opened {
        match &mut self.state {
            State::Open(opened) => opened,
            State::Found { .. } => panic!("'{}' has not been opened", shown(&self.path)),
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
    /// Whether there is room for `needed` bytes, where that cannot be made.
    fn fit(&self, needed: u64, options: OutputOptions) -> Result<(), FileErrorKind> {
        let len = match self.nature.kind {
            FileKind::Regular if !options.keeps_content => return Ok(()),
            FileKind::Regular | FileKind::BlockDevice => end_of(&self.file)?,
            _ => 0,
        };
        match self.nature.kind {
            _ if needed <= len => Ok(()),
            FileKind::Regular => Err(FileErrorKind::TooShort { len, needed }),
            _ => Err(FileErrorKind::CannotGrow { device_len: len, needed }),
        }
    }

    /// Whether it gets the length that it is to have. Devices, and what is written in place, have the one that they have.
    fn is_sized(&self, options: OutputOptions) -> bool {
        self.nature.kind == FileKind::Regular && !options.keeps_content
    }

    /// Empties it, and gives it its length.
    fn size_anew(&self, reserve: Reserve) -> io::Result<()> {
        let found = self.file.metadata()?;
        // To empty an empty file has ext4 write it to the medium when it is closed, as it does for files that are replaced.
        if found.len() > 0 || allocated(&found) > 0 {
            self.file.set_len(0)?;
        }
        allocate(&self.file, self.len, reserve)
    }
}

/// Gives `file`, which is empty, `len` bytes, and the room for them as `reserve` says.
fn allocate(file: &File, len: u64, reserve: Reserve) -> io::Result<()> {
    let room = off_t::try_from(len).map_err(|_| Errno::EFBIG)?;
    let reserved = match reserve {
        Reserve::Always if len > 0 => return allocate_all(file, room),
        Reserve::IfFaster if is_worth_reserving(file, len)? => {
            fallocate(file, FallocateFlags::empty(), 0, room).is_ok()
        }
        _ => false,
    };
    // Without a reservation, which not every file system makes and a signal ends, writing finds out about the room.
    if reserved { Ok(()) } else { file.set_len(len) }
}

/// Gives `file`, which is empty, `len` bytes and the room for them. Where the file system cannot do that, the C library
/// writes to each block.
fn allocate_all(file: &File, len: off_t) -> io::Result<()> {
    loop {
        match posix_fallocate(file, 0, len) {
            // A signal that asks how far the command is, say. The one that ends it is noticed next.
            Err(Errno::EINTR) => {}
            allocated => return Ok(allocated?),
        }
    }
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
    let taken = if found.is_file() { allocated(&found) } else { 0 };
    Some(free.saturating_add(taken))
}

/// What is at `path`, if anything.
fn find(path: &Path) -> Result<Option<Nature>, FileErrorKind> {
    match look_at(path) {
        Err(FileErrorKind::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            find_parent(path)?;
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// What is at `path`.
fn look_at(path: &Path) -> Result<Nature, FileErrorKind> {
    if path.as_os_str().is_empty() {
        return Err(FileErrorKind::NoName);
    }
    Nature::of(&fs::metadata(path)?)
}

/// Makes sure that there is something to create `path` in.
fn find_parent(path: &Path) -> io::Result<()> {
    fs::metadata(parent(path)).map(drop)
}
