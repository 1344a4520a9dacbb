//! The request and the report of `instar dd`.
//!
//! File 0 is the input, file 1 the output.

use crate::identity::Identity;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of the input.
pub const INPUT: u32 = 0;

/// The number of the output.
pub const OUTPUT: u32 = 1;

/// The longest name of a format, in bytes.
pub const FORMAT_NAME_LEN: usize = 16;

/// What is to be copied.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// The input's format by name, padded with zero bytes; all zeros: whatever the input shows.
    pub input_format: [u8; FORMAT_NAME_LEN],
    /// The output's format by name, padded with zero bytes.
    pub output_format: [u8; FORMAT_NAME_LEN],
    /// The size of a block in bytes, 1 ..= 2^31 - 1.
    pub block_size: u64,
    /// The end of what is copied, in blocks from the beginning of the disk, or [`NO_COUNT`].
    pub count: u64,
    /// The beginning of what is copied, in blocks.
    pub skip: u64,
    /// The new image's identity.
    pub identity: Identity,
}

/// [`Request::count`]: everything up to the end of the disk.
pub const NO_COUNT: u64 = u64::MAX;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// The size of the input's disk in bytes.
    pub virtual_size: u64,
    /// The bytes of the disk that were asked for.
    pub window_len: u64,
    /// [`SKIPPED_PAST_END`] or 0.
    pub flags: u64,
}

/// [`Report::flags`]: the copy was to begin beyond the end, so nothing was copied.
pub const SKIPPED_PAST_END: u64 = 1;
