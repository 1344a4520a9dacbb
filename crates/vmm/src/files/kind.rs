//! What a file is, and which file it is.

use core::fmt;
use std::fs::{self, File, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::errno::Errno;
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::error::FileErrorKind;

/// The unit that `st_blocks` counts in, in bytes.
const STAT_BLOCK: u64 = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A block device, such as a disk or a partition.
    BlockDevice,
    /// A character device, such as `/dev/null`. It has no length.
    CharacterDevice,
    /// A directory.
    Directory,
    /// A FIFO, also known as a named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    /// The kind of what a path leads to, symbolic links followed.
    fn of(file_type: FileType) -> Self {
        if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_fifo() {
            Self::Fifo
        } else if file_type.is_socket() {
            Self::Socket
        } else if file_type.is_block_device() {
            Self::BlockDevice
        } else if file_type.is_char_device() {
            Self::CharacterDevice
        } else {
            Self::Regular
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "a regular file",
            Self::BlockDevice => "a block device",
            Self::CharacterDevice => "a character device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
        })
    }
}

/// What a file is, of those that a command can work with, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nature {
    pub(super) kind: FileKind,
    identity: Identity,
}

impl Nature {
    /// The nature of what can be read or written in any order; a directory or a stream is refused.
    pub(super) fn of(metadata: &Metadata) -> Result<Self, FileErrorKind> {
        use FileKind::{BlockDevice, CharacterDevice, Directory, Fifo, Regular, Socket};
        match FileKind::of(metadata.file_type()) {
            kind @ (Regular | BlockDevice | CharacterDevice) => {
                Ok(Self { kind, identity: Identity::of(metadata) })
            }
            kind @ (Directory | Fifo | Socket) => Err(FileErrorKind::Unusable(kind)),
        }
    }

    /// Whether it is a block device that nobody may write to. It can be opened for writing nonetheless.
    pub(super) fn is_read_only_device(&self) -> bool {
        let Identity::BlockDevice { rdev } = self.identity else { return false };
        let said = fs::read(format!("/sys/dev/block/{}:{}/ro", major(rdev), minor(rdev)));
        said.is_ok_and(|said| said.starts_with(b"1"))
    }

    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

/// Which file it is, whatever the path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// By its place in a file system.
    Inode { dev: u64, ino: u64 },
    /// By the device behind it: several nodes can lead to one.
    BlockDevice { rdev: u64 },
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            Self::BlockDevice { rdev: metadata.rdev() }
        } else {
            Self::Inode { dev: metadata.dev(), ino: metadata.ino() }
        }
    }
}

/// The bytes of the medium that a file takes.
pub(super) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(STAT_BLOCK)
}

/// Whether a file consists of pages in memory.
pub(super) fn is_in_memory(file: &File) -> Result<bool, Errno> {
    Ok(fstatfs(file)?.filesystem_type() == TMPFS_MAGIC)
}
