//! A host that is memory, for tests and fuzzers.
//!
//! Images may name each other's files: where a name leads does not depend on which image has it.
//!
//! It holds a command to the contract of [`Host`] and [`StepSink`], as the real host does: it panics when a step is
//! empty, reaches outside a file, writes what has been written, or comes before its output has a length.

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::string::String;
use std::vec;
use std::vec::Vec;

use fmt_core::testing::{Origin, Output};
use fmt_core::{Codec, Compressed, Error, ErrorKind, FileId, ReadAt, Source, Step, StepSink};
use guest_abi::exchange::{MAX_PACKED_LEN, MAX_UNIT_LEN, MIN_SCAN_UNIT, pack_room};

use crate::Host;
use crate::decode::Decoder;
use crate::host::{Pack, Packed, Scan};

/// Files in memory, numbered in the order in which they were added.
#[derive(Debug, Default)]
pub struct MemoryHost {
    files: Vec<File>,
    /// Those of the files that images may name.
    names: BTreeMap<Vec<u8>, FileId>,
    reads: Cell<usize>,
    expects_units: Cell<bool>,
    /// As they are shown, because they borrow.
    steps: RefCell<Vec<String>>,
}

#[derive(Debug)]
enum File {
    Input(Input),
    Output(RefCell<Output>),
    Stage(RefCell<Vec<u8>>),
}

impl MemoryHost {
    /// A host without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The host with one more file, which is read.
    #[must_use]
    pub fn with_input(mut self, input: Input) -> Self {
        self.files.push(File::Input(input));
        self
    }

    /// The host with one more file, which is read once an image has named it so.
    #[must_use]
    pub fn with_named(mut self, name: impl Into<Vec<u8>>, input: Input) -> Self {
        self.names.insert(name.into(), self.next_id());
        self.with_input(input)
    }

    /// The host with one more file, which is written and may become `max_len` bytes long.
    #[must_use]
    pub fn with_output(mut self, max_len: u64) -> Self {
        self.files.push(File::Output(RefCell::new(Output::new(max_len))));
        self
    }

    /// The host with one more file, which is written and read: the stage.
    #[must_use]
    pub fn with_stage(mut self, len: u64) -> Self {
        self.files.push(File::Stage(RefCell::new(std::vec![0; place(len)])));
        self
    }

    /// How often bytes of an input were read.
    pub fn reads(&self) -> usize {
        self.reads.get()
    }

    /// All steps so far, as they are shown for debugging.
    pub fn steps(&self) -> Vec<String> {
        self.steps.borrow().clone()
    }

