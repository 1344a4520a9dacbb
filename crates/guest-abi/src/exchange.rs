//! What the guest says when it rings the doorbell.
//!
//! ```text
//! offset 0     [`Head`]      what this ring is about
//!        32    text          a failure's words, `Head::text_len` bytes of at most `TEXT_LEN`
//!        256   report        the command's report, `Head::report_len` bytes of at most `REPORT_LEN`
//!        512   records       `Head::count` times [`Record`]
//!        233472 data         bytes that the host puts there, answering a `READ` or `OPEN`, or takes for a `WRITE`
//! ```
//!
//! The host carries out all operations of a ring before the guest goes on, in any order and side by side. But a [`SET_LEN`]
//! comes before those that follow it and, where it makes a file shorter, after those before it. An operation that fails
//! ends the command on the host's side, which knows best what happened: the guest only ever goes on when everything it
//! asked for has been done.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::EXCHANGE_LEN;

/// The offset of a failure's words.
pub const TEXT_AT: u64 = 32;

/// The longest text of a failure, in bytes.
pub const TEXT_LEN: usize = 224;

/// The offset of the report.
pub const REPORT_AT: u64 = 256;

/// The longest report of a command, in bytes.
pub const REPORT_LEN: usize = 256;

/// The offset of the first record.
pub const RECORDS_AT: u64 = 512;

/// How many records one ring can carry.
pub const MAX_RECORDS: usize = 4096;

/// The offset of the data window.
pub const DATA_AT: u64 = 233_472;

/// The length of the data window in bytes.
pub const DATA_LEN: u64 = 1 << 20;

/// What a ring is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// [`GO_ON`], [`FINISHED`], [`FAILED`] or [`PANICKED`].
    pub state: u32,
    /// How many records there are; 0 when the guest failed or panicked.
    pub count: u32,
    /// The length of the text in bytes.
    pub text_len: u32,
    /// The length of the report in bytes.
    pub report_len: u32,
    /// How many operations the guest has asked for since it started, these included. The host counts too, so that a
    /// ring that was lost or cut short is noticed.
    pub total_operations: u64,
    /// How many bytes those operations write to outputs.
    pub total_written: u64,
}

/// The guest wants its operations done, and to be resumed.
pub const GO_ON: u32 = 1;

/// The guest has said all it had to say: these operations are the last, and the report is there.
pub const FINISHED: u32 = 2;

/// The guest cannot do what was asked: the report is a [`Failure`], the text says what it is about.
pub const FAILED: u32 = 3;

/// The guest found a mistake of its own: the text says where.
pub const PANICKED: u32 = 4;

/// One operation. Fields that an operation does not use are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// [`READ`], [`SET_LEN`], [`COPY`], [`ZERO`], [`WRITE`], [`OPEN`], [`EXPECT`], [`DECODE`], [`SCAN`], [`PACK`] or
    /// [`CREATE`].
    pub op: u32,
    /// The file that is read, sized or written.
    pub file: u32,
    /// The file that a `COPY`, `DECODE` or `PACK` reads.
    pub src_file: u32,
    /// How a `DECODE`'s unit is compressed, or a `PACK`'s is to be: one of the `CODEC_` constants.
    pub codec: u32,
    /// The byte offset to write at; of a `READ`, `OPEN` or `SCAN`, in the data window.
    pub dst: u64,
    /// The byte offset to read at; of a `WRITE` or `OPEN`, in the data window.
    pub src: u64,
    /// How many bytes; of a `SET_LEN`, the length.
    pub len: u64,
    /// How many bytes a `DECODE`'s unit takes in its file, at most; where in the data window a `PACK`'s answer goes, which
    /// is that.
    pub packed_len: u32,
    /// How many bytes it becomes; the unit of a `SCAN` in bytes.
    pub unit_len: u32,
    /// How many of them come before the first that is wanted.
    pub skip: u32,
    /// 0.
    pub reserved: u32,
}

impl Record {
    /// All fields 0, to be filled in.
    pub const EMPTY: Self = Self {
        op: 0,
        file: 0,
        src_file: 0,
        codec: 0,
        dst: 0,
        src: 0,
        len: 0,
        packed_len: 0,
        unit_len: 0,
        skip: 0,
        reserved: 0,
    };
}

/// Bytes `src`, `len` of the input `file` into the data window at `dst`. Of a file that is written in place, too, as the rings
/// before have left it.
pub const READ: u32 = 1;

/// The output `file` is `len` bytes long. Its first operation; again when the guest knows better. Nothing is written before
/// all outputs have a length. A file that is written in place has one, and does not become shorter than that.
pub const SET_LEN: u32 = 2;

/// Bytes `src`, `len` of the input `src_file` to byte `dst` of the output `file`.
pub const COPY: u32 = 3;

/// `len` zeros to byte `dst` of the output `file`.
pub const ZERO: u32 = 4;

/// Bytes `src`, `len` of the data window to byte `dst` of the output `file`.
pub const WRITE: u32 = 5;

/// The input `file` names another file, which is to be opened as one more input: the name is bytes `src`, `len` of the
/// data window. The answer is a [`FileEntry`](crate::boot::FileEntry), put into the data window at `dst`; the file's number is
/// the next that is free. A host that does not open the file ends the command.
pub const OPEN: u32 = 6;

