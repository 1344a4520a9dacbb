//! What `qemu-img` and `qemu-io` make is read as they read it, and what is written here is read by them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod differential;
mod executor;
mod options;
mod random;
mod read;
mod scene;
mod update;
mod write;
