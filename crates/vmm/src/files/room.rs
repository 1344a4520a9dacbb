//! How many files there may be.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many descriptors the process needs beside those of its files: for KVM, the terminal, directories.
const MORE_DESCRIPTORS: u64 = 256;

/// Lets the process have as many descriptors as `files` files take: by default it has fewer.
///
/// # Errors
///
/// When it may not have so many: how many it may.
pub(super) fn make_room(files: usize) -> Result<(), u64> {
    let needed = (files as u64).saturating_add(MORE_DESCRIPTORS);
    // Where the system does not tell, opening fails when it comes to that.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft < needed {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
    if hard < needed { Err(hard) } else { Ok(()) }
}
