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

/// Requests to drivers: to let a virtual processor run, and to make a machine for a guest that decompresses; to ask for the
/// settings and the size of a terminal, but never to put in what seems to be typed.
const REQUESTS: &[Pattern] = &[
    exactly(KVM_RUN),
    exactly(KVM_CREATE_VM),
    exactly(KVM_SET_TSS_ADDR),
    exactly(KVM_SET_USER_MEMORY_REGION),
    exactly(KVM_CREATE_VCPU),
    exactly(KVM_GET_VCPU_MMAP_SIZE),
    exactly(KVM_SET_CPUID2),
    exactly(KVM_GET_SREGS),
    exactly(KVM_SET_SREGS),
    exactly(KVM_SET_REGS),
    exactly(libc::TCGETS),
    exactly(libc::TCGETS2),
    exactly(libc::TIOCGWINSZ),
];

// `linux/kvm.h`, with the lengths of what they take on x86-64.
const KVM_CREATE_VM: u64 = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_SET_TSS_ADDR: u64 = 0xae47;
const KVM_RUN: u64 = 0xae80;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;
const KVM_SET_CPUID2: u64 = 0x4008_ae90;

/// Whether there is such a descriptor.
const FILE_COMMANDS: &[Pattern] = &[exactly(libc::F_GETFD.unsigned_abs() as u64)];

const fn any(name: &'static str, number: libc::c_long, why: &'static str) -> Allowed {
    Allowed { name, number, arguments: Arguments::Any, why }
}

const fn only(name: &'static str, number: libc::c_long, arguments: Arguments, why: &'static str) -> Allowed {
    Allowed { name, number, arguments, why }
}

/// What is allowed. All else fails with `EPERM`; `clone3`, which cannot be looked into, with `ENOSYS`.
///
/// `docs/security.md` has this list too, and a test that both are the same.
pub const ALLOWED: &[Allowed] = &[
    any("pread64", libc::SYS_pread64, "inputs are read"),
    any("pwrite64", libc::SYS_pwrite64, "outputs are written"),
    any("lseek", libc::SYS_lseek, "holes of inputs are found, and their ends"),
    any("ftruncate", libc::SYS_ftruncate, "outputs get another length"),
    any("fdatasync", libc::SYS_fdatasync, "outputs get onto the medium"),
    only(
        "fcntl",
        libc::SYS_fcntl,
        OneOf(1, FILE_COMMANDS),
        "F_GETFD only: debug builds make sure that what is closed is open",
    ),
    any("close", libc::SYS_close, "files are closed, and with that their locks go"),
    any("read", libc::SYS_read, "the doorbell of a guest that is a process"),
    any("write", libc::SYS_write, "the answer to that doorbell; messages"),
    any("writev", libc::SYS_writev, "what the C library says before it aborts"),
    only(
        "ioctl",
        libc::SYS_ioctl,
        OneOf(1, REQUESTS),
        "a guest runs, or is made to decompress, in a machine; a terminal's settings and size, to be asked for only",
    ),
    only("mmap", libc::SYS_mmap, OneOf(2, DATA), "memory that is not executed; outputs in memory are filled"),
    only("mprotect", libc::SYS_mprotect, OneOf(2, DATA), "memory that is not executed"),
    any("munmap", libc::SYS_munmap, "memory is given back"),
    any("mremap", libc::SYS_mremap, "memory grows"),
    any("madvise", libc::SYS_madvise, "a thread's stack is given back"),
    any("brk", libc::SYS_brk, "memory grows"),
    only("clone", libc::SYS_clone, OneOf(0, THREAD), "threads, and no processes"),
    any("set_robust_list", libc::SYS_set_robust_list, "a thread begins"),
    any("rseq", libc::SYS_rseq, "a thread begins"),
    any("sched_getaffinity", libc::SYS_sched_getaffinity, "a thread begins: where its stack is"),
    any("gettid", libc::SYS_gettid, "a thread begins; the end by a signal"),
    any("getpid", libc::SYS_getpid, "the end by a signal"),
    any("futex", libc::SYS_futex, "threads wait for each other"),
    any("sched_yield", libc::SYS_sched_yield, "threads wait for each other"),
    any("poll", libc::SYS_poll, "a guest that is a process is waited for"),
    any("pidfd_send_signal", libc::SYS_pidfd_send_signal, "the end of a guest that is a process"),
    any("waitid", libc::SYS_waitid, "the end of a guest that is a process"),
    any("timer_create", libc::SYS_timer_create, "the watchdog"),
    any("timer_settime", libc::SYS_timer_settime, "the watchdog"),
    any("timer_delete", libc::SYS_timer_delete, "the watchdog"),
    any("clock_gettime", libc::SYS_clock_gettime, "the watchdog; progress"),
    any("restart_syscall", libc::SYS_restart_syscall, "waiting goes on after a stop"),
    any("rt_sigaction", libc::SYS_rt_sigaction, "the end by a signal"),
    any("rt_sigprocmask", libc::SYS_rt_sigprocmask, "a thread begins or ends"),
    any("rt_sigreturn", libc::SYS_rt_sigreturn, "a signal has been noted"),
    any("sigaltstack", libc::SYS_sigaltstack, "a thread begins or ends"),
    only("tgkill", libc::SYS_tgkill, OwnProcess, "the end by a signal, in this process only"),
    any("getrandom", libc::SYS_getrandom, "the seed of a hash table: without one there is a panic"),
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
