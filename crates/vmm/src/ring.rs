//! What a guest said with one ring of the doorbell, copied out of the exchange and checked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use guest_abi::decode::{self, BROKEN, LENS_AT};
use guest_abi::exchange::{
    DATA_AT, DATA_LEN, FAILED, FINISHED, Failure, GO_ON, Head, KIND_BAD_REQUEST, KIND_CORRUPT, KIND_IO,
    KIND_NOT_FOUND, KIND_NOT_THIS_FORMAT, KIND_TOO_LARGE, KIND_UNSUPPORTED_FEATURE, KIND_UNSUPPORTED_FORMAT,
    KIND_WRONG_PARENT, MAX_RECORDS, PANICKED, RECORDS_AT, REPORT_AT, REPORT_LEN, Record, TEXT_AT, TEXT_LEN,
};
use vm_memory::{Bytes, VolatileSlice};
use zerocopy::FromBytes;

use crate::sandbox::GuestFault;
use crate::shown::shown;

/// One ring. It holds copies: what the guest does to the exchange later changes nothing.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) said: Said,
    /// What is to be done; empty unless the guest goes on or has finished.
    pub(crate) records: Vec<Record>,
    /// How many operations the guest counts, these included.
    pub(crate) total_operations: u64,
    /// How many bytes it counts for them.
    pub(crate) total_written: u64,
}

/// What a ring is about.
#[derive(Debug)]
pub(crate) enum Said {
    /// There is more to come.
    GoOn,
    /// The command is done when the records are; its report.
    Finished(Vec<u8>),
    /// The command cannot be done.
    Failed {
        kind: FailureKind,
        /// The number of the file it is about.
        file: u32,
        at: u64,
        what: String,
    },
}

/// What a guest found wrong with an image, or with what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The file is not an image of the format that the text names.
    NotThisFormat,
    /// The format that the text names is not read, or not written.
    UnsupportedFormat,
    /// The image uses the feature that the text names.
    UnsupportedFeature,
    /// The image contradicts its specification or itself.
    Corrupt,
    /// The image is not the one that another, which stands on it, was made for: what the text names is another.
    WrongParent,
    /// The image has nothing of the name that was asked for, of the kind that the text names.
    NotFound,
    /// What the text names is too large.
    TooLarge,
    /// The image asks for what the file does not have.
    Io,
    /// Host and guest do not understand each other: a mistake of instar's.
    BadRequest,
}

impl Ring {
    /// Reads the exchange.
    pub(crate) fn read(exchange: &VolatileSlice<'_>) -> Result<Self, GuestFault> {
        let Head { state, count, text_len, report_len, total_operations, total_written } = head(exchange)?;

        let records = records(exchange, count)?;
        let text = || text(exchange, text_len);
        let said = match state {
            GO_ON if records.is_empty() => return Err(GuestFault::Nonsense("it rang for nothing")),
            GO_ON => Said::GoOn,
            FINISHED => Said::Finished(report(exchange, report_len)?),
            FAILED | PANICKED if !records.is_empty() => {
                return Err(GuestFault::Nonsense("it failed and wants to go on"));
            }
            FAILED => failed(&report(exchange, report_len)?, text()?)?,
            PANICKED => return Err(GuestFault::Panicked(text()?)),
            _ => return Err(GuestFault::Nonsense("an unknown state")),
        };
        Ok(Self { said, records, total_operations, total_written })
    }
}

fn head(exchange: &VolatileSlice<'_>) -> Result<Head, GuestFault> {
    let mut head = [0; size_of::<Head>()];
    copy(exchange, 0, &mut head);
    Head::read_from_bytes(&head).map_err(|_| GuestFault::Nonsense("no head"))
}

fn records(exchange: &VolatileSlice<'_>, count: u32) -> Result<Vec<Record>, GuestFault> {
    let count = count as usize;
    if count > MAX_RECORDS {
        return Err(GuestFault::Nonsense("more records than there is room for"));
    }
    let mut bytes = vec![0; count * size_of::<Record>()];
    copy(exchange, RECORDS_AT, &mut bytes);
    let records = bytes.chunks_exact(size_of::<Record>()).map(Record::read_from_bytes);
    records.collect::<Result<_, _>>().map_err(|_| GuestFault::Nonsense("a record of another size"))
}

