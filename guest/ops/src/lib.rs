//! What each command does, on the inside of the wall.
//!
//! A command gets its request and a [`Host`], which reads inputs and takes the steps of a plan. In a guest the host is
//! behind the doorbell; in a test or a fuzzer it is memory. The code here cannot tell the difference.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | [`Host`], what a command can ask for |
//! | [`input`] | an input of any format, opened as a disk with all that is behind it |
//! | [`output`] | an output of any format, written from extents |
//! | [`units`] | compressed units, on their way between the two |
//! | [`decode`] | decompression: what a decoder does |
//! | [`sieve`] | which of a disk's data is zeros |
//! | `request` | what the requests of several commands have in common |
//! | [`dd`] | `instar dd` |
//! | [`convert`] | `instar convert` |
//! | `testing` | a host that is memory, behind the feature of that name |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "testing")]
extern crate std;

extern crate alloc;

pub mod convert;
pub mod dd;
pub mod decode;
pub mod host;
pub mod input;
pub mod output;
mod request;
pub mod sieve;
#[cfg(feature = "testing")]
pub mod testing;
pub mod units;

pub use host::{Failure, Host, HostFile, Pack, Packed, Scan};
