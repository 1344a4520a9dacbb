//! What a command can ask of its host.

use fmt_core::{Error, FileId, ReadAt, StepSink};
use guest_abi::exchange;

/// The other side of the wall: it reads inputs and, as a [`StepSink`], carries out plans.
///
/// Of compressed units it takes those that [`Units`](crate::units::Units) lets through.
///
/// Its files were opened, and numbered, before the command began.
pub trait Host: StepSink {
    /// The length in bytes of the input `file`.
    fn file_len(&self, file: FileId) -> u64;

    /// Whether the user's name for `file` ends in `.dmg`.
    fn is_named_dmg(&self, file: FileId) -> bool;

    /// Opens the file that the input `from` names, as one more input.
    ///
    /// # Errors
    ///
    /// When the name is too long. A file that may not be opened ends the command: its host says why.
    fn open(&self, from: FileId, name: &[u8]) -> Result<FileId, Error>;

    /// Says that units of compressed data may come. To be called before the first step, or there must not be any.
    fn expect_units(&self);

    /// Fills `buf` with the bytes of the input `file` that start at byte `offset`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](fmt_core::ErrorKind::Io) when the range does not lie inside the file.
    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error>;
}

/// One input of a host, as the format crates read it.
#[derive(Debug)]
pub struct HostFile<'h, H> {
    host: &'h H,
    file: FileId,
}

impl<'h, H: Host> HostFile<'h, H> {
    /// The input `file` of `host`.
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
