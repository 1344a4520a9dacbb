//! Parts of compressed units, cut into what a decoder does at a time; and where each lies meanwhile.

use guest_abi::decode::{self, MAX_UNITS, PACKED_LEN};

use super::operation::{Part, Unit};
use crate::files::FileId;

/// How many bytes the units of a batch become, unless there is one that becomes more: so many that starting and stopping a
/// guest is little beside them.
pub(super) const BATCH_LEN: u64 = 1 << 20;

/// What lies between two units is read with them, up to so many bytes: padding, mostly.
const MAX_GAP: u64 = 4096;

/// The batches of some parts, cut when they are claimed.
pub(super) struct Batches<'a> {
    rest: &'a [Part],
}

impl<'a> Batches<'a> {
    pub(super) fn new(parts: &'a [Part]) -> Self {
        Self { rest: parts }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = &'a [Part];

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (batch, rest) = self.rest.split_at(first_batch(self.rest));
        self.rest = rest;
        Some(batch)
    }
}

/// How many of `parts` make a batch.
fn first_batch(parts: &[Part]) -> usize {
    let (mut units, mut plain, mut packed) = (0, 0, 0);
    let mut last = None;
    let fits = |part: &&Part| {
        if last == Some(part.unit) {
            return true;
        }
        last = Some(part.unit);
        units += 1;
        plain += u64::from(part.unit.unit_len);
        packed += u64::from(part.unit.packed_len) + MAX_GAP;
        units == 1 || (units <= MAX_UNITS && plain <= BATCH_LEN && packed <= PACKED_LEN)
    };
    parts.iter().take_while(fits).count()
}

/// Where everything of a batch lies in the exchange.
pub(super) struct Layout {
    /// The units, each once where parts of it are neighbours.
    pub(super) units: Vec<decode::Unit>,
    /// What is to be read.
    pub(super) runs: Vec<Run>,
    /// For each part, where it will be.
    pub(super) places: Vec<Place>,
}

/// Where a part will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of its unit.
    pub(super) unit: usize,
    /// Where its first byte is among what the units become.
    pub(super) at: u64,
}

/// Bytes of an input with units in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) file: FileId,
    pub(super) src: u64,
    /// Where they go, among the packed bytes.
    pub(super) at: u64,
    pub(super) len: u64,
}

/// Bytes to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) to: FileId,
    pub(super) dst: u64,
    /// Where they are, among what the units have become.
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Layout {
    /// The layout of `parts`, which are a batch.
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut layout =
            Self { units: Vec::new(), runs: Vec::new(), places: Vec::with_capacity(parts.len()) };
        let mut last: Option<(Unit, u64)> = None;
        let mut plain_end = 0;
        for part in parts {
            let plain_at = match last {
                Some((unit, plain_at)) if unit == part.unit => plain_at,
                _ => {
                    let plain_at = plain_end;
                    layout.add(part.unit, plain_at);
                    plain_end += u64::from(part.unit.unit_len);
                    last = Some((part.unit, plain_at));
                    plain_at
                }
            };
            layout.places.push(Place { unit: layout.units.len() - 1, at: plain_at + u64::from(part.skip) });
        }
        layout
    }

    fn add(&mut self, unit: Unit, plain_at: u64) {
        let fits = "a batch fits the exchange";
        let packed_at = self.read(unit);
        self.units.push(decode::Unit {
            codec: unit.codec,
            packed_at: u32::try_from(packed_at).expect(fits),
            packed_len: unit.packed_len,
            plain_at: u32::try_from(plain_at).expect(fits),
            plain_len: unit.unit_len,
        });
    }

    /// Has the unit read, and returns where it will be. Units mostly lie one behind the other, and may share a sector.
    fn read(&mut self, unit: Unit) -> u64 {
        let len = u64::from(unit.packed_len);
        if let Some(run) = self.runs.last_mut()
            && let Some(from) = unit.src.checked_sub(run.src)
            && run.file == unit.file
            && from <= run.len + MAX_GAP
        {
            run.len = run.len.max(from + len);
            return run.at + from;
        }
        let at = self.runs.last().map_or(0, |run| run.at + run.len);
        self.runs.push(Run { file: unit.file, src: unit.src, at, len });
        at
    }

    /// What is to be written for `parts`, those of this layout: neighbours in one piece.
    pub(super) fn strips<'a>(&'a self, parts: &'a [Part]) -> impl Iterator<Item = Strip> + 'a {
        let mut strips = parts.iter().zip(&self.places).map(|(part, place)| Strip {
            to: part.to,
            dst: part.dst,
            at: place.at,
            len: part.len.into(),
        });
        let mut next = strips.next();
        core::iter::from_fn(move || {
            let mut strip = next.take()?;
            for behind in strips.by_ref() {
                if behind.to != strip.to
                    || behind.dst != strip.dst + strip.len
                    || behind.at != strip.at + strip.len
                {
                    next = Some(behind);
                    break;
                }
                strip.len += behind.len;
            }
            Some(strip)
        })
    }
}

