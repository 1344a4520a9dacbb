//! The request and the report of `instar convert`.
//!
//! The first [`Request::inputs`] files are the inputs: their disks, one behind the other, are the disk that is converted.
//! The output follows, and behind it its external data file or the staging area: nothing needs both. What images name comes
//! behind these, and then what the output consists of beside itself.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dd::FORMAT_NAME_LEN;
use crate::identity::Identity;

/// How many bytes the texts of a request have in all.
pub const TEXT_LEN: usize = 2560;

/// The length of the staging area in bytes.
pub const STAGE_LEN: u64 = 64 << 20;

/// What is to be converted.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// How many inputs there are.
    pub inputs: u32,
    /// [`PACK`], [`DATA_FILE_RAW`].
    pub flags: u32,
    /// 1: blocks of zeros are left out. 0: everything is written.
    pub leaves_zeros: u32,
    /// How many bytes of [`text`](Self::text) are the output's options: names and values in turn, each ended by a zero
    /// byte.
    pub options_len: u32,
    /// How many bytes behind them are the name of the inputs' internal snapshot.
    pub snapshot_len: u32,
    /// How many bytes behind it are the name of the backing file.
    pub backing_len: u32,
    /// How many bytes behind it are the name of the external data file.
    pub data_file_len: u32,
    /// 0.
    pub reserved: u32,
    /// The inputs' format by name, padded with zero bytes; all zeros: whatever each shows.
    pub input_format: [u8; FORMAT_NAME_LEN],
    /// The output's format by name, padded with zero bytes.
    pub output_format: [u8; FORMAT_NAME_LEN],
    /// The backing file's format by name, padded with zero bytes.
    pub backing_format: [u8; FORMAT_NAME_LEN],
    /// The new image's identity.
    pub identity: Identity,
    /// Texts, one behind the other.
    pub text: [u8; TEXT_LEN],
}

/// [`Request::flags`]: the output's blocks are compressed.
pub const PACK: u32 = 1;

/// [`Request::flags`]: the external data file is to be a raw disk of its own.
pub const DATA_FILE_RAW: u32 = 2;

/// What was converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// The size of the disk in bytes.
    pub virtual_size: u64,
}

const _: () = assert!(size_of::<Request>() <= crate::boot::MAX_REQUEST_LEN);