    /// The output `file` as the steps so far make it, or `None` while it has no length.
    pub fn output(&self, file: FileId) -> Option<OutputView<'_>> {
        self.output_cell(file).borrow().file_len().map(|len| OutputView { host: self, file, len })
    }

    fn next_id(&self) -> FileId {
        FileId(u32::try_from(self.files.len()).expect("a few files"))
    }

    fn input(&self, file: FileId) -> &Input {
        match self.files.get(file.0 as usize) {
            Some(File::Input(input)) => input,
            other => panic!("{file:?} is read and is {other:?}"),
        }
    }

    fn output_cell(&self, file: FileId) -> &RefCell<Output> {
        match self.files.get(file.0 as usize) {
            Some(File::Output(output)) => output,
            other => panic!("{file:?} is written and is {other:?}"),
        }
    }

    /// The bytes that a step with a compressed unit writes.
    fn decoded(&self, unit: Compressed, skip: u32, len: u64) -> Result<Vec<u8>, Error> {
        assert!(self.expects_units.get(), "nobody said that there might be units");
        assert!(unit.len > 0 && unit.len <= MAX_PACKED_LEN && unit.unit_len <= MAX_UNIT_LEN, "{unit:?}");
        assert!(
            u64::from(skip) + len <= unit.unit_len.into(),
            "{len} bytes at {skip} are not inside {unit:?}"
        );
        let broken = |what| Error::new(ErrorKind::Corrupt, unit.offset, what);
        let (mut packed, mut plain) = (vec![0; unit.len as usize], vec![0; unit.unit_len as usize]);
        self.input(unit.file).read_exact_at(unit.offset, &mut packed).expect("the unit is inside its file");
        let whole = Decoder::default().decode(unit.codec, &packed, &mut plain);
        let whole = whole.ok_or(broken("a compressed cluster cannot be decompressed"))?;
        let part = skip as usize..usize::try_from(u64::from(skip) + len).expect("no more than a unit");
        let part = plain[..whole].get(part);
        part.map(<[u8]>::to_vec).ok_or(broken("a compressed cluster is shorter than what is in it"))
    }

    fn is_stage(&self, file: FileId) -> bool {
        matches!(self.files.get(file.0 as usize), Some(File::Stage(_)))
    }

    fn stage(&self, file: FileId) -> &RefCell<Vec<u8>> {
        match self.files.get(file.0 as usize) {
            Some(File::Stage(stage)) => stage,
            other => panic!("{file:?} is the stage and is {other:?}"),
        }
    }

    /// `len` bytes at `offset` of an input or the stage.
    fn bytes(&self, file: FileId, offset: u64, len: u64) -> Vec<u8> {
        if self.is_stage(file) {
            return self.stage(file).borrow()[place(offset)..place(offset + len)].to_vec();
        }
        let mut bytes = std::vec![0; place(len)];
        self.input(file).read_exact_at(offset, &mut bytes).expect("it is inside the file");
        bytes
    }

    /// Does what `step` says of the stage.
    fn put_into(&self, stage: &RefCell<Vec<u8>>, step: Step<'_>) {
        let (dst, bytes) = match step {
            Step::Write { dst, bytes, .. } => (dst, bytes.to_vec()),
            Step::Fill { dst, len, source: Source::Zero, .. } => (dst, std::vec![0; place(len)]),
            Step::Fill { dst, len, source: Source::Data { file, offset }, .. } => {
                (dst, self.bytes(file, offset, len))
            }
            step => panic!("{step:?} of the stage"),
        };
        stage.borrow_mut()[place(dst)..][..bytes.len()].copy_from_slice(&bytes);
    }

    fn check_source(&self, source: Source, len: u64) {
        if let Source::Data { file, offset } = source {
            let file_len = if self.is_stage(file) {
                self.stage(file).borrow().len() as u64
            } else {
                self.input(file).len
            };
            let inside = offset.checked_add(len).is_some_and(|end| end <= file_len);
            assert!(inside, "{len} bytes at {offset} are not inside {file:?}");
        }
    }
}

impl Host for MemoryHost {
    fn file_len(&self, file: FileId) -> u64 {
        self.input(file).len
    }

    fn is_named_dmg(&self, file: FileId) -> bool {
        self.input(file).named_dmg
    }

    fn open(&self, _from: FileId, name: &[u8]) -> Result<FileId, Error> {
        self.names.get(name).copied().ok_or(Error::new(ErrorKind::Io, 0, "there is no file of that name"))
    }

    fn expect_units(&self) {
        self.expects_units.set(true);
    }

    fn pack(&self, units: &[Pack], codec: Codec, stage: FileId, lens: &mut Vec<Packed>) -> Result<(), Error> {
        lens.clear();
        for unit in units {
            assert!((1..=MAX_UNIT_LEN).contains(&unit.len), "{unit:?}");
            let bytes = self.bytes(unit.file, unit.offset, unit.len.into());
            if bytes.iter().all(|&byte| byte == 0) {
                lens.push(Packed::Zeros);
                continue;
            }
            let packed = compress(&bytes, codec);
            let (room, dst) = (place(pack_room(unit.len.into())), place(unit.dst));
            let mut stage = self.stage(stage).borrow_mut();
            let free = &mut stage[dst..dst + room];
            let fits = packed.len() <= room;
            if fits {
                free[..packed.len()].copy_from_slice(&packed);
            }
            lens.push(if fits {
                Packed::Len(u32::try_from(packed.len()).expect("it fits"))
            } else {
                Packed::No
            });
        }
        Ok(())
    }

    fn settle(&self) {}

