//! Which of a disk's data is zeros: metadata tell of some, and of the rest the host is asked.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use fmt_core::{Extent, FileId, Source};

use crate::host::{InFile, Scan};
use crate::output::Extents;
use crate::{Failure, Host};

/// How many bytes the host is asked about at a time, within these bounds: as many as have about [`DATA_LEN`] of data, if
/// they are like those before. Of what turns out to be data it has only read the beginnings of units, and reads it
/// again: it should still be in its cache then.
const BATCH_LEN: RangeInclusive<u64> = DATA_LEN..=(8 << 30);

/// How many bytes of data are a batch. While the host looks for the next, it also does what came of this one: the more
/// there is, the less is waited for between the two.
const DATA_LEN: u64 = 256 << 20;

/// The length of the longest answer in bytes, about.
const MAX_ANSWER_LEN: u64 = 128 << 10;

/// How many pieces the host is asked about at a time, at most.
const MAX_PIECES: usize = 512;

/// The extents of a disk, in which data that is zeros has become [`Source::Zero`].
///
/// The host is asked with the next ring of the doorbell, which brings with it whatever was made of the extents before:
/// it copies one batch and looks at the next side by side.
pub struct Sieve<'h, 'e, H> {
    host: &'h H,
    unit: u32,
    extents: &'h mut Extents<'e>,
    /// What is left of the last extent that was taken.
    rest: Option<Extent>,
    batch: Vec<Piece>,
    /// How many bytes to ask about next.
    batch_len: u64,
    /// The place in the batch: the piece, and the number of the unit in it.
    next: (usize, u64),
    answer: Vec<u8>,
    /// What came instead of an extent, behind the batch.
    failure: Option<Failure>,
}

/// An extent, or a part of one, that begins at a unit or lies within one.
#[derive(Clone, Copy)]
struct Piece {
    extent: Extent,
    /// Where the answer about it begins, in bytes; `None` if nothing was asked.
    bits_at: Option<usize>,
}

impl<'h, 'e, H: Host> Sieve<'h, 'e, H> {
    /// What `host` finds in `extents`: `unit` bytes, a multiple of 512, are zeros together or not at all. Their boundaries are
    /// those of the disk.
    pub const fn new(host: &'h H, unit: u32, extents: &'h mut Extents<'e>) -> Self {
        Self {
            host,
            unit,
            extents,
            rest: None,
            batch: Vec::new(),
            batch_len: *BATCH_LEN.start(),
            next: (0, 0),
            answer: Vec::new(),
            failure: None,
        }
    }

    fn unit(&self) -> u64 {
        self.unit.into()
    }

    /// Takes the next batch, and asks about it.
    fn fill(&mut self) -> Result<(), Failure> {
        self.batch.clear();
        self.next = (0, 0);
        let (mut scans, mut bits_at) = (Vec::new(), 0);
        let mut room = self.batch_len.min(MAX_ANSWER_LEN * 8 * self.unit()).max(self.unit());
        while room > 0 && self.batch.len() < MAX_PIECES {
            let Some(extent) = self.take(room) else { break };
            let bits = if let Source::Data { file, offset } = extent.source {
                scans.push(Scan { file, offset, len: extent.len });
                room -= extent.len.min(room);
                Some(bits_at)
            } else {
                None
            };
            self.batch.push(Piece { extent, bits_at: bits });
            if bits.is_some() {
                bits_at +=
                    usize::try_from(extent.len.div_ceil(self.unit()).div_ceil(8)).unwrap_or(usize::MAX);
            }
        }
        let blamed = scans.first().map_or(FileId(0), |scan| scan.file);
        if scans.is_empty() {
            return Ok(());
        }
        self.host.scan(&scans, self.unit, &mut self.answer).in_file(blamed)?;
        let units: u64 = self.answer.iter().map(|bits| u64::from(bits.count_ones())).sum();
        let asked = scans.iter().map(|scan| scan.len).sum();
        self.batch_len = batch_len(asked, units.saturating_mul(self.unit()));
        Ok(())
    }

