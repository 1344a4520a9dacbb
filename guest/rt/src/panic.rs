//! How a guest says that it is broken.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use guest_abi::exchange::{Head, PANICKED, TEXT_AT, TEXT_LEN};

use crate::bell::ring_head;
use crate::{doorbell, exchange};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text { bytes: [0; TEXT_LEN], len: 0 };
    // A text that is too long is cut; there is nobody to tell.
    let _ = match info.location() {
        Some(place) => write!(text, "{}:{}: {}", place.file(), place.line(), info.message()),
        None => write!(text, "{}", info.message()),
    };
    exchange::put(TEXT_AT, &text.bytes);
    ring_head(&Head { state: PANICKED, text_len: text.len as u32, ..Head::default() });
    doorbell::stop()
}

/// A text of bounded length.
struct Text {
    bytes: [u8; TEXT_LEN],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            *self.bytes.get_mut(self.len).ok_or(fmt::Error)? = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// The compiled `alloc` library was made for programs that unwind, and names the function that goes on unwinding. A guest
/// does not begin to.
// SAFETY: the guest links no unwinder, so the name is defined once; and a panic stops the guest before any cleanup could
// call it.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    doorbell::stop()
}