    fn scan(&self, scans: &[Scan], unit: u32, answer: &mut Vec<u8>) -> Result<(), Error> {
        assert!(unit > 0 && unit.is_multiple_of(MIN_SCAN_UNIT), "a unit of {unit} bytes");
        answer.clear();
        for scan in scans {
            self.check_source(Source::Data { file: scan.file, offset: scan.offset }, scan.len);
            let starts = (0..scan.len).step_by(unit as usize);
            let lens = starts.map(|start| (start, (scan.len - start).min(unit.into())));
            let bits: Vec<bool> =
                lens.map(|(start, len)| self.input(scan.file).has_data(scan.offset + start, len)).collect();
            answer.extend(
                bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit))),
            );
        }
        Ok(())
    }

    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        if !buf.is_empty() {
            self.reads.set(self.reads.get() + 1);
        }
        self.input(file).read_exact_at(offset, buf)
    }
}

impl StepSink for MemoryHost {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        if let Step::Fill { file, dst, len, source: Source::Compressed { unit, skip } } = step {
            return self.step(Step::Write { file, dst, bytes: &self.decoded(unit, skip, len)? });
        }
        let (Step::SetLen { file, .. } | Step::Write { file, .. } | Step::Fill { file, .. }) = step;
        if let Step::Fill { len, source, .. } = step {
            self.check_source(source, len);
        }
        if let Some(File::Stage(stage)) = self.files.get(file.0 as usize) {
            self.put_into(stage, step);
            return Ok(());
        }
        match step {
            // The stage will hold something else soon.
            Step::Fill { file, dst, len, source: Source::Data { file: from, offset } }
                if self.is_stage(from) =>
            {
                let bytes = &self.bytes(from, offset, len);
                self.output_cell(file).borrow_mut().take(Step::Write { file, dst, bytes });
            }
            step => self.output_cell(file).borrow_mut().take(step),
        }
        self.steps.borrow_mut().push(std::format!("{step:?}"));
        Ok(())
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("it is in memory")
}

fn compress(bytes: &[u8], codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Zlib => miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6),
        Codec::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        _ => miniz_oxide::deflate::compress_to_vec(bytes, 6),
    }
}

/// A file to read: bytes, and perhaps a hole behind them, of any length.
#[derive(Clone, Debug)]
pub struct Input {
    bytes: Vec<u8>,
    len: u64,
    named_dmg: bool,
}

impl Input {
    /// A file that consists of `bytes`.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { len: bytes.len() as u64, bytes, named_dmg: false }
    }

    /// The file with `len` more bytes that are zero, as far as 64 bits can tell its length.
    #[must_use]
    pub fn with_hole(self, len: u64) -> Self {
        Self { len: self.len.saturating_add(len), ..self }
    }

    /// Whether one of the `len` bytes at `offset` is other than zero.
    fn has_data(&self, offset: u64, len: u64) -> bool {
        let place = |at: u64| usize::try_from(at).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        self.bytes[place(offset)..place(offset + len)].iter().any(|&byte| byte != 0)
    }

    /// The file under a name that ends in `.dmg`, or not.
    #[must_use]
    pub fn named_dmg(self, named_dmg: bool) -> Self {
        Self { named_dmg, ..self }
    }
}

impl ReadAt for Input {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(Error::new(ErrorKind::Io, offset, "read past the end of the file"));
        }
        let bytes =
            usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default();
        let (data, hole) = buf.split_at_mut(bytes.len().min(buf.len()));
        data.copy_from_slice(&bytes[..data.len()]);
        hole.fill(0);
        Ok(())
    }
}

/// An output of a [`MemoryHost`], as bytes.
#[derive(Clone, Copy, Debug)]
pub struct OutputView<'h> {
    host: &'h MemoryHost,
    file: FileId,
    len: u64,
}

impl OutputView<'_> {
    /// How many bytes were written. What was not is a hole.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.host.output_cell(self.file).borrow().written()
    }
}

impl ReadAt for OutputView<'_> {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<(), Error> {
        let (output, mut at) = (self.host.output_cell(self.file).borrow(), offset);
        while !buf.is_empty() {
            let (origin, len) = output.origin(at);
            let len = usize::try_from(len).map_or(buf.len(), |len| len.min(buf.len()));
            let (head, rest) = buf.split_at_mut(len);
            match origin {
                Origin::Bytes(bytes) => head.copy_from_slice(&bytes[..len]),
                Origin::Disk(Source::Data { file, offset }) => {
                    self.host.input(file).read_exact_at(offset, head)?;
                }
                Origin::Hole | Origin::Disk(_) => head.fill(0),
            }
            at += len as u64;
            buf = rest;
        }
        Ok(())
    }
}
