//! The executor's contract, the simple way: bytes in memory, one operation after the other, in wide integers.
//!
//! [`Model`] is what there is, [`Ringing`] a ring being carried out: a method of it for each operation.

use core::ops::Range;
use std::collections::BTreeMap;

use guest_abi::boot::{FileEntry, ROLE_INPUT};
use guest_abi::exchange::{
    CODEC_DEFLATE, CODEC_ZSTD, COPY, CREATE, DATA_LEN, DECODE, EXPECT, MAX_PACKED_LEN, MAX_UNIT_LEN,
    MIN_SCAN_UNIT, NAME_LEN, OPEN, PACK, PACK_ANSWER_LEN, PACKED_ZEROS, READ, Record, SCAN, SET_LEN, WRITE,
    ZERO, pack_room,
};
use vmm::Limits;
use zerocopy::IntoBytes;

use crate::decoders::decoded;
use crate::scene::{DIVIDED, FIRST_FREE, FURTHER, IN_PLACE, OUTPUTS, STAGE, STAGE_LEN, window};
use crate::tree::{Tree, TreeFile};

/// A byte, or `None` where it is not said what it is: where a ring writes twice, or reads what it writes, and in the
/// stage where something has been compressed to.
pub(crate) type Byte = Option<u8>;

/// All that a command has done.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    limits: Limits,
    operations: u64,
    read: u64,
    scanned: u64,
    packed: u64,
    written: u64,
    expects_units: bool,
    /// An output has been given a length, or a file been changed.
    has_begun: bool,
    /// What images may name.
    tree: Tree,
    inputs: BTreeMap<u32, TreeFile>,
    /// What is written in place, as it was at the beginning.
    in_place: TreeFile,
    /// What is in place is among them, and has its length from the beginning.
    outputs: BTreeMap<u32, Option<Vec<Byte>>>,
    /// The numbers of those that [`DIVIDED`] consists of beside itself.
    further: Vec<u32>,
    stage: Vec<Byte>,
    /// The number of the next file, whether it is opened or made.
    next_number: u32,
}

/// What becomes of a ring.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All of it has been done; this is in the data window then.
    Done(Vec<Answer>),
    /// It asks for what it may not have, and nothing has been done.
    Refused,
    /// It names a file that is not opened.
    NotOpened,
    /// There was a unit that cannot be decompressed.
    Broken,
}

/// Bytes for the data window.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) at: usize,
    pub(crate) bytes: Vec<Byte>,
}

