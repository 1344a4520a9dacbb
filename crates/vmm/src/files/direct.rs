//! Between a file and a guest's memory, without a stop in between.

#![allow(
    unsafe_code,
    reason = "the standard library reads into references, which a guest's memory must not have"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use vm_memory::VolatileSlice;

/// Reads into `memory` from byte `offset` of `file` on. Returns how many bytes it has read: 0 at the end of the file.
pub(super) fn read_at(file: &File, memory: &VolatileSlice<'_>, offset: u64) -> io::Result<usize> {
    let (target, offset) = (memory.ptr_guard_mut(), position(offset)?);
    // SAFETY: the kernel writes no more than `memory.len()` bytes from the guard's pointer on, which are mapped for as long
    // as the slice lives; nothing in this process has a reference to them.
    let count = unsafe { libc::pread64(file.as_raw_fd(), target.as_ptr().cast(), memory.len(), offset) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes from `memory` to byte `offset` of `file` on. Returns how many bytes it has written.
pub(super) fn write_at(file: &File, memory: &VolatileSlice<'_>, offset: u64) -> io::Result<usize> {
    let (source, offset) = (memory.ptr_guard(), position(offset)?);
    // SAFETY: the kernel reads no more than `memory.len()` bytes from the guard's pointer on, which are mapped for as long
    // as the slice lives. That a guest may change them meanwhile does not matter to it.
    let count = unsafe { libc::pwrite64(file.as_raw_fd(), source.as_ptr().cast(), memory.len(), offset) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn position(offset: u64) -> io::Result<libc::off64_t> {
    libc::off64_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
