//! The system calls that the loader makes.

use core::arch::asm;

use guest_abi::loader::{ANSWER_FD, RING_FD, Refusal};
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;
use zerocopy::IntoBytes;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(Refusal);

/// The plan makes no sense, or this kernel makes none of it: told as `mmap` with `EINVAL`.
pub(crate) const NO_PLAN: Failed = Failed(Refusal { call: linux::__NR_mmap, errno: 22 });

/// Makes a system call.
///
/// # Safety
///
/// What the call does to memory must be the caller's to do.
pub(crate) unsafe fn call(number: u32, args: [u64; 6]) -> Result<u64, Failed> {
    let result: i64;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the kernel keeps all registers but RAX, RCX and R11, and uses no stack of the caller's. The caller vouches
    // for the memory; the compiler takes the instruction to read and write any.
    unsafe {
        asm!("syscall", inlateout("rax") u64::from(number) => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    let failed = |_| Failed(Refusal { call: number, errno: result.unsigned_abs() as u32 });
    u64::try_from(result).map_err(failed)
}

/// The address of something that a system call is to read or write.
pub(crate) fn address<T: ?Sized>(of: &T) -> u64 {
    (&raw const *of).cast::<u8>().expose_provenance() as u64
}

/// A session of its own: what a terminal sends goes to the host, which decides.
pub(crate) fn leave_session() -> Result<(), Failed> {
    // SAFETY: the call touches no memory.
    unsafe { call(linux::__NR_setsid, [0; 6]) }.map(drop)
}

/// Sets an attribute of the process whose value is a number.
pub(crate) fn set(attribute: Attribute, value: u32) -> Result<(), Failed> {
    // SAFETY: none of the attributes is about memory, and none has more arguments.
    unsafe { call(linux::__NR_prctl, [attribute as u64, value.into(), 0, 0, 0, 0]) }.map(drop)
}

/// What [`set`] can set.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Attribute {
    /// The signal that comes when the host's thread ends.
    SignalOfOrphans = prctl::PR_SET_PDEATHSIG,
    /// Whether privileges can never be gained again.
    NoNewPrivileges = prctl::PR_SET_NO_NEW_PRIVS,
    /// Whether the process can be looked into by others, and leaves its memory in a file when it dies.
    Dumpable = prctl::PR_SET_DUMPABLE,
    /// Whether the processor's clock can be read.
    TimeStampCounter = prctl::PR_SET_TSC,
}

/// Closes all descriptors from `first` on.
pub(crate) fn close_from(first: u32) -> Result<(), Failed> {
    // SAFETY: the call touches no memory: what is mapped stays mapped.
    unsafe { call(linux::__NR_close_range, [first.into(), u32::MAX.into(), 0, 0, 0, 0]) }.map(drop)
}

/// No capability, be it in the host's namespace or in the process's own.
pub(crate) fn drop_capabilities() -> Result<(), Failed> {
    let header = [linux::_LINUX_CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: the call reads a header of two words and, in this version, two structures of three. Only to a header of an
    // unknown version it writes, and only to the header: nobody looks at that again.
    unsafe { call(linux::__NR_capset, [address(&header), address(&none), 0, 0, 0, 0]) }.map(drop)
}

/// Nothing of anything: no further memory, file, process, lock, message. What there is may stay. But for processor time, of which 0
/// would mean a second, or at once where the user gives the command a real-time priority: that is the host's watchdog's.
pub(crate) fn limit_resources() -> Result<(), Failed> {
    let nothing = linux::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let is_time = |limit| [linux::RLIMIT_CPU, linux::RLIMIT_RTTIME].contains(&limit);
    let limits = (0..linux::RLIM_NLIMITS).filter(|&limit| !is_time(limit));
    for limit in limits {
        // SAFETY: the call reads `nothing`, and writes nothing: nobody asks for the old limit.
        unsafe { call(linux::__NR_prlimit64, [0, limit.into(), address(&nothing), 0, 0, 0]) }?;
    }
    Ok(())
}

/// Tells the host what failed. If that fails too, the host sees the process end.
pub(crate) fn tell(Failed(refusal): Failed) {
    let _ = write(refusal.as_bytes());
}

/// Rings as a guest does. Returns when the host has answered; when it never will, with false.
pub(crate) fn ring() -> bool {
    let mut byte = 0u8;
    let answer = [ANSWER_FD.into(), (&raw mut byte).expose_provenance() as u64, 1, 0, 0, 0];
    // SAFETY: the call writes no more than one byte, to `byte`.
    write(&[0]) == Ok(1) && unsafe { call(linux::__NR_read, answer) } == Ok(1)
}

fn write(bytes: &[u8]) -> Result<u64, Failed> {
    // SAFETY: the call reads `bytes`.
    unsafe { call(linux::__NR_write, [RING_FD.into(), address(bytes), bytes.len() as u64, 0, 0, 0]) }
}
