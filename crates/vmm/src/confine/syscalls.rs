//! The system calls that are left to a process that has its files open.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use self::Arguments::{OneOf, OwnProcess};

/// A system call that is allowed, and why.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: libc::c_long,
    /// With which arguments.
    pub arguments: Arguments,
    /// What needs it.
    pub why: &'static str,
}

/// Which arguments a system call may have.
#[derive(Clone, Copy, Debug)]
pub enum Arguments {
    /// Any.
    Any,
    /// In the argument of this number, counted from 0, one of these patterns.
    OneOf(u8, &'static [Pattern]),
    /// This process's number in argument 0.
    OwnProcess,
}

/// The bits of an argument that count, and what they have to be.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// The bits that count.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

const fn exactly(value: u64) -> Pattern {
    Pattern { mask: u64::MAX, value }
}

/// Memory that is not executed.
const DATA: &[Pattern] = &[Pattern { mask: libc::PROT_EXEC.unsigned_abs() as u64, value: 0 }];

/// What a new thread shares with its process, and a new process does not.
const THREAD: &[Pattern] = {
    let shared = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND).unsigned_abs() as u64;
    &[Pattern { mask: shared, value: shared }]
};

/// Requests to drivers: all of KVM's, whose type is 0xae; of terminals, to ask for the settings and the size, but never to
/// put in what seems to be typed; the size of a block device.
const REQUESTS: &[Pattern] = &[
    Pattern { mask: 0xff00, value: 0xae00 },
    exactly(libc::TCGETS),
    exactly(libc::TCGETS2),
    exactly(libc::TIOCGWINSZ),
    exactly(BLKGETSIZE64),
];

/// `linux/fs.h`: `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: u64 = 0x8008_1272;

/// Locks of open files, and their flags.
const FILE_COMMANDS: &[Pattern] = &[
    exactly(libc::F_OFD_SETLK.unsigned_abs() as u64),
    exactly(libc::F_OFD_GETLK.unsigned_abs() as u64),
    exactly(libc::F_GETFL.unsigned_abs() as u64),
    exactly(libc::F_GETFD.unsigned_abs() as u64),
];

const fn any(name: &'static str, number: libc::c_long, why: &'static str) -> Allowed {
    Allowed { name, number, arguments: Arguments::Any, why }
}

const fn only(name: &'static str, number: libc::c_long, arguments: Arguments, why: &'static str) -> Allowed {
    Allowed { name, number, arguments, why }
}

