//! qemu-img as the oracle: what it makes is read as it reads it, and what is written here it finds in order.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

#[path = "../common/mod.rs"]
mod common;
mod in_place;
mod options;
mod packed;
mod random;
mod read;
mod spec;
mod update;
mod write;