impl Model {
    pub(crate) fn new(
        limits: Limits,
        tree: Tree,
        inputs: BTreeMap<u32, TreeFile>,
        in_place: TreeFile,
    ) -> Self {
        let mut outputs: BTreeMap<_, _> = OUTPUTS.map(|number| (number, None)).into();
        outputs.insert(IN_PLACE, Some(known(&in_place.bytes)));
        Self {
            limits,
            operations: 0,
            read: 0,
            scanned: 0,
            packed: 0,
            written: 0,
            expects_units: false,
            has_begun: false,
            tree,
            inputs,
            in_place,
            outputs,
            further: Vec::new(),
            stage: vec![Some(0); STAGE_LEN as usize],
            next_number: FIRST_FREE,
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether every output has been made.
    pub(crate) fn is_finished(&self) -> bool {
        self.outputs.values().all(Option::is_some)
    }

    /// The content of the output `number`, if it has been made: all are made together. What is in place is always there.
    pub(crate) fn output(&self, number: u32) -> Option<&[Byte]> {
        self.outputs[&number].as_deref().filter(|_| number == IN_PLACE || self.is_finished())
    }

    /// The content of the file of that index among those that [`DIVIDED`] consists of beside itself, likewise.
    pub(crate) fn further(&self, index: usize) -> Option<&[Byte]> {
        self.output(*self.further.get(index)?)
    }

    /// Does all that a ring asks for, if it may and can be done.
    pub(crate) fn carry_out(&mut self, ring: &[Record]) -> Outcome {
        let mut ringing = Ringing::new(self, ring);
        if ring.iter().try_for_each(|record| ringing.carry_out(record)).is_none() {
            return Outcome::Refused;
        }
        if ringing.names_what_is_not_opened {
            return Outcome::NotOpened;
        }
        if ringing.is_broken {
            return Outcome::Broken;
        }
        let Ringing { model, opened, answers, scans, packs, .. } = ringing;
        *self = model;
        self.inputs.extend(opened);
        Outcome::Done([answers, scans, packs].into_iter().flatten().collect())
    }

    /// A number for one file more.
    fn take_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// The content of what bytes may be moved from.
    fn source(&self, file: u32) -> Option<Vec<Byte>> {
        match file {
            STAGE => Some(self.stage.clone()),
            _ => Some(known(&self.inputs.get(&file)?.bytes)),
        }
    }

    /// The content of what the guest may read itself.
    fn readable(&self, file: u32) -> Option<Vec<Byte>> {
        if file == IN_PLACE { self.outputs[&file].clone() } else { self.source(file) }
    }

    /// An image that may name others.
    fn image(&self, file: u32) -> Option<&TreeFile> {
        if file == IN_PLACE { Some(&self.in_place) } else { self.inputs.get(&file) }
    }

    /// What may be written. But for the stage, that is only once all outputs are made.
    fn destination(&mut self, file: u32) -> Option<&mut Vec<Byte>> {
        if file == STAGE {
            return Some(&mut self.stage);
        }
        allow(self.is_finished())?;
        self.has_begun = true;
        self.outputs.get_mut(&file)?.as_mut()
    }
}

/// A ring being carried out.
struct Ringing {
    model: Model,
    /// Files that are inputs from the next ring on.
    opened: Vec<(u32, TreeFile)>,
    names_what_is_not_opened: bool,
    is_broken: bool,
    answers: Vec<Answer>,
    /// The answers that come after those.
    scans: Vec<Answer>,
    /// And those that come last.
    packs: Vec<Answer>,
    /// What this ring has written since a length last took something away.
    touched: Vec<(u32, Range<usize>)>,
    /// What it writes to the stage, or in place, at any time.
    stirred: Vec<(u32, Range<u64>)>,
}

impl Ringing {
    fn new(model: &Model, ring: &[Record]) -> Self {
        let writes = ring.iter().filter(|record| [STAGE, IN_PLACE].contains(&record.file));
        let stirred = writes.filter_map(|record| {
            let len = match record.op {
                COPY | ZERO | WRITE | DECODE => record.len,
                PACK if record.len <= MAX_UNIT_LEN.into() => pack_room(record.len),
                _ => return None,
            };
            Some((record.file, record.dst..record.dst.saturating_add(len)))
        });
        Self {
            model: model.clone(),
            opened: Vec::new(),
            names_what_is_not_opened: false,
            is_broken: false,
            answers: Vec::new(),
            scans: Vec::new(),
            packs: Vec::new(),
            touched: Vec::new(),
            stirred: stirred.collect(),
        }
    }

    fn carry_out(&mut self, record: &Record) -> Option<()> {
        self.model.operations += 1;
        allow(self.model.operations <= self.model.limits.operations && record.reserved == 0)?;
        match record.op {
            DECODE => return self.decode(record),
            PACK => return self.pack(record),
            _ => {}
        }
        let Record { codec: 0, packed_len: 0, unit_len, skip: 0, .. } = *record else { return None };
        allow(unit_len == 0 || record.op == SCAN)?;
        match *record {
            Record { op: READ, file, src_file: 0, dst, src, len, .. } => self.read(file, src, dst, len),
            Record { op: SET_LEN, file, src_file: 0, dst: 0, src: 0, len, .. } => self.set_len(file, len),
            Record { op: COPY, file, src_file, dst, src, len, .. } => {
                let bytes = self.copied(file, src_file, src, dst, len)?;
                self.write(file, dst, &bytes)
            }
            Record { op: WRITE, file, src_file: 0, dst, src, len, .. } => {
                // What a ring reads comes too late for what it writes.
                self.write(file, dst, &known(&window()[range(src, len, DATA_LEN)?]))
            }
            Record { op: EXPECT, file: 0, src_file: 0, dst: 0, src: 0, len: 0, .. } => {
                self.model.expects_units = true;
                allow(!self.model.has_begun)
            }
            Record { op: CREATE, file: DIVIDED, src_file: 0, dst: 0, src: 0, len: 0, .. } => self.create(),
            Record { op: ZERO, file, src_file: 0, dst, src: 0, len, .. } => {
                let len = usize::try_from(len).ok().filter(|_| len <= self.model.limits.written)?;
                self.write(file, dst, &vec![Some(0); len])
            }
            Record { op: SCAN, file, src_file: 0, dst, src, len, .. } => {
                self.scan(file, unit_len, src, dst, len)
            }
            Record { op: OPEN, file, src_file: 0, dst, src, len, .. } => self.open(file, src, len, dst),
            _ => None,
        }
    }

    fn open(&mut self, file: u32, name_at: u64, name_len: u64, dst: u64) -> Option<()> {
        let from = self.model.image(file)?;
        allow(!self.model.has_begun)?;
        let name = range(name_at, name_len, DATA_LEN).filter(|name| !name.is_empty())?;
        allow(name_len <= NAME_LEN)?;
        let at = range(dst, size_of::<FileEntry>() as u64, DATA_LEN)?.start;
        let opened = self.model.tree.open(from, &window()[name]);
        let number = self.model.take_number();
        match opened {
            Some(opened) => {
                let entry = FileEntry { role: ROLE_INPUT, hints: 0, len: opened.bytes.len() as u64 };
                self.answers.push(Answer { at, bytes: known(entry.as_bytes()) });
                self.opened.push((number, opened));
            }
            None => self.names_what_is_not_opened = true,
        }
        Some(())
    }

    /// Unlike what is opened, this can be used in the same ring.
    fn create(&mut self) -> Option<()> {
        allow(!self.model.has_begun && self.model.further.len() < FURTHER.len())?;
        let number = self.model.take_number();
        self.model.further.push(number);
        self.model.outputs.insert(number, None);
        Some(())
    }

    fn scan(&mut self, file: u32, unit: u32, src: u64, dst: u64, len: u64) -> Option<()> {
        let bytes = self.source(file, src, len)?;
        allow(unit > 0 && unit.is_multiple_of(MIN_SCAN_UNIT))?;
        self.model.scanned += len;
        allow(self.model.scanned <= self.model.limits.scanned)?;
        let has_data: Vec<_> = bytes.chunks(unit as usize).map(has_data).collect();
        let at = range(dst, has_data.len().div_ceil(8) as u64, DATA_LEN)?.start;
        let eight = |bits: &[Option<bool>]| {
            bits.iter().rev().try_fold(0, |byte, bit| Some(byte << 1 | u8::from((*bit)?)))
        };
        self.scans.push(Answer { at, bytes: has_data.chunks(8).map(eight).collect() });
        Some(())
    }

    fn read(&mut self, file: u32, src: u64, dst: u64, len: u64) -> Option<()> {
        let bytes = self.part(file, self.model.readable(file)?, src, len)?;
        self.count_read(len)?;
        let at = range(dst, len, DATA_LEN)?.start;
        self.answers.push(Answer { at, bytes });
        Some(())
    }

    fn decode(&mut self, record: &Record) -> Option<()> {
        let &Record { file, src_file, codec, dst, src, len, packed_len, unit_len, skip, .. } = record;
        allow(self.model.expects_units && (CODEC_DEFLATE..=CODEC_ZSTD).contains(&codec))?;
        allow(packed_len <= MAX_PACKED_LEN && unit_len <= MAX_UNIT_LEN)?;
        let part = range(skip.into(), len, unit_len.into())?;
        allow(src_file != STAGE)?;
        let packed: Option<Vec<_>> = self.source(src_file, src, packed_len.into())?.into_iter().collect();
        self.count_read(packed_len.into())?;
        let plain = decoded(codec, &packed.expect("inputs are known"), unit_len);
        let bytes = plain.as_ref().and_then(|plain| plain.get(part.clone()));
        self.is_broken |= bytes.is_none();
        let bytes = bytes.map_or(vec![None; part.len()], known);
        self.write(file, dst, &bytes)
    }

    fn pack(&mut self, record: &Record) -> Option<()> {
        let &Record { file, src_file, codec, dst, src, len, packed_len, unit_len, skip, .. } = record;
        allow(unit_len == 0 && skip == 0 && (CODEC_DEFLATE..=CODEC_ZSTD).contains(&codec))?;
        let bytes = self.source(src_file, src, len)?;
        allow(len <= MAX_UNIT_LEN.into() && file == STAGE)?;
        let room = range(dst, pack_room(len), STAGE_LEN)?;
        let at = range(packed_len.into(), PACK_ANSWER_LEN, DATA_LEN)?.start;
        self.model.packed += len;
        allow(self.model.packed <= self.model.limits.packed)?;
        let answer = match has_data(&bytes) {
            Some(false) => PACKED_ZEROS.to_le_bytes().map(Some).to_vec(),
            // How short something becomes is for the compressor to say.
            _ => vec![None; PACK_ANSWER_LEN as usize],
        };
        self.packs.push(Answer { at, bytes: answer });
        self.put(STAGE, room.clone(), &vec![None; room.len()]);
        Some(())
    }

    fn set_len(&mut self, file: u32, len: u64) -> Option<()> {
        allow(len <= self.model.limits.output_len)?;
        let len = usize::try_from(len).ok()?;
        if file == IN_PLACE {
            allow(self.model.is_finished() && len >= self.model.in_place.bytes.len())?;
        }
        self.model.has_begun = true;
        let output = self.model.outputs.get_mut(&file)?.get_or_insert_default();
        if len < output.len() {
            // What comes before is done before, but for compression.
            self.touched.retain(|(file, _)| *file == STAGE);
        }
        output.resize(len, Some(0));
        Some(())
    }

    /// What is copied. In place, what was there at the beginning can be, and to another place too.
    fn copied(&self, file: u32, src_file: u32, src: u64, dst: u64, len: u64) -> Option<Vec<Byte>> {
        if src_file != IN_PLACE {
            allow(file != src_file)?;
            return self.source(src_file, src, len);
        }
        allow(file != IN_PLACE || src.abs_diff(dst) >= len)?;
        let mut content = self.model.readable(IN_PLACE)?;
        content.truncate(self.model.in_place.bytes.len());
        self.part(IN_PLACE, content, src, len)
    }

    /// What is moved from a file.
    fn source(&self, file: u32, src: u64, len: u64) -> Option<Vec<Byte>> {
        self.part(file, self.model.source(file)?, src, len)
    }

    /// A part of the `content` of a file, as far as this ring leaves it alone.
    fn part(&self, file: u32, content: Vec<Byte>, src: u64, len: u64) -> Option<Vec<Byte>> {
        let range = range(src, len, content.len() as u64).filter(|range| !range.is_empty())?;
        let is_stirred =
            |at: u64| self.stirred.iter().any(|(other, range)| *other == file && range.contains(&at));
        let bytes = content[range].iter().zip(src..);
        Some(bytes.map(|(byte, at)| byte.filter(|_| !is_stirred(at))).collect())
    }

    fn write(&mut self, file: u32, dst: u64, bytes: &[Byte]) -> Option<()> {
        let destination = self.model.destination(file)?;
        let range =
            range(dst, bytes.len() as u64, destination.len() as u64).filter(|range| !range.is_empty())?;
        self.model.written += bytes.len() as u64;
        allow(self.model.written <= self.model.limits.written)?;
        self.put(file, range, bytes);
        Some(())
    }

    /// Puts bytes where there is room for them.
    fn put(&mut self, file: u32, range: Range<usize>, bytes: &[Byte]) {
        let destination = self.model.destination(file).expect("it has room");
        for (at, &byte) in range.clone().zip(bytes) {
            let twice = self.touched.iter().any(|(other, touched)| *other == file && touched.contains(&at));
            destination[at] = byte.filter(|_| !twice);
        }
        self.touched.push((file, range));
    }

    fn count_read(&mut self, len: u64) -> Option<()> {
        self.model.read += len;
        allow(self.model.read <= self.model.limits.read)
    }
}

fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().copied().map(Some).collect()
}

/// Whether one of `bytes` is other than zero, if that can be told.
fn has_data(bytes: &[Byte]) -> Option<bool> {
    let is_data = |byte: &Byte| byte.is_some_and(|byte| byte != 0);
    if bytes.iter().any(is_data) { Some(true) } else { bytes.iter().all(Option::is_some).then_some(false) }
}

fn allow(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// The bytes `start`, `len` of `whole`, if there are that many.
fn range(start: u64, len: u64, whole: u64) -> Option<Range<usize>> {
    let end = u128::from(start) + u128::from(len);
    allow(end <= u128::from(whole))?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