/// What is allowed. All else fails with `EPERM`; `clone3`, which cannot be looked into, with `ENOSYS`.
pub const ALLOWED: &[Allowed] = &[
    any("pread64", libc::SYS_pread64, "inputs are read"),
    any("pwrite64", libc::SYS_pwrite64, "outputs are written"),
    any("lseek", libc::SYS_lseek, "holes of inputs are found"),
    any("ftruncate", libc::SYS_ftruncate, "outputs get their length"),
    any("fallocate", libc::SYS_fallocate, "outputs get their room"),
    any("fdatasync", libc::SYS_fdatasync, "outputs get onto the medium"),
    any("fstat", libc::SYS_fstat, "the length of an open file"),
    any("statx", libc::SYS_statx, "the length of an open file, as the standard library asks for it"),
    any("fstatfs", libc::SYS_fstatfs, "whether an output is in memory, where reserving room does not pay"),
    only("fcntl", libc::SYS_fcntl, OneOf(1, FILE_COMMANDS), "locks of images"),
    any("close", libc::SYS_close, "files are closed"),
    any("read", libc::SYS_read, "a sandbox's answers"),
    any("write", libc::SYS_write, "messages; a sandbox's doorbell"),
    any("writev", libc::SYS_writev, "messages"),
    only(
        "ioctl",
        libc::SYS_ioctl,
        OneOf(1, REQUESTS),
        "KVM; the width of the terminal; the size of a block device",
    ),
    only("mmap", libc::SYS_mmap, OneOf(2, DATA), "memory that is not executed"),
    only("mprotect", libc::SYS_mprotect, OneOf(2, DATA), "memory that is not executed"),
    any("munmap", libc::SYS_munmap, "memory is given back"),
    any("mremap", libc::SYS_mremap, "memory grows"),
    any("madvise", libc::SYS_madvise, "a thread's stack is given back"),
    any("brk", libc::SYS_brk, "memory grows"),
    only("clone", libc::SYS_clone, OneOf(0, THREAD), "threads, and no processes"),
    any("set_robust_list", libc::SYS_set_robust_list, "a thread begins"),
    any("rseq", libc::SYS_rseq, "a thread begins"),
    any("sched_getaffinity", libc::SYS_sched_getaffinity, "how many processors there are"),
    any("gettid", libc::SYS_gettid, "the watchdog's thread"),
    any("getpid", libc::SYS_getpid, "the end by a signal"),
    any("futex", libc::SYS_futex, "threads wait for each other"),
    any("sched_yield", libc::SYS_sched_yield, "threads wait for each other"),
    any("poll", libc::SYS_poll, "a sandbox is waited for"),
    any("ppoll", libc::SYS_ppoll, "a sandbox is waited for"),
    any("pidfd_send_signal", libc::SYS_pidfd_send_signal, "the end of a guest that is a process"),
    any("waitid", libc::SYS_waitid, "the end of a guest that is a process"),
    any("timer_create", libc::SYS_timer_create, "the watchdog"),
    any("timer_settime", libc::SYS_timer_settime, "the watchdog"),
    any("timer_delete", libc::SYS_timer_delete, "the watchdog"),
    any("clock_gettime", libc::SYS_clock_gettime, "the watchdog; progress"),
    any("clock_nanosleep", libc::SYS_clock_nanosleep, "waiting"),
    any("restart_syscall", libc::SYS_restart_syscall, "waiting goes on after a signal"),
    any("rt_sigaction", libc::SYS_rt_sigaction, "the end by a signal"),
    any("rt_sigprocmask", libc::SYS_rt_sigprocmask, "a thread begins or ends"),
    any("rt_sigreturn", libc::SYS_rt_sigreturn, "a signal has been noted"),
    any("sigaltstack", libc::SYS_sigaltstack, "a thread begins or ends"),
    only("kill", libc::SYS_kill, OwnProcess, "the end by a signal"),
    only("tgkill", libc::SYS_tgkill, OwnProcess, "the end by a signal"),
    any("getrandom", libc::SYS_getrandom, "the seed of a hash table"),
    any("exit", libc::SYS_exit, "a thread ends"),
    any("exit_group", libc::SYS_exit_group, "the end"),
];

/// The rules of a filter that lets through what is allowed.
pub(super) fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let rules = ALLOWED.iter().map(|allowed| Ok((allowed.number, allowed.arguments.rules()?)));
    // Another filter answers this one, and of two that refuse, the later one would have the say.
    let clone3 = Ok((libc::SYS_clone3, Vec::new()));
    rules.chain([clone3]).collect()
}

impl Arguments {
    /// A system call goes through if one of these holds, or if there are none.
    fn rules(self) -> Result<Vec<SeccompRule>, BackendError> {
        match self {
            Self::Any => Ok(Vec::new()),
            Self::OneOf(argument, patterns) => patterns.iter().map(|p| p.rule(argument)).collect(),
            Self::OwnProcess => Ok(vec![exactly(std::process::id().into()).rule(0)?]),
        }
    }
}

impl Pattern {
    fn rule(self, argument: u8) -> Result<SeccompRule, BackendError> {
        let operation = SeccompCmpOp::MaskedEq(self.mask);
        SeccompRule::new(vec![SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Qword,
            operation,
            self.value,
        )?])
    }
}
