//! What each command does, on the inside of the wall.
//!
//! A command gets its request and a [`Host`], which reads inputs and takes the steps of a plan. In a guest the host is
//! behind the doorbell; in a test or a fuzzer it is memory. The code here cannot tell the difference.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | [`Host`], what a command can ask for |
//! | [`input`] | an input of any format, opened as a disk |
//! | [`dd`] | `instar dd` |
//! | `testing` | a host that is memory, behind the feature of that name |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "testing")]
extern crate std;

pub mod dd;
pub mod host;
pub mod input;
#[cfg(feature = "testing")]
pub mod testing;

pub use host::{Failure, Host, HostFile};