    /// The next extent; if it is data, no more than `room` bytes of it, nor more than begins at a unit.
    fn take(&mut self, room: u64) -> Option<Extent> {
        let extent = match self.rest.take().map(Ok).or_else(|| self.extents.next())? {
            Ok(extent) => extent,
            Err(failure) => {
                self.failure = Some(failure);
                return None;
            }
        };
        let Source::Data { .. } = extent.source else { return Some(extent) };
        let unit = self.unit();
        let within = extent.start % unit;
        // Up to the next unit; or so many whole ones.
        let len = if within > 0 { unit - within } else { (room - room % unit).max(unit) };
        let end = extent.start.saturating_add(len);
        self.rest = extent.clip(&(end..u64::MAX));
        extent.clip(&(extent.start..end))
    }

    /// The run of zeros, or of other bytes, at the place in the batch; the place is behind it then.
    fn next_run(&mut self) -> Option<Extent> {
        let (index, from) = self.next;
        let piece = *self.batch.get(index)?;
        let units = piece.extent.len.div_ceil(self.unit());
        let (end, is_zero) = match piece.bits_at {
            Some(bits_at) => self.run(bits_at, from, units),
            None => (units, false),
        };
        self.next = if end == units { (index + 1, 0) } else { (index, end) };
        let place = |unit: u64| piece.extent.start.saturating_add(unit.saturating_mul(self.unit()));
        let part = piece.extent.clip(&(place(from)..place(end)))?;
        Some(if is_zero { Extent { source: Source::Zero, ..part } } else { part })
    }

    /// The end of the run that begins with unit `from` of a piece of so many `units`, and whether it is zeros.
    fn run(&self, bits_at: usize, from: u64, units: u64) -> (u64, bool) {
        let is_zero = self.bits(bits_at, from) & 1 == 0;
        let mut unit = from;
        while unit < units {
            let bits = self.bits(bits_at, unit);
            // Those of them that belong to the run.
            let same = if is_zero { bits.trailing_zeros() } else { bits.trailing_ones() };
            let rest = u8::BITS - (unit % 8) as u32;
            if same < rest {
                return (units.min(unit + u64::from(same)), is_zero);
            }
            unit += u64::from(rest);
        }
        (units, is_zero)
    }

    /// What the answer says of `unit` and of those behind it that share its byte, lowest bit first.
    fn bits(&self, bits_at: usize, unit: u64) -> u8 {
        let byte = usize::try_from(unit / 8).ok().and_then(|byte| self.answer.get(bits_at + byte));
        // What was not told is taken for data.
        byte.copied().unwrap_or(u8::MAX) >> (unit % 8)
    }
}

impl<H: Host> Iterator for Sieve<'_, '_, H> {
    type Item = Result<Extent, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(run) = self.next_run() {
            return Some(Ok(run));
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        match self.fill() {
            Ok(()) => self.next_run().map(Ok).or_else(|| self.failure.take().map(Err)),
            Err(failure) => Some(Err(failure)),
        }
    }
}

/// How many bytes to ask about, when `found` of those that were `asked` about before are data.
fn batch_len(asked: u64, found: u64) -> u64 {
    (asked.saturating_mul(DATA_LEN) / found.max(1)).clamp(*BATCH_LEN.start(), *BATCH_LEN.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_data_there_is_the_more_is_asked_about() {
        const GIB: u64 = 1 << 30;
        assert_eq!(batch_len(GIB, GIB), DATA_LEN);
        assert_eq!(batch_len(4 * GIB, GIB), 4 * DATA_LEN);
        assert_eq!(batch_len(GIB, GIB >> 10), 8 * GIB);
        assert_eq!(batch_len(8 * GIB, 0), 8 * GIB);
        assert_eq!(batch_len(512, 65_536), DATA_LEN);
    }
}
