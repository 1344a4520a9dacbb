//! Files that are read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::off_t;
use nix::unistd::{Whence, lseek};
use vm_memory::VolatileSlice;

use super::direct;
use super::error::{FileError, FileErrorKind, FileOperation};
use super::kind::{FileKind, Nature, allocated, is_in_memory};
use super::lock::{Claim, claim};
use super::open::open;

/// A file that is read.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    file: File,
    nature: Nature,
    len: u64,
    /// It is known to have no holes.
    is_dense: bool,
}

/// A part of a file that is all data, or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// It reads as zeros, and need not be read.
    pub(crate) is_hole: bool,
    /// The byte behind it.
    pub(crate) end: u64,
}

impl Input {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        Self::try_open(path).map_err(|kind| FileError::new(path, FileOperation::Open, kind))
    }

    fn try_open(path: &Path) -> Result<Self, FileErrorKind> {
        // A socket cannot be opened at all: looking first gives the better message.
        Nature::of(&fs::metadata(path)?)?;
        let (file, nature) = open(path, OpenOptions::new().read(true), OFlag::empty())?;
        Self::adopt(path, file, nature)
    }

    /// Takes over a file that has been opened at `path`.
    pub(super) fn adopt(path: &Path, file: File, nature: Nature) -> Result<Self, FileErrorKind> {
        let len = if nature.kind == FileKind::CharacterDevice { 0 } else { end_of(&file)? };
        let is_dense = nature.kind == FileKind::Regular && has_all_pages(&file, len)?;
        Ok(Self { path: path.to_owned(), file, nature, len, is_dense })
    }

    /// Locks it, against writers or not at all.
    pub(super) fn lock(&self, force_share: bool) -> Result<(), FileErrorKind> {
        claim(&self.file, self.nature, if force_share { Claim::ReadShared } else { Claim::Read })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn nature(&self) -> Nature {
        self.nature
    }

    /// Its length in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// When reading fails, or the file has become too short.
    pub(crate) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), FileError> {
        self.read_all(buf.len(), offset, |done, at| self.file.read_at(&mut buf[done..], at))
    }

    /// Fills a guest's `memory` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`read_exact_at`](Self::read_exact_at).
    pub(crate) fn read_exact_into(&self, memory: &VolatileSlice<'_>, offset: u64) -> Result<(), FileError> {
        self.read_all(memory.len(), offset, |done, at| {
            let rest = memory.offset(done).map_err(io::Error::other)?;
            direct::read_at(&self.file, &rest, at)
        })
    }

    /// Reads `len` bytes from `offset` on: `read` is told how many have been read, and where the others begin.
    fn read_all(
        &self,
        len: usize,
        offset: u64,
        mut read: impl FnMut(usize, u64) -> io::Result<usize>,
    ) -> Result<(), FileError> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            match read(done, at) {
                Ok(0) => return Err(self.shrunk(at)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error).at(at)),
            }
        }
        Ok(())
    }

    /// What the bytes from `start` on are, up to where that changes or the file ended when it was opened. There must be
    /// one.
    ///
    /// # Errors
    ///
    /// When the file has become shorter.
    pub(crate) fn span(&self, start: u64) -> Result<Span, FileError> {
        let end = self.len;
        if self.is_dense {
            return Ok(Span { is_hole: false, end });
        }
        match seek(&self.file, start, Whence::SeekData) {
            Ok(data) if data > start => Ok(Span { is_hole: true, end: data.min(end) }),
            Ok(_) => {
                // A hole right here, where data has just been, is somebody's who is changing the file.
                let hole = seek(&self.file, start, Whence::SeekHole).ok().filter(|&hole| hole > start);
                Ok(Span { is_hole: false, end: hole.map_or(end, |hole| hole.min(end)) })
            }
            // No data from here to the end of the file, wherever that is now.
            Err(Errno::ENXIO) => self.last_hole(start),
            // Neither block devices nor all file systems tell.
            Err(_) => Ok(Span { is_hole: false, end }),
        }
    }

    fn last_hole(&self, start: u64) -> Result<Span, FileError> {
        let len = end_of(&self.file).map_err(|error| self.failed(error).at(start))?;
        if len < self.len {
            return Err(self.shrunk(len));
        }
        Ok(Span { is_hole: true, end: self.len })
    }

    /// The file ends at `offset`, or before.
    fn shrunk(&self, offset: u64) -> FileError {
        let len = end_of(&self.file).map_or(offset, |len| len.min(offset));
        self.failed(FileErrorKind::Shrunk { len, opened_len: self.len }).at(offset)
    }

    fn failed(&self, kind: impl Into<FileErrorKind>) -> FileError {
        FileError::new(&self.path, FileOperation::Read, kind)
    }
}

/// Whether `file`, of `len` bytes, has no holes because it has as many pages in memory as it needs. To look for holes there takes
/// a look at each page, and elsewhere next to nothing.
fn has_all_pages(file: &File, len: u64) -> io::Result<bool> {
    Ok(is_in_memory(file)? && allocated(&file.metadata()?) >= len)
}

/// The length of a regular file or a block device in bytes.
pub(super) fn end_of(file: &File) -> Result<u64, Errno> {
    seek(file, 0, Whence::SeekEnd)
}

/// Where `whence` leads from `offset`. All other I/O is positional, so that moving the file's own position does not
/// matter, not even from several threads.
fn seek(file: &File, offset: u64, whence: Whence) -> Result<u64, Errno> {
    let offset = off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    let found = lseek(file, offset, whence)?;
    u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
}
