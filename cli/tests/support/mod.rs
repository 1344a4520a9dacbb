//! What the tests that run whole commands share.
//!
//! A test gives [`scene::outcome`] a tool, its arguments and the files to find; it gets an [`outcome::Outcome`]
//! back, and that is the same type whether it was recorded, or seen of `qemu-img`, or seen of `instar`.
//! [`cases::assert_all`] runs many such checks and reports every one that fails.
#![allow(dead_code, reason = "each test file is a crate of its own, and uses its part of this module")]

pub(crate) mod baseline;
pub(crate) mod cases;
pub(crate) mod disk;
pub(crate) mod fixtures;
pub(crate) mod outcome;
pub(crate) mod qemu;
pub(crate) mod scene;
pub(crate) mod tool;
