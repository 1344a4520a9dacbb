//! The memory functions that the compiler calls. A hosted program has them from its C library.
//!
//! None of them may be written so that the compiler would recognise it as itself. Long ones are string instructions: fast
//! on every processor that runs virtual machines, but slow to start. Decompression copies a few bytes at a time, and
//! those are loads and stores, all loads before the first store, so that it does not matter whether the places overlap.

use core::arch::asm;
use core::ffi::{c_int, c_void};

/// Up to so many bytes are copied with loads and stores.
const SHORT: usize = 64;

/// # Safety
///
/// As C's `memcpy`.
// SAFETY: the guest links no C library, so the name is defined once, as the function that C's standard describes.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void {
    if len <= SHORT {
        // SAFETY: the caller owns `len` bytes at both places.
        unsafe { copy_short(dst, src, len) }
        return dst;
    }
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
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memmove(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void {
    if len <= SHORT || dst.addr().wrapping_sub(src.addr()) >= len {
        // SAFETY: either the destination does not begin inside the source, so that copying upwards reads each byte before
        // it is overwritten, or `memcpy` loads all bytes before it stores one; the caller owns `len` bytes at both places.
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

/// Copies up to [`SHORT`] bytes, with all loads before the first store.
///
/// # Safety
///
/// As C's `memmove`.
#[allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one of them is done, and one proof is enough for all"
)]
unsafe fn copy_short(dst: *mut c_void, src: *const c_void, len: usize) {
    // SAFETY: each of them copies between as many bytes and twice as many, and the caller owns `len` at both places.
    unsafe {
        match len {
            0 => {}
            1 => copy_ends::<u8>(dst, src, len),
            2..4 => copy_ends::<u16>(dst, src, len),
            4..8 => copy_ends::<u32>(dst, src, len),
            8..16 => copy_ends::<u64>(dst, src, len),
            16..32 => copy_ends::<u128>(dst, src, len),
            _ => copy_ends::<[u128; 2]>(dst, src, len),
        }
    }
}

/// Copies `len` bytes as their first `T` and their last, which may overlap: both are loaded before the first is stored.
///
/// # Safety
///
/// The caller must own `len` bytes at both places, which is no less than the size of `T`, nor more than twice that.
unsafe fn copy_ends<T: Copy>(dst: *mut c_void, src: *const c_void, len: usize) {
    let last = len.wrapping_sub(size_of::<T>());
    let (src, dst) = (src.cast::<T>(), dst.cast::<T>());
    // SAFETY: a `T` begins there that is the caller's to read, and needs no alignment.
    let first = unsafe { src.read_unaligned() };
    // SAFETY: as above: `len` bytes are no less than a `T`.
    let second = unsafe { src.wrapping_byte_add(last).read_unaligned() };
    // SAFETY: as for reading, at a place that is the caller's to write.
    unsafe { dst.write_unaligned(first) };
    // SAFETY: as above.
    unsafe { dst.wrapping_byte_add(last).write_unaligned(second) };
}

/// # Safety
///
/// As C's `memset`.
// SAFETY: as `memcpy`.
#[cfg_attr(not(test), unsafe(no_mangle))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn bcmp(a: *const c_void, b: *const c_void, len: usize) -> c_int {
    // SAFETY: the caller owns `len` bytes at both places, which is all that `memcmp` asks.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
///
/// As C's `strlen`.
// SAFETY: as `memcpy`.
#[cfg_attr(not(test), unsafe(no_mangle))]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than what is copied with loads and stores, and how far source and destination are apart at most.
    const LONG: usize = SHORT + 40;

    fn numbered() -> [u8; 2 * LONG] {
        core::array::from_fn(|index| index.to_le_bytes()[0])
    }

    #[test]
    fn bytes_are_copied_between_places_that_overlap() {
        for len in 0..LONG {
            for (src, dst) in (0..LONG).flat_map(|at| [(LONG / 2, at), (at, LONG / 2), (at, at)]) {
                let (mut found, mut expected) = (numbered(), numbered());
                let start = found.as_mut_ptr();
                // SAFETY: both places begin before LONG, are no longer, and the array has twice as many bytes.
                unsafe { memmove(start.wrapping_add(dst).cast(), start.wrapping_add(src).cast(), len) };
                expected.copy_within(src..src + len, dst);
                assert!(found == expected, "{len} bytes from {src} to {dst}");
            }
        }
    }

    #[test]
    fn bytes_are_copied_to_another_place() {
        for len in 0..=2 * LONG {
            let mut found = [0_u8; 2 * LONG];
            // SAFETY: both arrays have as many bytes.
            unsafe { memcpy(found.as_mut_ptr().cast(), numbered().as_ptr().cast(), len) };
            assert!(found[..len] == numbered()[..len] && found[len..].iter().all(|&byte| byte == 0), "{len}");
        }
    }

    #[test]
    fn bytes_are_filled() {
        for len in 0..=LONG {
            let mut found = [0_u8; LONG];
            // SAFETY: the array has as many bytes.
            unsafe { memset(found.as_mut_ptr().cast(), 0x1_07, len) };
            assert!(found[..len].iter().all(|&byte| byte == 7) && found[len..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn bytes_are_compared_as_numbers_without_a_sign() {
        let cases: [([u8; 3], [u8; 3], _); 3] =
            [([1, 2, 3], [1, 2, 3], 0), ([1, 0x80, 3], [1, 2, 9], 1), ([0, 9, 9], [1, 0, 0], -1)];
        for (a, b, expected) in cases {
            // SAFETY: both arrays have as many bytes.
            let compared = unsafe { memcmp(a.as_ptr().cast(), b.as_ptr().cast(), 3) };
            assert_eq!(compared.signum(), expected);
            // SAFETY: as above.
            let differs = unsafe { bcmp(a.as_ptr().cast(), b.as_ptr().cast(), 3) } != 0;
            assert_eq!(differs, expected != 0);
        }
        // SAFETY: no byte is looked at.
        assert_eq!(unsafe { memcmp([1_u8].as_ptr().cast(), [2_u8].as_ptr().cast(), 0) }, 0);
    }

    #[test]
    fn a_text_ends_with_a_zero_byte() {
        // SAFETY: the text ends with one.
        assert_eq!(unsafe { strlen(c"doorbell".as_ptr().cast()) }, 8);
    }
}
