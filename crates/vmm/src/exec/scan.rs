//! Where inputs are other than zero. To compare with zero is not to interpret: it needs no knowledge of what bytes mean,
//! and there is nothing in them that could go wrong.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use guest_abi::exchange::scan_answer_len;
use vm_memory::{Bytes, VolatileSlice};

use super::fault::ExecError;
use super::operation::Scan;
use crate::files::FileId;

/// From this length of a unit on, its beginning is looked at alone first: mostly, that decides.
const LONG_UNIT: u64 = 32 << 10;

/// How much of a long unit is looked at first.
const FIRST_LOOK: u64 = 4 << 10;

/// A scan, and its answer as far as it is known.
///
/// Workers only ever set bits, so that it does not matter in which order they look, nor where the pieces are cut. The
/// atomics order nothing else.
pub(super) struct Answer {
    scan: Scan,
    bits: Vec<AtomicU8>,
}

/// A part of a scan that is to be looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    answer: &'a Answer,
    /// Where it begins, in bytes from the beginning of the scan.
    from: u64,
    len: u64,
}

impl Answer {
    /// Nothing is known to be other than zero.
    pub(super) fn new(scan: Scan) -> Self {
        let unit = u32::try_from(scan.unit).expect("a checked unit");
        let len = usize::try_from(scan_answer_len(scan.len, unit)).expect("a checked answer fits the window");
        Self { scan, bits: (0..len).map(|_| AtomicU8::new(0)).collect() }
    }

    /// All that is to be looked at.
    pub(super) fn whole(&self) -> Look<'_> {
        Look { answer: self, from: 0, len: self.scan.len }
    }

    /// How many bytes that is.
    pub(super) fn work(&self) -> u64 {
        self.scan.len
    }

    /// Puts the answer into the guest's data window.
    pub(super) fn tell(&self, window: &VolatileSlice<'_>) -> Result<(), ExecError> {
        let bytes: Vec<u8> = self.bits.iter().map(|byte| byte.load(Relaxed)).collect();
        let at = usize::try_from(self.scan.window_at).unwrap_or(usize::MAX);
        window.write_slice(&bytes, at).map_err(ExecError::Window)
    }

    /// The byte and the bit for the unit `index`.
    fn bit(&self, index: u64) -> (&AtomicU8, u8) {
        let byte = usize::try_from(index / 8).expect("it is inside the answer");
        (&self.bits[byte], 1 << (index % 8))
    }
}

impl<'a> Look<'a> {
    pub(super) fn file(&self) -> FileId {
        self.answer.scan.file
    }

    /// The first byte in the file.
    pub(super) fn src(&self) -> u64 {
        self.answer.scan.src + self.from
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The first `len` bytes, and what is behind them, if anything.
    pub(super) fn split_at(self, len: u64) -> (Self, Option<Self>) {
        if len >= self.len {
            return (self, None);
        }
        (Self { len, ..self }, Some(Self { from: self.from + len, len: self.len - len, ..self }))
    }

    /// What is to be read next, of at most `max` bytes; and what may be left to be looked at when it has been.
    pub(super) fn first(self, max: u64) -> (Self, Option<Self>) {
        let unit = self.answer.scan.unit;
        let within = self.from % unit;
        let len = match unit {
            // No more than what can tell something new about one unit.
            LONG_UNIT.. if within == 0 => FIRST_LOOK,
            LONG_UNIT.. => unit - within,
            _ => max,
        };
        self.split_at(len.min(max))
    }

    /// What of it is not behind the beginning of a unit that is known to be other than zero.
    pub(super) fn unknown(self) -> Option<Self> {
        let unit = self.answer.scan.unit;
        let (byte, bit) = self.answer.bit(self.from / unit);
        if byte.load(Relaxed) & bit == 0 {
            return Some(self);
        }
        self.split_at(unit - self.from % unit).1
    }

    /// Takes note of what `bytes`, which are all that lies there, are.
    pub(super) fn note(self, bytes: &[u8]) {
        let unit = self.answer.scan.unit;
        let mut rest = (self.from, bytes);
        while !rest.1.is_empty() {
            let (from, bytes) = rest;
            let len = usize::try_from(unit - from % unit).map_or(bytes.len(), |len| len.min(bytes.len()));
            let (own, behind) = bytes.split_at(len);
            if !is_zero(own) {
                let (byte, bit) = self.answer.bit(from / unit);
                byte.fetch_or(bit, Relaxed);
            }
            rest = (from + len as u64, behind);
        }
    }
}

/// Whether all `bytes` are zero. Mostly, the first ones decide.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (lines, rest) = bytes.as_chunks::<64>();
    let is_zero = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) == 0;
    lines.iter().all(|line| is_zero(line)) && is_zero(rest)
}
