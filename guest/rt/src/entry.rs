//! From the first instruction to the command and its report.

use guest_abi::boot::BootPage;
use guest_abi::layout::BOOT_ADDR;
use guest_ops::Failure;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::bell::Bell;

/// Makes a function the guest's command: `fn(&Bell, &Request) -> Result<Report, Failure>`.
#[macro_export]
macro_rules! command {
    ($command:path) => {
        /// Where the host starts the guest, with the stack as at the beginning of a function.
        // SAFETY: the linker script gives the symbol to the ELF entry point and nothing else defines it. The host
        // starts the guest with RSP 8 below a multiple of 16, as the C calling convention has it after a call, and
        // the function never returns.
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            $crate::run($command)
        }
    };
}

/// Runs `command` on the request in the boot page, tells the host how it ended, and stops.
pub fn run<Request, Report>(command: fn(&Bell, &Request) -> Result<Report, Failure>) -> !
where
    Request: FromBytes + Immutable + KnownLayout,
    Report: IntoBytes + Immutable,
{
    crate::heap::init();
    let boot = boot_page();
    let bell = Bell::new(boot);
    let outcome = match request(boot) {
        Ok(request) => command(&bell, request),
        Err(failure) => Err(failure),
    };
    bell.end(outcome)
}

/// What the host tells the guest.
pub(crate) fn boot_page() -> &'static BootPage {
    let page = core::ptr::with_exposed_provenance::<BootPage>(BOOT_ADDR as usize);
    // SAFETY: the host maps a page at BOOT_ADDR before the guest starts, aligned to more than the record needs, of
    // exactly its size, valid for any bytes, and writes to it no more.
    unsafe { &*page }
}

fn request<Request: FromBytes + Immutable + KnownLayout>(boot: &BootPage) -> Result<&Request, Failure> {
    let bytes = boot.request.get(..boot.header.request_len as usize);
    bytes
        .and_then(|bytes| Request::ref_from_bytes(bytes).ok())
        .ok_or(Failure::BadRequest("its length is not the command's"))
}
