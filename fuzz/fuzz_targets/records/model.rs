//! The executor's contract, the simple way: bytes in memory, one operation after the other, in wide integers.

use core::ops::Range;
use std::collections::BTreeMap;

use guest_abi::exchange::{
    CODEC_DEFLATE, CODEC_ZSTD, COPY, DATA_LEN, DECODE, EXPECT, MAX_PACKED_LEN, MAX_UNIT_LEN, MIN_SCAN_UNIT,
    READ, Record, SCAN, SET_LEN, WRITE, ZERO,
};
use vmm::Limits;

use crate::decoders::decoded;

/// A byte of an output, or `None` where a ring wrote twice and either may have remained.
pub(crate) type OutputByte = Option<u8>;

/// All that a command has done.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    limits: Limits,
    operations: u64,
    read: u64,
    scanned: u64,
    written: u64,
    expects_units: bool,
    /// A unit could not be decompressed.
    is_broken: bool,
    inputs: BTreeMap<u32, Vec<u8>>,
    outputs: BTreeMap<u32, Option<Vec<OutputByte>>>,
}

/// Bytes for the data window.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The numbers of the outputs. The inputs are the others.
pub(crate) const OUTPUTS: [u32; 2] = [1, 3];

impl Model {
    pub(crate) fn new(limits: Limits, inputs: BTreeMap<u32, Vec<u8>>) -> Self {
        let outputs = OUTPUTS.map(|number| (number, None)).into();
        let (operations, read, scanned, written) = (0, 0, 0, 0);
        let (expects_units, is_broken) = (false, false);
        Self { limits, operations, read, scanned, written, expects_units, is_broken, inputs, outputs }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether a unit could not be decompressed.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether every output has been made.
    pub(crate) fn is_finished(&self) -> bool {
        self.outputs.values().all(Option::is_some)
    }

    /// The content of the output `number`, if it has been made.
    pub(crate) fn output(&self, number: u32) -> Option<&[OutputByte]> {
        self.outputs[&number].as_deref()
    }

    /// Does all that a ring asks for, and returns what it reads; or nothing at all if it asks for what it may not.
    pub(crate) fn carry_out(&mut self, ring: &[Record]) -> Option<Vec<Read>> {
        let mut ringing =
            Ringing { model: self.clone(), reads: Vec::new(), scans: Vec::new(), touched: Vec::new() };
        ring.iter().try_for_each(|record| ringing.carry_out(record))?;
        *self = ringing.model;
        ringing.reads.append(&mut ringing.scans);
        Some(ringing.reads)
    }
}

/// A ring being carried out.
struct Ringing {
    model: Model,
    reads: Vec<Read>,
    /// The answers that come after those.
    scans: Vec<Read>,
    /// What this ring has written since the last length.
    touched: Vec<(u32, Range<usize>)>,
}

impl Ringing {
    fn carry_out(&mut self, record: &Record) -> Option<()> {
        self.model.operations += 1;
        allow(self.model.operations <= self.model.limits.operations && record.reserved == 0)?;
        if record.op == DECODE {
            return self.decode(record);
        }
        let Record { codec: 0, packed_len: 0, unit_len, skip: 0, .. } = *record else { return None };
        allow(unit_len == 0 || record.op == SCAN)?;
        match *record {
            Record { op: READ, file, src_file: 0, dst, src, len, .. } => self.read(file, src, dst, len),
            Record { op: SET_LEN, file, src_file: 0, dst: 0, src: 0, len, .. } => self.set_len(file, len),
            Record { op: COPY, file, src_file, dst, src, len, .. } => {
                let bytes = self.source(src_file, src, len)?;
                self.write(file, dst, &bytes)
            }
            Record { op: WRITE, file, src_file: 0, dst, src, len, .. } => {
                // The window that a ring begins with is zeros, and what it reads comes too late for what it writes.
                let range = range(src, len, DATA_LEN)?;
                self.write(file, dst, &vec![0; range.len()])
            }
            Record { op: EXPECT, file: 0, src_file: 0, dst: 0, src: 0, len: 0, .. } => {
                self.model.expects_units = true;
                allow(self.model.outputs.values().all(Option::is_none))
            }
            Record { op: ZERO, file, src_file: 0, dst, src: 0, len, .. } => {
                let len = usize::try_from(len).ok().filter(|_| len <= self.model.limits.written)?;
                self.write(file, dst, &vec![0; len])
            }
            Record { op: SCAN, file, src_file: 0, dst, src, len, .. } => {
                self.scan(file, unit_len, src, dst, len)
            }
            _ => None,
        }
    }