/// There may be a [`DECODE`] later: the last moment at which the host can make decoders may be when it makes outputs.
pub const EXPECT: u32 = 7;

/// A unit of compressed data, bytes `src`, `packed_len` of the input `src_file`, is decompressed, and `len` bytes of what
/// it becomes, from `skip` on, go to byte `dst` of the output or the stage `file`. A unit that cannot be decompressed ends
/// the command.
pub const DECODE: u32 = 8;

/// A deflate stream without a wrapper (RFC 1951). Of a `DECODE`, it fills the unit; of a `PACK`, it looks back no further
/// than 4 KiB.
pub const CODEC_DEFLATE: u32 = 1;
/// A deflate stream with zlib's header and checksum (RFC 1950), which may be shorter than the unit.
pub const CODEC_ZLIB: u32 = 2;
/// A Zstandard frame (RFC 8878), which fills the unit.
pub const CODEC_ZSTD: u32 = 3;

/// The most that a unit becomes, in bytes: the largest cluster of any format.
pub const MAX_UNIT_LEN: u32 = 2 << 20;

/// The most that a unit takes in its file, in bytes.
pub const MAX_PACKED_LEN: u32 = 2 * MAX_UNIT_LEN;

/// Where bytes `src`, `len` of the input `file` are other than zero: a bitmap, put into the data window at `dst`. It has a
/// bit for every `unit_len` bytes of the range, the last of which may be fewer, lowest bit first: set if one of them is not
/// zero. What the bits do not fill of the last byte is 0.
///
/// The host compares with zero, which tells it nothing of what the bytes mean.
pub const SCAN: u32 = 9;

/// The smallest unit of a [`SCAN`] in bytes; every unit is a multiple of it.
pub const MIN_SCAN_UNIT: u32 = 512;

/// How many bytes the answer to a [`SCAN`] of `len` bytes has.
#[must_use]
pub const fn scan_answer_len(len: u64, unit: u32) -> u64 {
    len.div_ceil(unit as u64).div_ceil(8)
}

/// Bytes `src`, `len` of the file `src_file`, [`MAX_UNIT_LEN`] at most, compressed, to byte `dst` of the stage `file`, where
/// there must be [`pack_room`] for them. The answer, put into the data window at `packed_len`, is a little-endian `u32`:
/// how many bytes they became; [`PACKED_ZEROS`] if all of them are zero, and then nothing is written; 0 if there was no
/// room.
pub const PACK: u32 = 10;

/// The answer to a `PACK` of zeros.
pub const PACKED_ZEROS: u32 = u32::MAX;

/// The length of the answer to a `PACK`.
pub const PACK_ANSWER_LEN: u64 = 4;

/// The room that must be left for `len` bytes that are compressed: what cannot be compressed becomes a little longer.
#[must_use]
pub const fn pack_room(len: u64) -> u64 {
    len + len / 64 + 1024
}

/// The output `file` consists of one file more, which becomes an output too: its number is the next that is free. The host has
/// a name for it. To be asked for before any output has a length.
pub const CREATE: u32 = 11;

/// How many files an output may consist of beside itself: a disk of 8 TiB in pieces of 2 GiB.
pub const MAX_FURTHER: u32 = 4096;

/// The longest name of a file in an image, in bytes.
pub const NAME_LEN: u64 = 4096;

/// What is wrong with an image: the report of a guest that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Failure {
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// The file it is about.
    pub file: u32,
    /// The byte offset in that file.
    pub at: u64,
}

/// The file is not an image of the format that the text names.
pub const KIND_NOT_THIS_FORMAT: u32 = 1;
/// The format that the text names is not supported: not read if the file is an input, not written if an output.
pub const KIND_UNSUPPORTED_FORMAT: u32 = 2;
/// The image uses the feature that the text names, which is not supported.
pub const KIND_UNSUPPORTED_FEATURE: u32 = 3;
/// The image contradicts its specification or itself.
pub const KIND_CORRUPT: u32 = 4;
/// What the text names is too large.
pub const KIND_TOO_LARGE: u32 = 5;
/// The file cannot be read as the guest needed to.
pub const KIND_IO: u32 = 6;
/// The image is not the one that another, which stands on it, was made for: it is told by what the text names.
pub const KIND_WRONG_PARENT: u32 = 7;
/// The image has nothing of the name that was asked for, of the kind that the text names.
pub const KIND_NOT_FOUND: u32 = 9;
/// The request makes no sense: host and guest do not understand each other.
pub const KIND_BAD_REQUEST: u32 = 8;

const _: () = assert!(size_of::<Head>() as u64 == TEXT_AT);
const _: () = assert!(TEXT_AT + TEXT_LEN as u64 <= REPORT_AT);
const _: () = assert!(REPORT_AT + REPORT_LEN as u64 <= RECORDS_AT);
const _: () = assert!(RECORDS_AT + (MAX_RECORDS * size_of::<Record>()) as u64 <= DATA_AT);
const _: () = assert!(DATA_AT + DATA_LEN <= EXCHANGE_LEN);