#[cfg(test)]
mod tests {
    use guest_abi::decode::PLAIN_LEN;
    use guest_abi::exchange::{CODEC_DEFLATE, MAX_PACKED_LEN, MAX_UNIT_LEN};

    use super::*;

    fn unit(src: u64, packed_len: u32, unit_len: u32) -> Unit {
        Unit { file: FileId(0), src, packed_len, codec: CODEC_DEFLATE, unit_len }
    }

    fn whole(unit: Unit, dst: u64) -> Part {
        Part { unit, skip: 0, to: FileId(1), dst, len: unit.unit_len }
    }

    fn part(unit: Unit, skip: u32, len: u32, dst: u64) -> Part {
        Part { unit, skip, to: FileId(1), dst, len }
    }

    fn lens(parts: &[Part]) -> Vec<usize> {
        Batches::new(parts).map(<[Part]>::len).collect()
    }

    #[test]
    fn a_batch_is_as_many_units_as_fit() {
        let parts: Vec<_> = (0..40).map(|n| whole(unit(n * 1000, 1000, 1 << 16), n << 16)).collect();
        assert_eq!(lens(&parts), [16, 16, 8]);
        let tiny: Vec<_> = (0..2000).map(|n| whole(unit(n * 10, 10, 512), n * 512)).collect();
        assert_eq!(lens(&tiny), [MAX_UNITS, 2000 - MAX_UNITS]);
        assert_eq!(lens(&[]).len(), 0);
    }

    #[test]
    fn a_unit_that_is_larger_than_a_batch_is_one() {
        let largest: Vec<_> =
            (0..3).map(|n| whole(unit(n << 22, MAX_PACKED_LEN, MAX_UNIT_LEN), n << 21)).collect();
        assert_eq!(lens(&largest), [1, 1, 1]);
    }

    #[test]
    fn parts_of_one_unit_are_one_batch() {
        let large = unit(0, 9, MAX_UNIT_LEN);
        let parts: Vec<_> = (0..64).map(|n| part(large, n << 15, 1 << 15, u64::from(n) << 20)).collect();
        assert_eq!(lens(&parts), [64]);
        assert_eq!(Layout::of(&parts).units.len(), 1);
    }

    #[test]
    fn every_batch_fits_the_exchange() {
        for (unit_len, packed_len, gap) in [
            (512, 1024, MAX_GAP),
            (4096, 8192, MAX_GAP + 1),
            (1 << 16, 1 << 17, 0),
            (MAX_UNIT_LEN, MAX_PACKED_LEN, 0),
        ] {
            let step = u64::from(packed_len) + gap;
            let units = (0..3000).map(|n| unit(n * step, packed_len, unit_len));
            let parts: Vec<_> = units.enumerate().map(|(n, unit)| whole(unit, n as u64)).collect();
            for batch in Batches::new(&parts) {
                let layout = Layout::of(batch);
                assert!(layout.units.len() <= MAX_UNITS);
                for unit in &layout.units {
                    assert!(u64::from(unit.packed_at + unit.packed_len) <= PACKED_LEN);
                    assert!(u64::from(unit.plain_at + unit.plain_len) <= PLAIN_LEN);
                }
            }
        }
    }

    #[test]
    fn neighbours_are_read_and_written_at_once() {
        let neighbours = [
            whole(unit(1000, 600, 100), 5000),
            whole(unit(1512, 600, 100), 5100),
            whole(unit(2112 + MAX_GAP, 600, 100), 5200),
            whole(unit(100, 600, 100), 5300),
            whole(unit(900, 10, 100), 5401),
        ];
        let layout = Layout::of(&neighbours);
        let read = |src, at, len| Run { file: FileId(0), src, at, len };
        let first = 1712 + MAX_GAP;
        assert_eq!(layout.runs, [read(1000, 0, first), read(100, first, 810)]);
        let at: Vec<_> = layout.units.iter().map(|unit| u64::from(unit.packed_at)).collect();
        assert_eq!(at, [0, 512, 1112 + MAX_GAP, first, first + 800]);
        let written = |dst, at, len| Strip { to: FileId(1), dst, at, len };
        let strips: Vec<_> = layout.strips(&neighbours).collect();
        assert_eq!(strips, [written(5000, 0, 400), written(5401, 400, 100)]);
    }

    #[test]
    fn what_is_left_out_is_not_written() {
        let unit = unit(0, 9, 1000);
        let parts = [part(unit, 10, 20, 0), part(unit, 30, 5, 20), part(unit, 40, 5, 25)];
        let layout = Layout::of(&parts);
        let strips: Vec<_> = layout.strips(&parts).map(|strip| (strip.dst, strip.at, strip.len)).collect();
        assert_eq!(strips, [(0, 10, 25), (25, 40, 5)]);
    }
}