    fn scan(&mut self, file: u32, unit: u32, src: u64, dst: u64, len: u64) -> Option<()> {
        let bytes = self.source(file, src, len)?;
        allow(unit > 0 && unit % MIN_SCAN_UNIT == 0)?;
        self.model.scanned += len;
        allow(self.model.scanned <= self.model.limits.scanned)?;
        let mut bits = vec![0; bytes.len().div_ceil(unit as usize).div_ceil(8)];
        for (index, unit) in bytes.chunks(unit as usize).enumerate() {
            bits[index / 8] |= u8::from(unit.iter().any(|&byte| byte != 0)) << (index % 8);
        }
        let at = range(dst, bits.len() as u64, DATA_LEN)?.start;
        self.scans.push(Read { at, bytes: bits });
        Some(())
    }

    fn read(&mut self, file: u32, src: u64, dst: u64, len: u64) -> Option<()> {
        let bytes = self.source(file, src, len)?;
        self.model.read += len;
        allow(self.model.read <= self.model.limits.read)?;
        let at = range(dst, len, DATA_LEN)?.start;
        self.reads.push(Read { at, bytes });
        Some(())
    }

    fn decode(&mut self, record: &Record) -> Option<()> {
        let &Record { file, src_file, codec, dst, src, len, packed_len, unit_len, skip, .. } = record;
        allow(self.model.expects_units && (CODEC_DEFLATE..=CODEC_ZSTD).contains(&codec))?;
        allow(packed_len <= MAX_PACKED_LEN && unit_len <= MAX_UNIT_LEN)?;
        let part = range(skip.into(), len, unit_len.into())?;
        let packed = self.source(src_file, src, packed_len.into())?;
        self.model.read += u64::from(packed_len);
        allow(self.model.read <= self.model.limits.read)?;
        let plain = decoded(codec, &packed, unit_len);
        let bytes = plain.as_ref().and_then(|plain| plain.get(part.clone()));
        self.model.is_broken |= bytes.is_none();
        self.write(file, dst, bytes.unwrap_or(&vec![0; part.len()]))
    }

    fn set_len(&mut self, file: u32, len: u64) -> Option<()> {
        let output = self.model.outputs.get_mut(&file)?;
        allow(len <= self.model.limits.output_len)?;
        output.get_or_insert_default().resize(usize::try_from(len).ok()?, Some(0));
        // What comes before a length is done before it.
        self.touched.clear();
        Some(())
    }

    fn source(&self, file: u32, src: u64, len: u64) -> Option<Vec<u8>> {
        let input = self.model.inputs.get(&file)?;
        let range = range(src, len, input.len() as u64).filter(|range| !range.is_empty())?;
        Some(input[range].to_vec())
    }

    fn write(&mut self, file: u32, dst: u64, bytes: &[u8]) -> Option<()> {
        let output = self.model.outputs.get_mut(&file)?.as_mut()?;
        let range = range(dst, bytes.len() as u64, output.len() as u64).filter(|range| !range.is_empty())?;
        self.model.written += bytes.len() as u64;
        allow(self.model.written <= self.model.limits.written)?;
        for (at, &byte) in range.clone().zip(bytes) {
            let twice = self.touched.iter().any(|(other, touched)| *other == file && touched.contains(&at));
            output[at] = (!twice).then_some(byte);
        }
        self.touched.push((file, range));
        Some(())
    }
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
