//! A sandbox that is a process: for machines that have no KVM, or give none to this user.
//!
//! The process has the guest's address space, two pipes, and a filter that lets it write one byte to the one and read one
//! byte from the other. That is the doorbell. Whatever else it asks of the kernel ends it.
//!
//! | module | what |
//! |---|---|
//! | `memory` | what the guest finds in its address space |
//! | `child` | a process, from its beginning to its end |
//!
//! How a fresh process becomes such a one is told in the loader, `guest/loader`, which this crate embeds.

#![allow(clippy::cast_possible_truncation, reason = "guests and their hosts have 64-bit addresses")]

mod child;
mod memory;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use guest_abi::boot::{BELL_PIPE, BootPage};
use guest_abi::loader::Refusal;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use vm_memory::VolatileSlice;
use zerocopy::FromBytes;

use self::child::{Child, End, Pipes};
use self::memory::Memory;
use crate::image::GuestImage;
use crate::sandbox::{GuestFault, Sandbox};

/// How long a wait may be before somebody looks whether the user has lost patience: a signal may have come to another
/// thread, or just before the wait.
const TICK: Duration = Duration::from_millis(100);

/// A guest that has used no processor time for so many times its bound is not going to ring: it waits for an answer to
/// what it has not asked.
const ASLEEP: u32 = 5;

/// Why there is no process to run a guest in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The host could not make one.
    #[error("a process for the guest cannot be made: {doing}: {source}")]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A process was made, and could not give up what a guest must not have.
    #[error("a process for the guest cannot be confined: {call}: {source}")]
    Unconfined {
        /// The system call that failed.
        call: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The process ended before it was confined.
    #[error("a process for the guest ended before it was confined: {0}")]
    Ended(GuestFault),
}

/// Names what failed.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, ProcessError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, ProcessError> {
        self.map_err(|error| ProcessError::Unusable { doing, source: error.into() })
    }
}

/// A guest in a process.
#[derive(Debug)]
pub struct ProcessSandbox {
    child: Child,
    rings: File,
    answers: File,
    memory: Memory,
    bound: Duration,
    interrupted: Arc<AtomicBool>,
}

impl ProcessSandbox {
    /// Puts `image` and `boot` into a new process, which is confined when this returns and has executed nothing of the
    /// guest. The thread that calls must outlive the sandbox: the process dies with it.
    ///
    /// The guest gets `bound` of processor time between two doorbells. A signal that sets `interrupted` ends its run.
    ///
    /// # Errors
    ///
    /// When this machine lets no process be confined as a guest must be.
    pub fn new(
        image: &GuestImage<'_>,
        boot: &BootPage,
        bound: Duration,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, ProcessError> {
        let mut boot = *boot;
        boot.header.bell = BELL_PIPE;
        let start = |namespaces| {
            let memory = Memory::new(image, &boot).doing("making its memory")?;
            let (child, Pipes { rings, answers }) = Child::start(memory.file(), namespaces)?;
            let interrupted = Arc::clone(&interrupted);
            let sandbox = Self { child, rings, answers, memory, bound, interrupted };
            sandbox.confined()
        };
        // Namespaces are one wall more where there are others enough, and many machines do not let users have them, each
        // in its own way and at its own step.
        start(true).or_else(|_| start(false))
    }

    /// Waits until the loader has done its work.
    fn confined(mut self) -> Result<Self, ProcessError> {
        self.wait().map_err(ProcessError::Ended)?;
        let mut said = [0; size_of::<Refusal>()];
        // The loader writes all that it has to say at once.
        match self.rings.read(&mut said).doing("hearing of it")? {
            1 => Ok(self),
            len if len == said.len() => Err(unconfined(Refusal::read_from_bytes(&said).unwrap_or_default())),
            _ => Err(ProcessError::Ended(self.fault())),
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid().as_raw()
    }

    /// Waits until there is something to read from the guest, if only that it has ended.
    fn wait(&self) -> Result<(), GuestFault> {
        let clock = |error: Errno| GuestFault::Unexpected(format!("its clock failed: {error}"));
        let began = self.child.processor_time().map_err(clock)?;
        let mut seen = (began, Instant::now());
        loop {
            let used = seen.0.saturating_sub(began);
            // One thread uses no more processor time than passes for all: there is nothing to see before that.
            if self.rung_within(self.bound.saturating_sub(used).min(TICK))? {
                return Ok(());
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(GuestFault::Interrupted);
            }
            let now = self.child.processor_time().map_err(clock)?;
            if now.saturating_sub(began) >= self.bound {
                return Err(GuestFault::Watchdog(self.bound));
            }
            if now > seen.0 {
                seen = (now, Instant::now());
            } else if seen.1.elapsed() >= ASLEEP * self.bound {
                return Err(GuestFault::Asleep(seen.1.elapsed()));
            }
        }
    }

    fn rung_within(&self, time: Duration) -> Result<bool, GuestFault> {
        let mut rings = [PollFd::new(self.rings.as_fd(), PollFlags::POLLIN)];
        // At least a millisecond, the next that there is, or it would be asked all the time.
        let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
        match poll(&mut rings, PollTimeout::from(millis)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(GuestFault::Unexpected(format!("waiting for it failed: {error}"))),
        }
    }

    /// Why the process has ended.
    fn fault(&mut self) -> GuestFault {
        match self.child.end() {
            Ok(End::Signal(Signal::SIGSYS)) => GuestFault::SystemCall,
            Ok(End::Signal(
                Signal::SIGSEGV | Signal::SIGILL | Signal::SIGBUS | Signal::SIGFPE | Signal::SIGTRAP,
            )) => GuestFault::Exception,
            Ok(End::Signal(signal)) => GuestFault::Killed(signal as i32),
            Ok(End::Exit(code)) => GuestFault::Unexpected(format!("its process exited with {code}")),
            Err(error) => GuestFault::Unexpected(format!("its process ended: {error}")),
        }
    }
}

impl Sandbox for ProcessSandbox {
    fn run(&mut self) -> Result<(), GuestFault> {
        // Where nobody reads it any more, the process has ended, as the next lines see.
        let _ = self.answers.write(&[0]);
        self.wait()?;
        match self.rings.read(&mut [0]) {
            Ok(1..) => Ok(()),
            Ok(0) => Err(self.fault()),
            Err(error) => Err(GuestFault::Unexpected(format!("hearing of it failed: {error}"))),
        }
    }

    fn exchange(&self) -> VolatileSlice<'_> {
        self.memory.exchange()
    }
}

/// What the loader says, in words.
fn unconfined(refusal: Refusal) -> ProcessError {
    let call = match i64::from(refusal.call) {
        libc::SYS_setsid => "setsid",
        libc::SYS_prctl => "prctl",
        libc::SYS_capset => "capset",
        libc::SYS_mmap => "mmap",
        libc::SYS_close_range => "close_range",
        libc::SYS_munmap => "munmap",
        libc::SYS_prlimit64 => "prlimit",
        libc::SYS_seccomp => "seccomp",
        _ => "a system call that it does not make",
    };
    let errno = i32::try_from(refusal.errno).unwrap_or_default();
    ProcessError::Unconfined { call, source: io::Error::from_raw_os_error(errno) }
}
