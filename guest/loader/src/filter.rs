//! The system calls that a guest can make: the two of the doorbell, and with nothing else than the doorbell's arguments.
//!
//! A program for the kernel's packet filter ("Berkeley packet filter"), over `struct seccomp_data`: the number of the call
//! at byte 0, the architecture at 4, the six arguments of 64 bits from 16 on. Everything is done on 32 bits.

use core::mem::offset_of;

use guest_abi::loader::{ANSWER_FD, RING_FD};
use linux_raw_sys::general as linux;
use linux_raw_sys::ptrace::{
    AUDIT_ARCH_X86_64, BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_KILL_PROCESS, SECCOMP_SET_MODE_FILTER, seccomp_data, sock_filter, sock_fprog,
};

use crate::call::{Failed, address, call};

/// The filter, instruction by instruction. `int 0x80` and `sysenter` have an architecture of their own, the calls of the
/// x32 ABI have numbers of their own; the kernel takes a descriptor for 32 bits too.
static FILTER: [sock_filter; 15] = [
    /*  0 */ load(offset_of!(seccomp_data, arch)),
    /*  1 */ otherwise_kill(1, AUDIT_ARCH_X86_64),
    /*  2 */ load(offset_of!(seccomp_data, nr)),
    /*  3 */ jump_if(linux::__NR_read, 1, 0),
    /*  4 */ jump_if(linux::__NR_write, 2, KILL - 5),
    // Read: answers.
    /*  5 */ load(argument(0)),
    /*  6 */ jump_if(ANSWER_FD, 2, KILL - 7),
    // Write: rings.
    /*  7 */ load(argument(0)),
    /*  8 */ otherwise_kill(8, RING_FD),
    // One byte of either.
    /*  9 */ load(argument(2)),
    /* 10 */ otherwise_kill(10, 1),
    /* 11 */ load(argument(2) + 4),
    /* 12 */ otherwise_kill(12, 0),
    /* 13 */ end(SECCOMP_RET_ALLOW),
    /* 14 */ end(SECCOMP_RET_KILL_PROCESS),
];

/// Where the refusal stands.
const KILL: u8 = 14;

/// Installs it, for good.
pub(crate) fn install() -> Result<(), Failed> {
    let program = sock_fprog { len: FILTER.len() as u16, filter: (&raw const FILTER).cast_mut().cast() };
    let install = [SECCOMP_SET_MODE_FILTER.into(), 0, address(&program), 0, 0, 0];
    // SAFETY: the call reads `program` and the filter, and writes nothing.
    unsafe { call(linux::__NR_seccomp, install) }.map(drop)
}

/// Loads 32 bits of the call's description.
const fn load(offset: usize) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset as u32)
}

/// Skips `then` instructions if `value` was loaded, `otherwise` instructions if not.
const fn jump_if(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, then, otherwise, value)
}

/// As instruction number `at`: goes on if `value` was loaded.
const fn otherwise_kill(at: u8, value: u32) -> sock_filter {
    jump_if(value, 0, KILL - at - 1)
}

const fn end(verdict: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, verdict)
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Where the lower half of an argument is.
const fn argument(number: usize) -> usize {
    offset_of!(seccomp_data, args) + 8 * number
}
