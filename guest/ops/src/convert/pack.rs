//! Blocks that are compressed, on their way into an output.

use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, Extent, FileId, PackingPlan, Source, Step, StepSink};
use guest_abi::convert::STAGE_LEN;
use guest_abi::exchange::{MAX_UNIT_LEN, pack_room};

use fmt_qcow2::Qcow2Plan;
use fmt_vmdk::VmdkPlan;

use crate::host::{InFile, Pack, Packed};
use crate::output::{Extents, Options};
use crate::{Failure, Host};

/// How many units are compressed at a time, at most.
const MAX_UNITS: u64 = 400;

/// Writes a disk of `size` bytes that consists of `extents` into the file `output`, behind which is the stage, compressed.
pub(super) fn write<H: Host, S: StepSink>(
    host: &H,
    sink: &S,
    output: FileId,
    options: &Options<'_>,
    size: u64,
    extents: &mut Extents<'_>,
) -> Result<(), Failure> {
    let stage = FileId(output.0.saturating_add(1));
    let packer = |unit_len| Packer { host, sink, stage, unit_len, half: 0, batch: Vec::new() };
    match options {
        Options::Qcow2(options) => {
            let plan = Qcow2Plan::begin(sink, output, size, options).in_file(output)?;
            packer(plan.unit_len()).run(plan, output, extents)
        }
        Options::Vmdk(options) => {
            let plan = VmdkPlan::begin(sink, output, size, options).in_file(output)?;
            packer(plan.unit_len()).run(plan, output, extents)
        }
        Options::Raw(_) | Options::Vpc(_) | Options::Vhdx(_) => {
            Err(Error::new(ErrorKind::UnsupportedFeature, 0, "compression in this format")).in_file(output)
        }
    }
}

/// Compresses what it is given, unit by unit, with the host's help.
///
/// The units of a batch are compressed into one half of the stage while those of the batch before are copied out of the
/// other. A unit that does not lie in one piece in one file is put together in the stage first.
struct Packer<'p, H, S> {
    host: &'p H,
    /// What takes the steps: it is before the host.
    sink: &'p S,
    stage: FileId,
    unit_len: u32,
    /// Which half of the stage is in use.
    half: u64,
    batch: Vec<Unit>,
}

/// A unit of the disk.
struct Unit {
    start: u64,
    /// What it consists of, in order and without gaps, unless it is not there at all.
    pieces: Vec<Extent>,
    /// Where it is in the stage, compressed, if it is something to compress.
    packed_at: Option<u64>,
}

impl<'p, H: Host, S: StepSink> Packer<'p, H, S> {
    /// Writes `extents` to `plan`, compressed where that makes them smaller, or where the plan wants it in any case.
    fn run(
        mut self,
        mut plan: impl PackingPlan,
        output: FileId,
        extents: &mut Extents<'_>,
    ) -> Result<(), Failure> {
        if self.unit_len > MAX_UNIT_LEN {
            return Err(Error::new(ErrorKind::TooLarge, 0, "the unit of compression")).in_file(output);
        }
        let mut units = Units { extents, rest: None, unit_len: self.unit_len.into() };
        let mut lens = Vec::new();
        loop {
            self.batch.clear();
            let packs = self.gather(&mut units)?;
            if self.batch.is_empty() {
                return plan.finish().in_file(output);
            }
            if !packs.is_empty() {
                self.host.pack(&packs, plan.codec(), self.stage, &mut lens).in_file(self.stage)?;
            }
            let mut answers = lens.iter().copied();
            for unit in &self.batch {
                let packed = unit.packed_at.and_then(|at| Some((at, answers.next()?)));
                self.put(&mut plan, unit, packed).in_file(output)?;
            }
            self.half = 1 - self.half;
        }
    }

