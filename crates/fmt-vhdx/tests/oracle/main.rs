//! The crate against `qemu-img` and `qemu-io`: what they write is read, what is written they read.

#![allow(clippy::cast_possible_truncation, reason = "small files")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod log;
mod qemu;
mod read;
mod refuse;
mod update;
mod write;
