//! The memory functions that the compiler calls. A hosted program has them from its C library.
//!
//! None of them may be written so that the compiler would recognise it as itself, which is why they are string
//! instructions: short, and fast on every processor that runs virtual machines.

use core::arch::asm;
use core::ffi::{c_int, c_void};

/// # Safety
///
/// As C's `memcpy`.
// SAFETY: the guest links no C library, so the name is defined once, as the function that C's standard describes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void {
    // SAFETY: the caller owns `len` bytes at both places. The direction flag is clear by the calling convention.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
///
/// As C's `memmove`.
// SAFETY: as `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void {
    if dst.addr().wrapping_sub(src.addr()) >= len {
        // SAFETY: the destination does not begin inside the source, so copying upwards reads each byte before it is
        // overwritten; the caller owns `len` bytes at both places.
        return unsafe { memcpy(dst, src, len) };
    }
    let last = len.wrapping_sub(1);
    // SAFETY: the caller owns `len` bytes at both places, and here `len` is not 0. The direction flag is set for
    // copying downwards and cleared again, as the calling convention wants it.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _,
            inout("rdi") dst.wrapping_byte_add(last) => _, inout("rsi") src.wrapping_byte_add(last) => _,
            options(nostack));
    }
    dst
}

/// # Safety
///
/// As C's `memset`.
// SAFETY: as `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dst: *mut c_void, byte: c_int, len: usize) -> *mut c_void {
    // SAFETY: the caller owns `len` bytes at `dst`. The direction flag is clear by the calling convention.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") dst => _, in("eax") byte,
            options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
///
/// As C's `memcmp`.
// SAFETY: as `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const c_void, b: *const c_void, len: usize) -> c_int {
    for at in 0..len {
        // SAFETY: the caller owns `len` bytes at `a`, and `at` is less.
        let x = unsafe { byte_at(a, at) };
        // SAFETY: the caller owns `len` bytes at `b`, and `at` is less.
        let y = unsafe { byte_at(b, at) };
        if x != y {
            return c_int::from(x) - c_int::from(y);
        }
    }
    0
}

/// # Safety
///
/// As BSD's `bcmp`.
// SAFETY: as `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const c_void, b: *const c_void, len: usize) -> c_int {
    // SAFETY: the caller owns `len` bytes at both places, which is all that `memcmp` asks.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
///
/// As C's `strlen`.
// SAFETY: as `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_void) -> usize {
    let mut len = 0;
    // SAFETY: the caller's text ends in a zero byte, and no byte after it is looked at.
    while unsafe { byte_at(text, len) } != 0 {
        len += 1;
    }
    len
}

/// The byte `at` bytes behind `start`, read so that no loop over it is taken for a memory function.
///
/// # Safety
///
/// The byte must be the caller's to read.
unsafe fn byte_at(start: *const c_void, at: usize) -> u8 {
    // SAFETY: the caller vouches for the byte; a byte needs no alignment.
    unsafe { start.wrapping_byte_add(at).cast::<u8>().read_volatile() }
}
