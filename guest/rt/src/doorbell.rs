//! The doorbell: the one thing that differs between the sandboxes.

use core::arch::asm;

use guest_abi::boot::BELL_PIPE;
use guest_abi::layout::DOORBELL_ADDR;
use guest_abi::loader::{ANSWER_FD, RING_FD};

use crate::entry::boot_page;

/// Linux's number of the system call that reads.
const READ: u64 = 0;

/// Linux's number of the system call that writes.
const WRITE: u64 = 1;

/// Rings the doorbell, and returns when the host has answered.
pub(crate) fn ring() {
    if boot_page().header.bell == BELL_PIPE { ring_pipe() } else { ring_machine() }
}

fn ring_machine() {
    // SAFETY: the page at DOORBELL_ADDR is mapped for writing and holds nothing, so the instruction changes no memory
    // but, through the host, the exchange, which nothing in the guest refers to. The compiler takes it to read and
    // write any memory, so that what was put is there and what is got is read anew.
    unsafe {
        asm!("mov dword ptr [{bell}], 0", bell = in(reg) DOORBELL_ADDR, options(nostack, preserves_flags));
    }
}

fn ring_pipe() {
    let mut byte = 0;
    if transfer(WRITE, RING_FD, &mut byte) != 1 || transfer(READ, ANSWER_FD, &mut byte) != 1 {
        // The host is gone.
        stop();
    }
}

/// Has the kernel read or write one byte. Returns how many it did, or a negative error.
fn transfer(call: u64, descriptor: u32, byte: &mut u8) -> i64 {
    let done;
    // SAFETY: the kernel touches no memory of the guest but `byte`, which is borrowed for writing, and keeps all
    // registers but RAX, RCX and R11. While it waits the host changes the exchange, which nothing in the guest refers
    // to; the compiler takes the instruction to read and write any memory.
    unsafe {
        asm!("syscall", inlateout("rax") call => done, in("rdi") u64::from(descriptor), in("rsi") byte, in("rdx") 1,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    done
}

/// Ends the guest where it must not go on.
pub(crate) fn stop() -> ! {
    // SAFETY: the instruction raises an exception that nothing handles, which ends the guest.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
