//! The window of memory that the host sees.

use guest_abi::layout::{EXCHANGE_ADDR, EXCHANGE_LEN};
use zerocopy::{Immutable, IntoBytes};

/// Copies `value` to byte `offset` of the exchange.
pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(offset: u64, value: &T) {
    let bytes = value.as_bytes();
    let target = place(offset, bytes.len());
    // SAFETY: `place` returns a pointer to as many mapped, writable bytes as are copied. Nothing in the guest holds a
    // reference to the exchange, so `bytes` lies elsewhere.
    unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
}

/// Fills `buf` from byte `offset` of the exchange.
pub(crate) fn get(offset: u64, buf: &mut [u8]) {
    let source = place(offset, buf.len());
    // SAFETY: `place` returns a pointer to as many mapped, readable bytes as are copied. Nothing in the guest holds a
    // reference to the exchange, so `buf` lies elsewhere.
    unsafe { buf.as_mut_ptr().copy_from_nonoverlapping(source, buf.len()) }
}

/// Lets `work` have the whole exchange, until it returns. It must not ring.
pub(crate) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let whole = place(0, EXCHANGE_LEN as usize);
    // SAFETY: `place` returns a pointer to as many mapped, readable and writable bytes, which are valid as `u8` whatever
    // they are. Nothing else in the guest holds a reference to them, `put` and `get` are not called by `work`, and the
    // host touches them only between a ring and its answer, when this reference is gone.
    work(unsafe { core::slice::from_raw_parts_mut(whole, EXCHANGE_LEN as usize) })
}

/// A pointer to `len` bytes from byte `offset` of the exchange. Panics where they do not lie in it.
fn place(offset: u64, len: usize) -> *mut u8 {
    let end = offset.checked_add(len as u64);
    assert!(end.is_some_and(|end| end <= EXCHANGE_LEN), "outside the exchange");
    core::ptr::with_exposed_provenance_mut((EXCHANGE_ADDR + offset) as usize)
}
