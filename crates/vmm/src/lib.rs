//! The host's side of instar's wall.
//!
//! A command opens its files, starts a guest that interprets them, and does what the guest asks for: it moves bytes,
//! and looks at none of them. This crate knows no image format.
//!
//! | module | layer |
//! |---|---|
//! | [`session`] | [`Job`]: one command, from its files to its report |
//! | [`sandbox`] | what runs a guest, and the ways in which a guest ends badly |
//! | [`kvm`] | the sandbox that is a virtual machine |
//! | [`process`] | the sandbox that is a process |
//! | [`choice`] | which of the two |
//! | `space` | what a guest finds in its address space |
//! | [`image`] | a guest binary, taken apart |
//! | `ring` | what the guest said with one ring of the doorbell |
//! | [`exec`] | what it asked for: checked, merged, and done on all processors |
//! | [`confine`] | what this process gives up, once all files are open |
//! | [`files`] | the files of a command, opened by the host and by nobody else |
//! | [`error`](mod@error) | every way a command can end other than well |
//! | [`shown()`] | text that users or images' authors wrote, as messages show it |
//!
//! `unsafe` is in [`kvm`], in [`process`], and where files meet a guest's memory (`files::direct`).

#![deny(unsafe_code)]

pub mod choice;
pub mod confine;
pub mod error;
pub mod exec;
pub mod files;
pub mod image;
pub mod kvm;
pub mod process;
mod ring;
pub mod sandbox;
pub mod session;
mod shown;
mod space;

pub use choice::{Choice, Sandboxes};
pub use error::{Error, Failed};
pub use exec::{Conduct, Limits, Observer};
pub use files::{FileId, Files, OutputOptions};
pub use image::GuestImage;
pub use ring::FailureKind;
pub use sandbox::GuestFault;
pub use session::Job;
pub use shown::shown;
