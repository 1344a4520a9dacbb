//! Why a command's operations were not, or not all, carried out.

use std::io;
use std::path::PathBuf;

use vm_memory::VolatileMemoryError;

use crate::confine::ConfineError;
use crate::error::Error;
use crate::files::{FileError, NameError};
use crate::shown::shown;

/// Why the executor stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The guest asked for what it may not have. Nothing of that ring was carried out.
    #[error("operation {number} of the guest: {fault}")]
    Refused {
        /// The operation's number, counted from 1 since the guest started.
        number: u64,
        /// What is wrong with it.
        fault: OperationFault,
    },
    /// The guest finished without having made this output.
    #[error("the guest finished without having made '{}'", shown(.0))]
    OutputNeverMade(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that an image names was not opened.
    #[error(transparent)]
    Name(#[from] NameError),
    /// This process could not give up what it does not need any more.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A decoder could not be started, did what none does, or found that an image is broken.
    #[error(transparent)]
    Decoding(Box<Error>),
    /// The user interrupted the command.
    #[error("interrupted after {written} bytes")]
    Interrupted {
        /// How many bytes had been written to outputs.
        written: u64,
    },
    /// A worker thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(io::Error),
    /// The data window that the caller gave is smaller than the guest takes it to be.
    #[error("the guest's data window: {0}")]
    Window(VolatileMemoryError),
}

impl From<Error> for ExecError {
    fn from(error: Error) -> Self {
        match error {
            Error::Exec(error) => error,
            error => Self::Decoding(Box::new(error)),
        }
    }
}

/// What is wrong with an operation that a guest asked for. A guest of instar's never does; one that an image has
/// taken over might.
///
/// Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationFault {
    /// There is no such operation.
    #[error("there is no operation {0}")]
    UnknownOperation(u32),
    /// A field that the operation does not use is not 0.
    #[error("the unused field `{field}` is {value}")]
    UnusedField {
        /// The field's name in [`Record`](guest_abi::exchange::Record).
        field: &'static str,
        /// What it is.
        value: u64,
    },
    /// There is no file with this number.
    #[error("there is no file {0}")]
    NoSuchFile(u32),
    /// It would read what is not an input.
    #[error("file {0} is not an input")]
    NotAnInput(u32),
    /// It would change what is not an output.
    #[error("file {0} is not an output")]
    NotAnOutput(u32),
    /// It would copy a file onto itself.
    #[error("file {0} would be copied onto itself")]
    OntoItself(u32),
    /// It would read or write nothing.
    #[error("it is about no bytes")]
    Empty,
    /// It would read outside the file.
    #[error("{len} bytes at {offset} are not inside file {file}, which has {file_len}")]
    OutsideInput {
        /// The file's number.
        file: u32,
        /// The first byte.
        offset: u64,
        /// How many.
        len: u64,
        /// The length of the file.
        file_len: u64,
    },
    /// It would reach outside the guest's data window.
    #[error("{len} bytes at {offset} are not inside the data window")]
    OutsideWindow {
        /// The first byte, in the window.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// It has a longer name for a file than [`NAME_LEN`](guest_abi::exchange::NAME_LEN).
    #[error("a name of {0} bytes is too long")]
    NameTooLong(u64),
    /// It wants another file, where all outputs have been made.
    #[error("it names another file after it has begun to write")]
    NameTooLate,
    /// It wants another output, where one has been given a length.
    #[error("it asks for another output after it has begun to write")]
    CreatedTooLate,
    /// It wants another output, where the user wants none, or there are as many as there may be.
    #[error("file {0} consists of no other files")]
    NoFurther(u32),
    /// It says that there may be something to decompress, where outputs have been made.
    #[error("it expects compressed data after it has begun to write")]
    ExpectedTooLate,
    /// It has something decompressed, and has not said that there may be.
    #[error("it has not said that there may be compressed data")]
    NotExpected,
    /// It has something decompressed in a way that there is not.
    #[error("there is no codec {0}")]
    UnknownCodec(u32),
    /// It has more decompressed as a whole than any image needs.
    #[error("a unit of {packed_len} bytes that become {unit_len} is too large")]
    UnitTooLarge {
        /// Its length in the file.
        packed_len: u32,
        /// Its length when it has been decompressed.
        unit_len: u32,
    },
    /// It wants more of a unit than there is.
    #[error("{len} bytes at {skip} are not inside a unit of {unit_len}")]
    OutsideUnit {
        /// The first byte.
        skip: u32,
        /// How many.
        len: u64,
        /// The unit's length when it has been decompressed.
        unit_len: u32,
    },
    /// It would write while this output has no length yet.
    #[error("file {0} has not been given a length yet")]
    NotSized(u32),
    /// The output would become longer than the request explains.
    #[error("file {file} would have {len} bytes, {allowed} are allowed")]
    TooLong {
        /// The file's number.
        file: u32,
        /// The length.
        len: u64,
        /// The bound on it.
        allowed: u64,
    },
    /// A file in place would become shorter than it was.
    #[error("file {file} would have {len} bytes, and had {needed}")]
    TooShort {
        /// The file's number.
        file: u32,
        /// The length.
        len: u64,
        /// Its length when it was opened.
        needed: u64,
    },
    /// It would write outside the output.
    #[error("{len} bytes at {offset} are not inside file {file}, which was given {file_len}")]
    OutsideOutput {
        /// The file's number.
        file: u32,
        /// The first byte.
        offset: u64,
        /// How many.
        len: u64,
        /// The length that the output has, or was given last.
        file_len: u64,
    },
    /// It would look for zeros in units that do not exist.
    #[error("{0} bytes are no unit to look for zeros in")]
    ScanUnit(u32),
    /// It would write to what is not the stage.
    #[error("file {0} is not the stage")]
    NotTheStage(u32),
    /// It would compress more at once than [`MAX_UNIT_LEN`](guest_abi::exchange::MAX_UNIT_LEN).
    #[error("{0} bytes are too many to be compressed at once")]
    PackTooLong(u64),
    /// The guest has asked for more operations than the request explains.
    #[error("more than the {0} operations allowed")]
    TooManyOperations(u64),
    /// The guest has read more than the request explains.
    #[error("more than the {0} bytes allowed would be read")]
    TooMuchRead(u64),
    /// The guest has looked for zeros in more than the request explains.
    #[error("more than the {0} bytes allowed would be looked through")]
    TooMuchScanned(u64),
    /// The guest has had more compressed than the request explains.
    #[error("more than the {0} bytes allowed would be compressed")]
    TooMuchPacked(u64),
    /// The guest has written more than the request explains.
    #[error("more than the {0} bytes allowed would be written")]
    TooMuchWritten(u64),
}
