//! The run-time of a guest: everything a command needs that is not its logic.
//!
//! A guest is a static program without an operating system, with nothing mapped but [`guest_abi::layout`]. It can compute,
//! and it can ring the doorbell. It runs in ring 3 of a machine that has no ring 0 code at all, or in a process whose kernel
//! does nothing for it but the two system calls of the doorbell: only `doorbell` knows which.
//!
//! | module | what |
//! |---|---|
//! | `entry` | from the first instruction to the command and its report |
//! | `bell` | the doorbell, and the command's `Host` behind it |
//! | `decoder` | the other kind of guest, which has no command |
//! | `exchange` | the window of memory that the host sees |
//! | `doorbell` | how the host is told to look at it |
//! | `heap` | the memory that formats take for their windows |
//! | `mem` | the memory functions that the compiler calls |
//! | `panic` | how a guest says that it is broken |
//! | `note` | the note by which the host knows the guest |

#![no_std]
#![cfg(feature = "bare-metal")]
#![allow(clippy::cast_possible_truncation, reason = "guests and their hosts have 64-bit addresses")]

extern crate alloc;

mod bell;
mod decoder;
mod doorbell;
mod entry;
mod exchange;
mod heap;
mod mem;
mod note;
mod panic;

pub use bell::Bell;
pub use decoder::decode;
pub use entry::run;
