//! Image locks: telling other processes what is done with an image, and finding out what they do.
//!
//! They are QEMU's, so that QEMU and instar keep out of each other's way. A process that has an image open holds shared
//! locks on single bytes of it, by open file description: for each thing that it does with the image a byte from 100
//! on, for each that others must not do meanwhile a byte from 200 on. Then it looks whether somebody else holds the
//! opposite byte. As both sides hold first and look then, neither can miss the other.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, off_t};

use super::error::{Conflict, FileErrorKind};
use super::kind::{FileKind, Nature};

/// The bytes by which a process says what it does.
const USED_AT: off_t = 100;

/// The bytes by which a process says what others must not do.
const UNSHARED_AT: off_t = 200;

/// Reading what makes sense as a whole.
const CONSISTENT_READ: off_t = 0;
const WRITE: off_t = 1;
const RESIZE: off_t = 3;

/// What is done with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is read, and nobody may write to it.
    Read,
    /// It is read, whoever writes to it.
    ReadShared,
    /// It is written, and nobody else may.
    Write,
    /// It is read and written, and nobody else may write.
    Edit,
}

impl Claim {
    /// What is done.
    fn used(self) -> &'static [off_t] {
        match self {
            Self::Read | Self::ReadShared => &[CONSISTENT_READ],
            Self::Write => &[WRITE, RESIZE],
            Self::Edit => &[CONSISTENT_READ, WRITE, RESIZE],
        }
    }

    /// What others must not do as long as it lasts.
    fn unshared(self) -> &'static [off_t] {
        match self {
            Self::Read | Self::Write | Self::Edit => &[WRITE, RESIZE],
            Self::ReadShared => &[],
        }
    }

    /// What others must not be doing when it begins: an output loses what somebody reads at that moment. Readers that
    /// come later know what they do.
    fn unwanted(self) -> &'static [off_t] {
        match self {
            Self::Read | Self::ReadShared | Self::Edit => &[],
            Self::Write => &[CONSISTENT_READ],
        }
    }

    /// What it means that somebody else holds a byte in the way.
    fn conflict(self) -> Conflict {
        match self {
            Self::Read => Conflict::Writer,
            Self::ReadShared => Conflict::NoReaders,
            Self::Write | Self::Edit => Conflict::User,
        }
    }
}

/// Claims `file` for as long as it is open. What has no content that stays is not locked; where the file system has no
/// locks, there are none.
pub(super) fn claim(file: &File, nature: Nature, claim: Claim) -> Result<(), FileErrorKind> {
    if !matches!(nature.kind, FileKind::Regular | FileKind::BlockDevice) {
        return Ok(());
    }
    match try_claim(file, claim) {
        Ok(None) => Ok(()),
        Ok(Some(conflict)) => Err(FileErrorKind::Locked(conflict)),
        // Somebody who is not QEMU has locked more than these bytes for himself alone.
        Err(Errno::EAGAIN | Errno::EACCES) => Err(FileErrorKind::Locked(claim.conflict())),
        Err(_) => Ok(()),
    }
}

/// Holds the claim's bytes, and says who is in the way, if anybody.
fn try_claim(file: &File, claim: Claim) -> Result<Option<Conflict>, Errno> {
    for bit in claim.used() {
        hold(file, USED_AT + bit)?;
    }
    for bit in claim.unshared() {
        hold(file, UNSHARED_AT + bit)?;
    }
    for bit in claim.unshared().iter().chain(claim.unwanted()) {
        if is_held_elsewhere(file, USED_AT + bit)? {
            return Ok(Some(claim.conflict()));
        }
    }
    for bit in claim.used() {
        if is_held_elsewhere(file, UNSHARED_AT + bit)? {
            let is_read = *bit == CONSISTENT_READ;
            return Ok(Some(if is_read { Conflict::NoReaders } else { claim.conflict() }));
        }
    }
    Ok(None)
}

fn hold(file: &File, byte: off_t) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK, byte))).map(drop)
}

/// Whether somebody else holds a lock of any kind on `byte`.
fn is_held_elsewhere(file: &File, byte: off_t) -> Result<bool, Errno> {
    let mut probe = lock(libc::F_WRLCK, byte);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
    Ok(libc::c_int::from(probe.l_type) != libc::F_UNLCK)
}

/// A lock on one byte.
fn lock(kind: libc::c_int, byte: off_t) -> libc::flock {
    let small = "the constants of locks are small";
    libc::flock {
        l_type: kind.try_into().expect(small),
        l_whence: libc::SEEK_SET.try_into().expect(small),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}
