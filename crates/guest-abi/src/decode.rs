//! What a decoder is given, and what it answers.
//!
//! A decoder is a guest that knows no file and no command: each time that it is resumed, it finds a batch of compressed
//! units in its exchange, decompresses them, and rings. The units' bytes are in the exchange too, before and after.
//!
//! ```text
//! offset 0        [`Head`]      from the decoder: `GO_ON`, and how many units it has looked at; or that it panicked
//!        32       text          from the decoder: why
//!        256      count         from the host: how many units there are, a `u32`
//!        512      units         from the host: so many [`Unit`]s
//!        24576    lengths       from the decoder: for each unit a `u32`, its length in bytes or [`BROKEN`]
//!        32768    plain         what units become
//!        2129920  packed        what they were
//! ```
//!
//! [`Head`]: crate::exchange::Head

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::exchange::{MAX_PACKED_LEN, MAX_UNIT_LEN};
use crate::layout::EXCHANGE_LEN;

/// The offset of the number of units.
pub const COUNT_AT: u64 = 256;

/// The offset of the first unit.
pub const UNITS_AT: u64 = 512;

/// How many units one batch can have.
pub const MAX_UNITS: usize = 1024;

/// The offset of the first length.
pub const LENS_AT: u64 = 24576;

/// In place of a length: the unit cannot be decompressed.
pub const BROKEN: u32 = u32::MAX;

/// The offset of what units become.
pub const PLAIN_AT: u64 = 32768;

/// How many bytes the units of a batch may become: as many as the largest.
pub const PLAIN_LEN: u64 = MAX_UNIT_LEN as u64;

/// The offset of what units were.
pub const PACKED_AT: u64 = PLAIN_AT + PLAIN_LEN;

/// How many bytes the units of a batch may take.
pub const PACKED_LEN: u64 = EXCHANGE_LEN - PACKED_AT;

/// A unit of compressed data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Unit {
    /// One of the `CODEC_` constants.
    pub codec: u32,
    /// Where it is, from [`PACKED_AT`] on.
    pub packed_at: u32,
    /// How many bytes it takes at most. What follows its end is not part of it.
    pub packed_len: u32,
    /// Where it goes, from [`PLAIN_AT`] on.
    pub plain_at: u32,
    /// How many bytes it becomes at most.
    pub plain_len: u32,
}

const _: () = assert!(UNITS_AT + (MAX_UNITS * size_of::<Unit>()) as u64 <= LENS_AT);
const _: () = assert!(LENS_AT + (MAX_UNITS * size_of::<u32>()) as u64 <= PLAIN_AT);
const _: () = assert!(PACKED_LEN >= MAX_PACKED_LEN as u64);
