//! What turns a fresh process into a guest.
//!
//! The host executes this program with three descriptors, no environment, and all signals blocked. It does no more than
//! its list of steps: it maps what the guest is to find, gives up whatever else the process has, and last of all the
//! means to get anything back. Then it rings, and the host's answer starts the guest.
//!
//! | module | what |
//! |---|---|
//! | `call` | the system calls that it makes |
//! | `filter` | the only ones that the guest can make |
//!
//! It has no memory of its own: its one page of code and constants is all of it that the guest could find.

#![no_std]
#![no_main]
#![allow(clippy::cast_possible_truncation, reason = "addresses have 64 bits")]

mod call;
mod filter;

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

use guest_abi::layout::{PAGE_SIZE, STACK_ADDR, STACK_LEN};
use guest_abi::loader::{BACKED_COPY, BACKED_SHARED, BACKED_ZEROS, LOADER_ADDR, MEMORY_FD, Plan, Region};
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;

use call::{Attribute, Failed, NO_PLAN, call};

/// The stack at the beginning of a function: 8 below a multiple of 16.
const GUEST_STACK: u64 = STACK_ADDR + STACK_LEN - 8;

/// Where the addresses of processes end: the last page of the lower half is left out, as Linux does on x86-64 (`TASK_SIZE`).
const ADDRESSES_END: u64 = (1 << 47) - PAGE_SIZE;

// The kernel starts the program with the stack at a multiple of 16, and nothing to return to.
global_asm!(".globl _start", "_start:", "call {prepare}", "ud2", prepare = sym prepare);

/// The steps on the stack that the kernel gave: the guest's memory, and what needs no place to stand on.
extern "C" fn prepare() -> ! {
    let entry = attempt(prepared());
    // SAFETY: the stack's region is mapped now, and nothing on the old stack is used again: `finish` does not return.
    // Stack and entry point are as at the beginning of a function.
    unsafe {
        asm!("mov rsp, {stack}", "jmp {finish}", stack = in(reg) GUEST_STACK, finish = sym finish, in("rdi") entry,
            options(noreturn));
    }
}

fn prepared() -> Result<u64, Failed> {
    alone()?;
    let plan = plan()?;
    let regions = plan.regions.get(..plan.region_count as usize).ok_or(NO_PLAN)?;
    regions.iter().try_for_each(map)?;
    // Behind these two are the guest's memory, and whatever a parent of the host's left open.
    call::close_from(MEMORY_FD)?;
    Ok(plan.entry)
}

/// Away from the terminal, from a life after the host's, from those who look into processes, and from all privileges.
fn alone() -> Result<(), Failed> {
    call::leave_session()?;
    call::set(Attribute::SignalOfOrphans, linux::SIGKILL)?;
    call::set(Attribute::NoNewPrivileges, 1)?;
    call::set(Attribute::Dumpable, 0)?;
    // A clock as fine as the processor's is good for one thing here: to guess what others left in its caches.
    call::set(Attribute::TimeStampCounter, prctl::PR_TSC_SIGSEGV)?;
    call::drop_capabilities()
}

/// The host's plan, from the beginning of the file.
fn plan() -> Result<&'static Plan, Failed> {
    let page = [0, PAGE_SIZE, linux::PROT_READ.into(), linux::MAP_PRIVATE.into(), MEMORY_FD.into(), 0];
    // SAFETY: the kernel finds a place for the page where nothing is.
    let addr = unsafe { call(linux::__NR_mmap, page) }?;
    let plan = core::ptr::with_exposed_provenance::<Plan>(addr as usize);
    // SAFETY: a page was mapped there, which holds a plan and is aligned for it; a plan is valid for any bytes; the host
    // wrote it before this program started and writes it no more. It is unmapped by `finished`, which does not have it.
    Ok(unsafe { &*plan })
}

/// Maps a region where the plan says. Where there is something already, or no guest has anything, that fails.
fn map(region: &Region) -> Result<(), Failed> {
    let &Region { addr, len, rights, backing } = region;
    let (flags, file, offset) = match backing {
        BACKED_COPY => (linux::MAP_PRIVATE, u64::from(MEMORY_FD), addr),
        BACKED_SHARED => (linux::MAP_SHARED, u64::from(MEMORY_FD), addr),
        BACKED_ZEROS => (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS, u64::MAX, 0),
        _ => return Err(NO_PLAN),
    };
    addr.checked_add(len).filter(|&end| end <= LOADER_ADDR).ok_or(NO_PLAN)?;
    let flags = flags | linux::MAP_FIXED_NOREPLACE | linux::MAP_NORESERVE;
    // The rights have Linux's values: PROT_READ is 1, PROT_WRITE 2, PROT_EXEC 4.
    let region = [addr, len, rights.into(), flags.into(), file, offset];
    // SAFETY: with this flag, the call maps where nothing is, or fails.
    let mapped = unsafe { call(linux::__NR_mmap, region) }?;
    // A kernel before 4.17, which does not know the flag, may map elsewhere.
    if mapped == addr { Ok(()) } else { Err(NO_PLAN) }
}

/// The steps on the guest's stack: away with all that is left of the process, and with the system calls.
extern "C" fn finish(entry: u64) -> ! {
    attempt(finished());
    if call::ring() { start(entry) } else { stop() }
}

fn finished() -> Result<(), Failed> {
    let end = loader_end();
    // SAFETY: what lies behind the loader is the stack that was left, the plan, which nobody has any more, and what the
    // kernel puts into every process.
    unsafe { call(linux::__NR_munmap, [end, ADDRESSES_END - end, 0, 0, 0, 0]) }?;
    call::limit_resources()?;
    filter::install()
}

/// The first address behind the loader.
fn loader_end() -> u64 {
    unsafe extern "C" {
        #[link_name = "loader_end"]
        static LOADER_END: u8;
    }
    (&raw const LOADER_END).addr() as u64
}

/// Starts the guest, with nothing in the registers of what was done here.
fn start(entry: u64) -> ! {
    // SAFETY: the plan's entry point is in a region of code, by the host's check of the image, and the guest is entered
    // as its entry point expects: with an empty stack of its own. Nothing of this program runs again.
    unsafe {
        asm!(
            "mov rsp, rcx",
            "push rax",
            "xor eax, eax", "xor ebx, ebx", "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "xor edi, edi",
            "xor ebp, ebp", "xor r8d, r8d", "xor r9d, r9d", "xor r10d, r10d", "xor r11d, r11d", "xor r12d, r12d",
            "xor r13d, r13d", "xor r14d, r14d", "xor r15d, r15d",
            "ret",
            in("rax") entry, in("rcx") GUEST_STACK,
            options(noreturn),
        );
    }
}

/// The value, or the end: the host is told which call failed.
fn attempt<T>(result: Result<T, Failed>) -> T {
    match result {
        Ok(value) => value,
        Err(failed) => {
            call::tell(failed);
            stop()
        }
    }
}

fn stop() -> ! {
    // SAFETY: the instruction raises an exception that nothing handles, which ends the process.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    stop()
}
