//! The file's head: what it is, and where its log lies.

use fmt_core::{Error, ErrorKind, ReadAt};
use zerocopy::FromBytes;

use crate::checksum::Crc32c;
use crate::raw::{self, FileIdentifier, Guid, HEADER_LEN, HEADERS_AT, MIB};
use crate::region::Region;

/// The current one of the two headers (MS-VHDX section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The byte offset of the header in the file.
    pub at: u64,
    /// How often headers have been written: the larger number is the current one.
    pub sequence_number: u64,
    /// Changes whenever the file is opened for writing.
    pub file_write_guid: Guid,
    /// Changes whenever the disk's content does. A differencing file remembers that of its parent.
    pub data_write_guid: Guid,
    /// What the entries of the log carry, or zero when there is nothing to replay.
    pub log_guid: Guid,
    /// Where the log is. It need not lie inside the file as long as there is nothing to replay.
    pub log: Region,
}

impl Header {
    /// Checks that `source` is a VHDX file, and finds its current header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotThisFormat`] without the file type identifier; [`ErrorKind::Corrupt`] when neither header
    /// is valid, or when two different ones claim to be current; those of [`parse`](Self::parse), and of reading.
    pub fn read<S: ReadAt + ?Sized>(source: &S) -> Result<Self, Error> {
        let mut signature = [0; 8];
        if source.read_up_to(0, &mut signature)? != FileIdentifier::SIGNATURE {
            return Err(Error::new(ErrorKind::NotThisFormat, 0, "vhdx"));
        }
        let mut bytes = [[0; HEADER_LEN]; 2];
        let [first, second] = &mut bytes;
        let first = valid(source, HEADERS_AT[0], first)?;
        let second = valid(source, HEADERS_AT[1], second)?;
        let (header, at) = current(first, second)?;
        Self::parse(&header, at)
    }

    /// The meaning of a header whose checksum is right, found at byte `at` of the file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for a version of file or log other than those of the specification,
    /// [`ErrorKind::Corrupt`] for a log that is not where a log can be.
    pub fn parse(header: &raw::Header, at: u64) -> Result<Self, Error> {
        if header.version.get() != 1 {
            return Err(Error::new(ErrorKind::UnsupportedFeature, at, "VHDX version other than 1"));
        }
        if header.log_version.get() != 0 {
            return Err(Error::new(ErrorKind::UnsupportedFeature, at, "VHDX log version other than 0"));
        }
        let log = Region { at: header.log_offset.get(), len: u64::from(header.log_length.get()) };
        if log.at < raw::HEADER_SECTION || !log.at.is_multiple_of(MIB) || !log.len.is_multiple_of(MIB) {
            return Err(Error::new(ErrorKind::Corrupt, at, "the log does not lie at whole MiBs"));
        }
        log.end().ok_or(Error::new(ErrorKind::Corrupt, at, "the log's end overflows"))?;
        Ok(Self {
            at,
            sequence_number: header.sequence_number.get(),
            file_write_guid: header.file_write_guid,
            data_write_guid: header.data_write_guid,
            log_guid: header.log_guid,
            log,
        })
    }
}

/// The header at byte `at`, with its place, if it is valid: there, marked, and with the right checksum.
fn valid<S: ReadAt + ?Sized>(
    source: &S,
    at: u64,
    bytes: &mut [u8; HEADER_LEN],
) -> Result<Option<(raw::Header, u64)>, Error> {
    if source.read_up_to(at, bytes)?.len() < HEADER_LEN {
        return Ok(None);
    }
    let header = raw::Header::read_from_prefix(bytes).ok().map(|(header, _)| header);
    let sound = |header: &raw::Header| {
        header.signature == raw::Header::SIGNATURE && Crc32c::new().structure(bytes).is(header.checksum.get())
    };
    Ok(header.filter(sound).map(|header| (header, at)))
}

/// The one with the larger sequence number. Some tools write the same header twice, which is as good.
fn current(
    first: Option<(raw::Header, u64)>,
    second: Option<(raw::Header, u64)>,
) -> Result<(raw::Header, u64), Error> {
    match (first, second) {
        (Some((a, at)), Some((b, _))) if a == b => Ok((a, at)),
        (Some(a), Some(b)) => {
            let (number_a, number_b) = (a.0.sequence_number.get(), b.0.sequence_number.get());
            match number_a.cmp(&number_b) {
                core::cmp::Ordering::Greater => Ok(a),
                core::cmp::Ordering::Less => Ok(b),
                core::cmp::Ordering::Equal => {
                    Err(Error::new(ErrorKind::Corrupt, a.1, "two different headers are both current"))
                }
            }
        }
        (Some(header), None) | (None, Some(header)) => Ok(header),
        (None, None) => Err(Error::new(ErrorKind::Corrupt, HEADERS_AT[0], "neither header is valid")),
    }
}
