//! What a command can ask of its host.

use alloc::vec::Vec;

use fmt_core::{Codec, Error, FileId, ReadAt, StepSink};
use guest_abi::exchange;

/// The other side of the wall: it reads inputs and, as a [`StepSink`], carries out plans.
///
/// Of compressed units it takes those that [`Units`](crate::units::Units) lets through.
///
/// Its files were opened, and numbered, before the command began.
pub trait Host: StepSink {
    /// The length in bytes of the input `file`, or of a file in place as the steps so far have made it.
    fn file_len(&self, file: FileId) -> u64;

    /// Whether the user's name for `file` ends in `.dmg`.
    fn is_named_dmg(&self, file: FileId) -> bool;

    /// Opens the file that the input `from` names, as one more input.
    ///
    /// # Errors
    ///
    /// When the name is too long. A file that may not be opened ends the command: its host says why.
    fn open(&self, from: FileId, name: &[u8]) -> Result<FileId, Error>;

    /// The output `of` consists of one file more: its number. To be called before the first step. What it is called, and
    /// whether it may be, is for the host to say, which ends the command if not.
    fn create(&self, of: FileId) -> FileId;

    /// Says that units of compressed data may come. To be called before the first step, or there must not be any.
    fn expect_units(&self);

    /// Says where inputs are other than zero: `answer` becomes what is told of each of `scans`, one behind the other. That is
    /// a bit for every `unit` bytes of the range, the last of which may be fewer, lowest bit first and in whole bytes: set if one
    /// of them is not zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](fmt_core::ErrorKind::Io) when a range does not lie inside the file.
    fn scan(&self, scans: &[Scan], unit: u32, answer: &mut Vec<u8>) -> Result<(), Error>;

    /// Compresses `units` into the file `stage`, and tells in `lens` what became of each.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](fmt_core::ErrorKind::Io) when a unit does not lie inside its file, or the stage has no room;
    /// [`ErrorKind::UnsupportedFeature`](fmt_core::ErrorKind::UnsupportedFeature) for a codec that it does not know.
    fn pack(&self, units: &[Pack], codec: Codec, stage: FileId, lens: &mut Vec<Packed>) -> Result<(), Error>;

    /// Waits until all that was asked for has been done.
    fn settle(&self);

    /// Fills `buf` with the bytes of the input `file` that start at byte `offset`; of a file in place, with what all steps so
    /// far have made of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](fmt_core::ErrorKind::Io) when the range does not lie inside the file.
    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error>;
}

/// A part of an input that is to be compared with zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The input.
    pub file: FileId,
    /// The first byte.
    pub offset: u64,
    /// How many bytes, of which there is one at least.
    pub len: u64,
}

/// Bytes that are to be compressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// The file that holds them: an input or the stage.
    pub file: FileId,
    /// The first byte.
    pub offset: u64,
    /// How many bytes, of which there is one at least.
    pub len: u32,
    /// Where they go in the stage: there is room for what cannot be compressed.
    pub dst: u64,
}

/// What became of bytes that were to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// So many bytes in the stage.
    Len(u32),
    /// All of them are zero.
    Zeros,
    /// There was no room for it.
    No,
}

/// One input of a host, or a file in place, as the format crates read it.
#[derive(Debug)]
pub struct HostFile<'h, H> {
    host: &'h H,
    file: FileId,
}

impl<'h, H: Host> HostFile<'h, H> {
    /// The input, or the file in place, `file` of `host`.
    pub const fn new(host: &'h H, file: FileId) -> Self {
        Self { host, file }
    }

    /// The file's number.
    #[must_use]
    pub const fn id(&self) -> FileId {
        self.file
    }

    /// Whether the user's name for the file ends in `.dmg`.
    #[must_use]
    pub fn is_named_dmg(&self) -> bool {
        self.host.is_named_dmg(self.file)
    }
}

impl<H: Host> ReadAt for HostFile<'_, H> {
    fn file_len(&self) -> u64 {
        self.host.file_len(self.file)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.host.read_exact_at(self.file, offset, buf)
    }
}

/// Why a command cannot do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A file is not what it would have to be.
    Image {
        /// The file.
        file: FileId,
        /// What is wrong with it.
        error: Error,
    },
    /// The request makes no sense, which is the host's mistake and not the user's.
    BadRequest(&'static str),
}

impl Failure {
    /// The same failure, of another file.
    #[must_use]
    pub fn in_file(self, file: FileId) -> Self {
        match self {
            Self::Image { error, .. } => Self::Image { file, error },
            Self::BadRequest(_) => self,
        }
    }

    /// The failure as the doorbell carries it: the record, and the words.
    #[must_use]
    pub fn to_record(&self) -> (exchange::Failure, &'static str) {
        match *self {
            Self::Image { file, error } => {
                (exchange::Failure { kind: kind_code(error), file: file.0, at: error.at }, error.what)
            }
            Self::BadRequest(what) => {
                (exchange::Failure { kind: exchange::KIND_BAD_REQUEST, file: 0, at: 0 }, what)
            }
        }
    }
}

fn kind_code(error: Error) -> u32 {
    use fmt_core::ErrorKind as Kind;
    match error.kind {
        Kind::NotThisFormat => exchange::KIND_NOT_THIS_FORMAT,
        Kind::UnsupportedFormat => exchange::KIND_UNSUPPORTED_FORMAT,
        Kind::UnsupportedFeature => exchange::KIND_UNSUPPORTED_FEATURE,
        Kind::Corrupt => exchange::KIND_CORRUPT,
        Kind::WrongParent => exchange::KIND_WRONG_PARENT,
        Kind::NotFound => exchange::KIND_NOT_FOUND,
        Kind::TooLarge => exchange::KIND_TOO_LARGE,
        // The enumeration may grow; what is new is told by its words.
        _ => exchange::KIND_IO,
    }
}

/// Says which file an error is about.
pub(crate) trait InFile<T> {
    /// Adds `file` to the error.
    fn in_file(self, file: FileId) -> Result<T, Failure>;
}

impl<T> InFile<T> for Result<T, Error> {
    fn in_file(self, file: FileId) -> Result<T, Failure> {
        self.map_err(|error| Failure::Image { file, error })
    }
}