    /// Takes as many units as half of the stage has room for, and tells what of them is to be compressed.
    fn gather(&mut self, units: &mut Units<'_>) -> Result<Vec<Pack>, Failure> {
        let unit_len = u64::from(self.unit_len);
        let (room, base) = (pack_room(unit_len), self.half * (STAGE_LEN / 2));
        // Room for each unit twice: put together, and compressed.
        let slots = (STAGE_LEN / 2 / (room + unit_len)).min(MAX_UNITS);
        let (mut packs, mut composed) = (Vec::new(), false);
        while (packs.len() as u64) < slots && (self.batch.len() as u64) < 2 * MAX_UNITS {
            let Some((start, pieces)) = units.next()? else { break };
            let mut packed_at = None;
            if pieces.iter().any(|piece| piece.source != Source::Zero) {
                let slot = base + packs.len() as u64 * (room + unit_len);
                let source = match whole(&pieces, unit_len) {
                    Some(source) => source,
                    None => {
                        composed = true;
                        self.compose(&pieces, start, slot + room).in_file(self.stage)?
                    }
                };
                packs.push(Pack { file: source.0, offset: source.1, len: self.unit_len, dst: slot });
                packed_at = Some(slot);
            }
            self.batch.push(Unit { start, pieces, packed_at });
        }
        if composed {
            self.host.settle();
        }
        Ok(packs)
    }

    /// Puts a unit together at byte `at` of the stage, and tells where it is.
    fn compose(&self, pieces: &[Extent], start: u64, at: u64) -> Result<(FileId, u64), Error> {
        let fill = |dst, len, source| self.sink.step(Step::Fill { file: self.stage, dst, len, source });
        let mut end = start;
        for piece in pieces {
            fill(at + (piece.start - start), piece.len, piece.source)?;
            end = piece.end();
        }
        let (filled, unit_len) = (end - start, u64::from(self.unit_len));
        if filled < unit_len {
            fill(at + filled, unit_len - filled, Source::Zero)?;
        }
        Ok((self.stage, at))
    }

    fn put(
        &self,
        plan: &mut impl PackingPlan,
        unit: &Unit,
        packed: Option<(u64, Packed)>,
    ) -> Result<(), Error> {
        let is_zero = unit.packed_at.is_none() || matches!(packed, Some((_, Packed::Zeros)));
        match packed {
            // In one piece, however many it came in: some plans take zeros by whole units only.
            _ if is_zero => {
                let len = unit.pieces.iter().map(|piece| piece.len).sum();
                plan.extent(Extent { start: unit.start, len, source: Source::Zero })
            }
            Some((at, Packed::Len(len))) if len < self.unit_len || plan.packs_all() => {
                plan.packed(unit.start, Source::Data { file: self.stage, offset: at }, len)
            }
            _ => unit.pieces.iter().try_for_each(|&piece| plan.extent(piece)),
        }
    }
}

/// Where the unit lies in a file, if it does so in one piece.
fn whole(pieces: &[Extent], unit_len: u64) -> Option<(FileId, u64)> {
    match pieces {
        &[Extent { len, source: Source::Data { file, offset }, .. }] if len == unit_len => {
            Some((file, offset))
        }
        _ => None,
    }
}

/// Extents, cut into units.
struct Units<'e> {
    extents: &'e mut Extents<'e>,
    rest: Option<Extent>,
    unit_len: u64,
}

impl Units<'_> {
    /// The next unit of which there is something: its first byte, and its pieces.
    fn next(&mut self) -> Result<Option<(u64, Vec<Extent>)>, Failure> {
        let mut pieces = Vec::new();
        let Some(first) = self.take()? else { return Ok(None) };
        let start = first.start - first.start % self.unit_len;
        let whole = first.len - first.len % self.unit_len;
        if first.source == Source::Zero && first.start == start && whole > 0 {
            // There is nothing to be done about zeros, however many units they are.
            let end = start.saturating_add(whole);
            self.rest = first.clip(&(end..u64::MAX));
            return Ok(Some((start, first.clip(&(start..end)).into_iter().collect())));
        }
        let unit = start..start.saturating_add(self.unit_len);
        let mut next = Some(first);
        while let Some(extent) = next.take() {
            self.rest = extent.clip(&(unit.end..u64::MAX));
            match extent.clip(&unit) {
                Some(piece) => pieces.push(piece),
                None => break,
            }
            if self.rest.is_none() {
                next = self.take()?;
            }
        }
        Ok(Some((start, pieces)))
    }

    fn take(&mut self) -> Result<Option<Extent>, Failure> {
        match self.rest.take() {
            Some(rest) => Ok(Some(rest)),
            None => self.extents.next().transpose(),
        }
    }
}
