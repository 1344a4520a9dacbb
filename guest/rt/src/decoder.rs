//! A guest that decompresses: [`guest_abi::decode`].

use guest_abi::exchange::{GO_ON, Head};
use guest_ops::decode::Decoder;

use crate::bell::ring_head;
use crate::exchange;

/// Makes the guest a decoder.
#[macro_export]
macro_rules! decoder {
    () => {
        /// Where the host starts the guest, with the stack as at the beginning of a function.
        // SAFETY: as in `command`: the symbol is the ELF entry point's alone, the stack is as a function expects it, and
        // the function never returns.
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            $crate::decode()
        }
    };
}

/// Decompresses batch after batch. The first is there when the guest starts.
pub fn decode() -> ! {
    crate::heap::init();
    let mut decoder = Decoder::default();
    loop {
        let count = exchange::with(|exchange| decoder.batch(exchange));
        ring_head(&Head { state: GO_ON, count, ..Head::default() });
    }
}