fn report(exchange: &VolatileSlice<'_>, len: u32) -> Result<Vec<u8>, GuestFault> {
    piece(exchange, REPORT_AT, len, REPORT_LEN, "a report longer than there is room for")
}

/// The guest's words, made harmless for a terminal: what an image's author wrote may be among them. They are no name in
/// quotes, so that quotes among them stay as they are.
fn text(exchange: &VolatileSlice<'_>, len: u32) -> Result<String, GuestFault> {
    let bytes = piece(exchange, TEXT_AT, len, TEXT_LEN, "a text longer than there is room for")?;
    Ok(shown(OsStr::from_bytes(&bytes)).replace("\\'", "'"))
}

fn piece(
    exchange: &VolatileSlice<'_>,
    at: u64,
    len: u32,
    max: usize,
    too_long: &'static str,
) -> Result<Vec<u8>, GuestFault> {
    let len = len as usize;
    if len > max {
        return Err(GuestFault::Nonsense(too_long));
    }
    let mut bytes = vec![0; len];
    copy(exchange, at, &mut bytes);
    Ok(bytes)
}

fn failed(report: &[u8], what: String) -> Result<Said, GuestFault> {
    let failure = Failure::read_from_bytes(report);
    let Failure { kind, file, at } =
        failure.map_err(|_| GuestFault::Nonsense("a failure of another size"))?;
    let kind = match kind {
        KIND_NOT_THIS_FORMAT => FailureKind::NotThisFormat,
        KIND_UNSUPPORTED_FORMAT => FailureKind::UnsupportedFormat,
        KIND_UNSUPPORTED_FEATURE => FailureKind::UnsupportedFeature,
        KIND_CORRUPT => FailureKind::Corrupt,
        KIND_WRONG_PARENT => FailureKind::WrongParent,
        KIND_NOT_FOUND => FailureKind::NotFound,
        KIND_TOO_LARGE => FailureKind::TooLarge,
        KIND_IO => FailureKind::Io,
        KIND_BAD_REQUEST => FailureKind::BadRequest,
        _ => return Err(GuestFault::Nonsense("an unknown kind of failure")),
    };
    Ok(Said::Failed { kind, file, at, what })
}

/// What a decoder says about `units`: how long each is, or `None` where one cannot be decompressed. The bytes are nobody's
/// business but the image's.
pub(crate) fn lengths(
    exchange: &VolatileSlice<'_>,
    units: &[decode::Unit],
) -> Result<Vec<Option<u32>>, GuestFault> {
    let Head { state, count, text_len, .. } = head(exchange)?;
    match state {
        GO_ON => {}
        PANICKED => return Err(GuestFault::Panicked(text(exchange, text_len)?)),
        _ => return Err(GuestFault::Nonsense("an unknown state")),
    }
    let (claimed, counted) = (count.into(), units.len() as u64);
    if claimed != counted {
        return Err(GuestFault::Lie { what: "units", claimed, counted });
    }
    let mut bytes = vec![0; units.len() * size_of::<u32>()];
    copy(exchange, LENS_AT, &mut bytes);
    let lengths = bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes));
    lengths.zip(units).map(|(len, unit)| length(len, unit)).collect()
}

fn length(len: u32, unit: &decode::Unit) -> Result<Option<u32>, GuestFault> {
    match len {
        BROKEN => Ok(None),
        len if len <= unit.plain_len => Ok(Some(len)),
        _ => Err(GuestFault::Nonsense("a unit that is longer than it can be")),
    }
}

/// The part of the exchange that answers go into.
pub(crate) fn data_window<'e>(exchange: &VolatileSlice<'e>) -> VolatileSlice<'e> {
    exchange.subslice(place(DATA_AT), place(DATA_LEN)).expect(INSIDE)
}

/// Fills `buf` from byte `at` of the exchange.
fn copy(exchange: &VolatileSlice<'_>, at: u64, buf: &mut [u8]) {
    exchange.read_slice(buf, place(at)).expect(INSIDE);
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect(INSIDE)
}

const INSIDE: &str = "the layout of the exchange is inside it: guest_abi asserts that";
