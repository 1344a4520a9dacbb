//! What host and guest share, in one definition for both sides.
//!
//! A guest is a program in an address space that the host has made. It has a read-only [`boot`] page that says what to
//! do, and one window of memory, the [`exchange`], that both sides write. The guest fills the exchange and rings the
//! **doorbell**; the host takes what is there, answers in place, and lets the guest go on. There is nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | where everything lies in the guest's address space |
//! | [`boot`] | what the guest is told when it starts: the files, and the request |
//! | [`exchange`] | what the guest says at a doorbell: operations, and how it ended |
//! | [`decode`] | what a decoder is given, and what it answers |
//! | [`identity`] | what a new image is called and when it was made |
//! | [`loader`] | how the sandbox that is a process comes to be |
//! | [`convert`] | the request and the report of `instar convert` |
//! | [`dd`] | the request and the report of `instar dd` |
//!
//! All records are little-endian, as the one architecture they are for, without padding, and valid for any bytes:
//! what they *mean* is checked by the side that reads them. Everything the host reads here was written by a guest
//! that may have been taken over by an image, so the host copies it out once and checks the copy.

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::cast_possible_truncation, reason = "guests and their hosts have 64-bit addresses")]

pub mod boot;
pub mod convert;
pub mod dd;
pub mod decode;
pub mod exchange;
pub mod identity;
pub mod layout;
pub mod loader;

/// The version of all that is defined here. A guest carries it in a note, [`NOTE_NAME`], and the host refuses another.
pub const ABI_VERSION: u32 = 6;

/// The owner's name of the ELF note that holds [`ABI_VERSION`] as a little-endian `u32`.
pub const NOTE_NAME: &str = "instar";

/// The type of the ELF note that holds [`ABI_VERSION`].
pub const NOTE_TYPE: u32 = 1;
