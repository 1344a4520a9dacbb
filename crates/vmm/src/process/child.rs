//! A process, from its beginning to its end.

#![allow(
    unsafe_code,
    reason = "the library has no calls for descriptors of processes, nor for programs in memory"
)]

use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};
use core::time::Duration;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use guest_abi::loader::{ANSWER_FD, MEMORY_FD, RING_FD};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, pipe2};

use super::{Doing, ProcessError};

/// The program that makes a guest of a process.
static LOADER: &[u8] = include_bytes!(env!("INSTAR_LOADER"));

/// What the process has of its own where it may: users, processes, networks, queues, names, mounts, control groups.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What the child runs on until it executes the loader: a few frames.
const STACK_LEN: usize = 32 << 10;

/// A child of this process. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// Names the process when its number is another's already.
    handle: OwnedFd,
    clock: ClockId,
}

/// The host's ends of the pipes to a child.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) rings: File,
    pub(super) answers: File,
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Exit(i32),
    Signal(Signal),
}

impl Child {
    /// Starts the loader in a child, on the guest's `memory`.
    pub(super) fn start(memory: &File, namespaces: bool) -> Result<(Self, Pipes), ProcessError> {
        let mut loader = memory_file(c"instar-guest", true).doing("making a program")?;
        loader.write_all(LOADER).doing("making a program")?;
        let (rings, ring) = pipe2(OFlag::O_CLOEXEC).doing("making a pipe")?;
        let (answer, answers) = pipe2(OFlag::O_CLOEXEC).doing("making a pipe")?;
        let flags = if namespaces { NAMESPACES } else { CloneFlags::empty() };
        let descriptors = [
            (answer.as_raw_fd(), ANSWER_FD.cast_signed()),
            (ring.as_raw_fd(), RING_FD.cast_signed()),
            (memory.as_raw_fd(), MEMORY_FD.cast_signed()),
        ];
        let pid = execute(&loader, descriptors, flags)?;
        // If these fail, the pipes are closed, which ends the child.
        let child = Self {
            pid,
            handle: open_process(pid).doing("taking hold of it")?,
            clock: clock_getcpuclockid(pid).doing("finding its clock")?,
        };
        // The child's ends are closed here, so that a pipe ends when the process on its other side does.
        Ok((child, Pipes { rings: rings.into(), answers: answers.into() }))
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// The processor time that it has used since it began.
    pub(super) fn processor_time(&self) -> nix::Result<Duration> {
        clock_gettime(self.clock).map(Duration::from)
    }

    /// Waits for its end.
    pub(super) fn end(&self) -> nix::Result<End> {
        loop {
            match waitid(Id::PIDFd(self.handle.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(End::Exit(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(End::Signal(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        kill(&self.handle);
        while waitid(Id::PIDFd(self.handle.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
    }
}

/// A file in memory that has no name.
pub(super) fn memory_file(name: &CStr, executable: bool) -> io::Result<File> {
    // Since Linux 6.3 one says whether a file in memory may be executed; before, all can be.
    let says = if executable { libc::MFD_EXEC } else { libc::MFD_NOEXEC_SEAL };
    let plain = MFdFlags::MFD_CLOEXEC;
    let created = match memfd_create(name, plain | MFdFlags::from_bits_retain(says)) {
        Err(Errno::EINVAL) => memfd_create(name, plain),
        other => other,
    };
    Ok(created?.into())
}

/// Executes `program` in a new process, with the second of each two `descriptors` standing for the first, and nothing else.
fn execute(
    program: &File,
    descriptors: [(RawFd, RawFd); 3],
    namespaces: CloneFlags,
) -> Result<Pid, ProcessError> {
    let error = AtomicI32::new(0);
    let child = || {
        error.store(replace_process(program.as_raw_fd(), descriptors) as i32, Ordering::Relaxed);
        1
    };
    let mut stack = vec![0; STACK_LEN];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | namespaces;
    // No handler of the host's runs in the child; and no signal can be sent to a guest, but those that end it.
    let all = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).doing("blocking signals")?;
    // SAFETY: with these flags the child has the memory of this process, and the thread that calls stands still until the
    // child executes another program or exits. So it is as if `child` were called here, on another stack: what it borrows
    // is there. It makes system calls and nothing else, for which the stack is more than enough; it does not allocate,
    // lock, or unwind, which other threads could notice.
    let pid = unsafe { clone(Box::new(child), &mut stack, flags, Some(Signal::SIGCHLD as i32)) };
    all.thread_set_mask().doing("admitting signals")?;
    let pid = pid.doing("starting it")?;
    match error.into_inner() {
        0 => Ok(pid),
        error => {
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
            Err(io::Error::from_raw_os_error(error)).doing("executing a program from memory")
        }
    }
}

/// What a new process does: see [`execute`]. Returns only if that fails.
fn replace_process(program: RawFd, descriptors: [(RawFd, RawFd); 3]) -> Errno {
    for (from, to) in descriptors {
        // SAFETY: the descriptors are this process's own copies, and both lists have no number in common: programs that
        // are written in Rust start with 0, 1 and 2 open, so that no file gets these numbers.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Errno::last();
        }
    }
    let (arguments, environment) = ([c"instar-guest".as_ptr(), ptr::null()], [ptr::null::<c_char>()]);
    let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
    // SAFETY: the name and both lists are strings and lists of strings that end as they should.
    unsafe {
        libc::syscall(libc::SYS_execveat, program, c"".as_ptr(), arguments, environment, libc::AT_EMPTY_PATH);
    }
    Errno::last()
}

/// A descriptor of a child that was not waited for.
fn open_process(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call has numbers for arguments, and touches no memory.
    let descriptor = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let descriptor = RawFd::try_from(descriptor).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new, so nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Ends a process. That fails only if it has ended.
fn kill(handle: &OwnedFd) {
    let none = ptr::null::<libc::siginfo_t>();
    // SAFETY: the call is given no memory.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, none, 0) };
}
