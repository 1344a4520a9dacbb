//! Decompression, between a disk's extents and the steps that write them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use fmt_core::{Codec, Compressed, Error, ErrorKind, FileId, Source, Step, StepSink};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::io::Read;

use crate::Host;

/// The largest piece that is decompressed: the largest cluster of any format.
const MAX_UNIT_LEN: u32 = 2 << 20;

/// The largest window that a Zstandard frame may ask for, in bytes. A frame of a cluster needs no more than the cluster,
/// and what a writer rounds up to.
const MAX_ZSTD_WINDOW: u64 = 4 << 20;

/// How much is read at a time: compressed pieces mostly lie one behind the other.
const READ_LEN: u64 = 512 << 10;

/// A sink that turns what is compressed into bytes, on its way to a host.
pub struct Decoder<'h, H> {
    host: &'h H,
    work: RefCell<Work>,
    /// The file whose bytes could not be decompressed.
    blamed: Cell<Option<FileId>>,
}

impl<'h, H: Host> Decoder<'h, H> {
    /// A sink before `host`. It takes memory when the first compressed piece comes.
    pub fn new(host: &'h H) -> Self {
        Self { host, work: RefCell::default(), blamed: Cell::new(None) }
    }

    /// The input that the last error was about, if it was about one.
    #[must_use]
    pub fn blamed(&self) -> Option<FileId> {
        self.blamed.get()
    }

    fn write(&self, file: FileId, dst: u64, len: u64, unit: Compressed, skip: u32) -> Result<(), Error> {
        let mut work = self.work.borrow_mut();
        let plain = work.decoded(self.host, unit).inspect_err(|_| self.blamed.set(Some(unit.file)))?;
        let from = skip as usize;
        let part = usize::try_from(len).ok().and_then(|len| plain.get(from..)?.get(..len));
        let bytes = part.ok_or(broken(unit, "a compressed cluster is shorter than what is in it"))?;
        self.host.step(Step::Write { file, dst, bytes })
    }
}

impl<H: Host> StepSink for Decoder<'_, H> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::Fill { file, dst, len, source: Source::Compressed { unit, skip } } => {
                self.write(file, dst, len, unit, skip)
            }
            other => self.host.step(other),
        }
    }
}

/// What decompression needs, and what it did last.
#[derive(Default)]
struct Work {
    inflate: Option<Box<DecompressorOxide>>,
    zstd: Option<FrameDecoder>,
    ahead: ReadAhead,
    plain: Vec<u8>,
    /// The piece that `plain` holds.
    unit: Option<Compressed>,
}

impl Work {
    /// The bytes of `unit`.
    fn decoded<H: Host>(&mut self, host: &H, unit: Compressed) -> Result<&[u8], Error> {
        if self.unit != Some(unit) {
            self.unit = None;
            self.decode(host, unit)?;
            self.unit = Some(unit);
        }
        Ok(&self.plain)
    }

    fn decode<H: Host>(&mut self, host: &H, unit: Compressed) -> Result<(), Error> {
        if unit.unit_len > MAX_UNIT_LEN || unit.len > 2 * MAX_UNIT_LEN {
            return Err(Error::new(ErrorKind::TooLarge, unit.offset, "a compressed cluster"));
        }
        let bytes = self.ahead.bytes(host, unit)?;
        self.plain.resize(unit.unit_len as usize, 0);
        let decoded = match unit.codec {
            Codec::Deflate => inflate(&mut self.inflate, bytes, &mut self.plain),
            Codec::Zlib => inflate_whole(&mut self.inflate, bytes, &mut self.plain),
            Codec::Zstd => unzstd(&mut self.zstd, bytes, &mut self.plain),
            _ => None,
        };
        let len = decoded.ok_or(broken(unit, "a compressed cluster cannot be decompressed"))?;
        self.plain.truncate(len);
        Ok(())
    }
}

/// Fills `plain` from a stream without a wrapper. What the stream holds beyond that is not wanted.
fn inflate(state: &mut Option<Box<DecompressorOxide>>, bytes: &[u8], plain: &mut [u8]) -> Option<usize> {
    let (status, written) = run_inflate(state, bytes, plain, 0);
    let ended = matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput);
    (ended && written == plain.len()).then_some(written)
}

/// Decompresses a whole zlib stream into `plain`, and returns its length. It may be shorter: a disk's last grain is.
fn inflate_whole(
    state: &mut Option<Box<DecompressorOxide>>,
    bytes: &[u8],
    plain: &mut [u8],
) -> Option<usize> {
    let (status, written) = run_inflate(state, bytes, plain, TINFL_FLAG_PARSE_ZLIB_HEADER);
    (status == TINFLStatus::Done).then_some(written)
}

fn run_inflate(
    state: &mut Option<Box<DecompressorOxide>>,
    bytes: &[u8],
    plain: &mut [u8],
    flags: u32,
) -> (TINFLStatus, usize) {
    let state = state.get_or_insert_with(Box::default);
    state.init();
    let (status, _, written) =
        decompress(state, bytes, plain, 0, flags | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    (status, written)
}

/// Fills `plain` from a frame. What the frame holds beyond that is not wanted.
fn unzstd(state: &mut Option<FrameDecoder>, bytes: &[u8], plain: &mut [u8]) -> Option<usize> {
    let state = state.get_or_insert_with(FrameDecoder::new);
    state.set_max_window_size(MAX_ZSTD_WINDOW);
    let mut frame = StreamingDecoder::new_with_decoder(bytes, state).ok()?;
    frame.read_exact(plain).ok()?;
    Some(plain.len())
}

const fn broken(unit: Compressed, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, unit.offset, what)
}

/// The part of a file around the compressed piece that was read last.
#[derive(Default)]
struct ReadAhead {
    file: Option<FileId>,
    start: u64,
    bytes: Vec<u8>,
}

impl ReadAhead {
    /// The bytes of `unit`; fewer where the file ends before.
    fn bytes<H: Host>(&mut self, host: &H, unit: Compressed) -> Result<&[u8], Error> {
        let len = u64::from(unit.len).min(host.file_len(unit.file).saturating_sub(unit.offset));
        let known = unit.offset.checked_sub(self.start).filter(|_| self.file == Some(unit.file));
        let known = known.filter(|from| from + len <= self.bytes.len() as u64);
        let from = match known {
            Some(from) => from,
            None => {
                self.load(host, unit.file, unit.offset, len.max(READ_LEN))?;
                0
            }
        };
        let range = usize::try_from(from).ok().zip(usize::try_from(len).ok());
        let part = range.and_then(|(from, len)| self.bytes.get(from..)?.get(..len));
        part.ok_or(broken(unit, "a compressed cluster is not there"))
    }

    fn load<H: Host>(&mut self, host: &H, file: FileId, start: u64, len: u64) -> Result<(), Error> {
        self.file = None;
        let rest = host.file_len(file).saturating_sub(start);
        self.bytes.resize(usize::try_from(len.min(rest)).unwrap_or(0), 0);
        host.read_exact_at(file, start, &mut self.bytes)?;
        (self.file, self.start) = (Some(file), start);
        Ok(())
    }
}
