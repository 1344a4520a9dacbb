//! A host that is memory, for tests and fuzzers.
//!
//! Images may name each other's files: where a name leads does not depend on which image has it.
//!
//! It holds a command to the contract of [`Host`] and [`StepSink`], as the real host does: it panics when a step is
//! empty, reaches outside a file, writes what has been written, or comes before its output has a length. What it is
//! asked for in all can be limited, as by the real host, and a command that asks for more gets errors.

use core::cell::{Cell, Ref, RefCell};
use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};
use std::string::String;
use std::vec;
use std::vec::Vec;

use fmt_core::testing::{Origin, Output, SparseFile};
use fmt_core::{Codec, Compressed, Error, ErrorKind, FileId, ReadAt, Source, Step, StepSink};
use guest_abi::exchange::{MAX_PACKED_LEN, MAX_UNIT_LEN, MIN_SCAN_UNIT, pack_room, scan_answer_len};

use crate::Host;
use crate::decode::Decoder;
use crate::host::{Pack, Packed, Scan};

/// Files in memory, numbered in the order in which they were added.
#[derive(Debug, Default)]
pub struct MemoryHost {
    files: Vec<File>,
    /// Those that outputs consist of besides: they come into use, in this order, as they are asked for.
    further: RefCell<VecDeque<FileId>>,
    /// Those of the files that images may name.
    names: BTreeMap<Vec<u8>, FileId>,
    accesses: RefCell<Vec<Access>>,
    expects_units: Cell<bool>,
    steps: RefCell<Vec<Taken>>,
    /// How much may be [`charged`](Self::charge) in all.
    budget: Option<u64>,
    charged: Cell<u64>,
}

/// That something was done with a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The file.
    pub file: FileId,
    /// What of it, in bytes.
    pub range: Range<u64>,
    /// What was done.
    pub kind: AccessKind,
}

/// What is done with a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// The command looked at it.
    Read,
    /// A step took it to put it elsewhere.
    Taken,
    /// The same, to put there what is compressed in it. It may have more behind that.
    Unpacked,
    /// A step put bytes there that the command made.
    Written,
    /// A step put zeros there.
    Zeroed,
    /// A step put bytes there that it took from that file.
    Filled(FileId),
}

/// A step that was taken: the bytes that it would borrow are beside it.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    step: Step<'static>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum File {
    Input(Input),
    Output(RefCell<Output>),
    Stage(RefCell<SparseFile>),
    InPlace { content: RefCell<SparseFile>, first_len: u64 },
}

/// What anything costs beside the bytes that it handles.
const CHARGE: u64 = 4096;

/// What a bit of the answer to a scan costs.
const BIT_CHARGE: u64 = 16;

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

    /// The host with one more file, which an output consists of beside itself, and which may become `max_len` bytes long.
    #[must_use]
    pub fn with_further_output(self, max_len: u64) -> Self {
        self.further.borrow_mut().push_back(self.next_id());
        self.with_output(max_len)
    }

    /// The host with one more file, which is there, and is read and written in place.
    #[must_use]
    pub fn with_in_place(mut self, Input { content, .. }: Input) -> Self {
        let first_len = content.file_len();
        self.files.push(File::InPlace { content: RefCell::new(content), first_len });
        self
    }

    /// The host with one more file, which is written and read: the stage.
    #[must_use]
    pub fn with_stage(mut self, len: u64) -> Self {
        self.files.push(File::Stage(RefCell::new(SparseFile::new(len))));
        self
    }

    /// The host, which does no more than handle about so many bytes: looks at them, decompresses them, compresses them, or
    /// is given them to write. Then there are errors.
    #[must_use]
    pub fn with_budget(self, bytes: u64) -> Self {
        Self { budget: Some(bytes), ..self }
    }

    /// Whether more was asked for than the budget allows.
    pub fn is_exhausted(&self) -> bool {
        self.budget.is_some_and(|budget| self.charged.get() > budget)
    }

    /// How often bytes of an input were read.
    pub fn reads(&self) -> usize {
        self.accesses().iter().filter(|access| access.kind == AccessKind::Read).count()
    }

    /// What was done with parts of files so far, in order.
    pub fn accesses(&self) -> Ref<'_, [Access]> {
        Ref::map(self.accesses.borrow(), Vec::as_slice)
    }

    /// All steps so far, as they are shown for debugging.
    pub fn steps(&self) -> Vec<String> {
        self.steps.borrow().iter().map(Taken::shown).collect()
    }

    /// How many steps there have been so far.
    pub fn step_count(&self) -> usize {
        self.steps.borrow().len()
    }

    /// Whether `other` has taken the same steps.
    pub fn has_steps_of(&self, other: &Self) -> bool {
        self.steps == other.steps
    }

    /// The output `file` as the steps so far make it, or `None` while it has no length. What was not written is zeros.
    pub fn output(&self, file: FileId) -> Option<SparseFile> {
        let output = self.output_cell(file).borrow();
        let len = output.file_len()?;
        let (mut made, mut at) = (SparseFile::new(len), 0);
        while at < len {
            let (origin, len) = output.origin(at);
            match origin {
                Origin::Bytes(bytes) => made.write(at, bytes),
                Origin::Disk(Source::Data { file, offset }) => {
                    made.write_from(at, &self.input(file).content, offset..offset + len);
                }
                Origin::Hole | Origin::Disk(_) => {}
            }
            at += len;
        }
        Some(made)
    }

    /// How many bytes were written to the output `file`.
    pub fn written(&self, file: FileId) -> u64 {
        self.output_cell(file).borrow().written()
    }

    /// Takes what is to be done with `bytes` bytes out of the budget.
    fn charge(&self, bytes: u64) -> Result<(), Error> {
        self.charged.set(self.charged.get().saturating_add(CHARGE).saturating_add(bytes));
        if self.is_exhausted() {
            return Err(Error::new(ErrorKind::Io, 0, "more than this host does"));
        }
        Ok(())
    }

    /// The file in place `file` as the steps so far have made it.
    pub fn in_place(&self, file: FileId) -> SparseFile {
        match self.files.get(file.0 as usize) {
            Some(File::InPlace { content, .. }) => content.borrow().clone(),
            other => panic!("{file:?} is in place and is {other:?}"),
        }
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
        assert!(!self.is_stage(unit.file), "{unit:?} is in the stage");
        assert!(unit.len > 0 && unit.len <= MAX_PACKED_LEN && unit.unit_len <= MAX_UNIT_LEN, "{unit:?}");
        assert!(
            u64::from(skip) + len <= unit.unit_len.into(),
            "{len} bytes at {skip} are not inside {unit:?}"
        );
        let broken = |what| Error::new(ErrorKind::Corrupt, unit.offset, what);
        let (packed, mut plain) =
            (self.part(unit.file, unit.offset, unit.len.into()), vec![0; unit.unit_len as usize]);
        let packed = all(&packed);
        self.note(unit.file, unit.offset, unit.len.into(), AccessKind::Unpacked);
        let whole = Decoder::default().decode(unit.codec, &packed, &mut plain);
        let whole = whole.ok_or(broken("a compressed cluster cannot be decompressed"))?;
        let part = skip as usize..usize::try_from(u64::from(skip) + len).expect("no more than a unit");
        let part = plain[..whole].get(part);
        part.map(<[u8]>::to_vec).ok_or(broken("a compressed cluster is shorter than what is in it"))
    }

    fn is_stage(&self, file: FileId) -> bool {
        matches!(self.files.get(file.0 as usize), Some(File::Stage(_)))
    }

    fn stage(&self, file: FileId) -> &RefCell<SparseFile> {
        match self.files.get(file.0 as usize) {
            Some(File::Stage(stage)) => stage,
            other => panic!("{file:?} is the stage and is {other:?}"),
        }
    }

    /// `len` bytes at `offset` of any file but an output.
    fn part(&self, file: FileId, offset: u64, len: u64) -> SparseFile {
        let part_of = |content: &SparseFile| {
            assert_inside(offset, len, content.file_len());
            let mut part = SparseFile::new(len);
            part.write_from(0, content, offset..offset + len);
            part
        };
        match self.files.get(file.0 as usize) {
            Some(File::Stage(content) | File::InPlace { content, .. }) => part_of(&content.borrow()),
            _ => part_of(&self.input(file).content),
        }
    }

    /// Does what `step` says of the stage, or of a file in place.
    fn put_into(&self, content: &RefCell<SparseFile>, step: Step<'_>) {
        match step {
            Step::Write { dst, bytes, .. } => {
                assert!(!bytes.is_empty(), "a step that does nothing");
                put(&mut content.borrow_mut(), dst, bytes);
            }
            Step::Fill { dst, len, source, .. } => {
                let part = match source {
                    Source::Zero => SparseFile::new(len),
                    Source::Data { file, offset } => self.part(file, offset, len),
                    source => panic!("{source:?} for a file that has its bytes"),
                };
                assert!(len > 0, "a step that does nothing");
                let mut content = content.borrow_mut();
                assert_inside(dst, len, content.file_len());
                content.zero(dst..dst + len);
                content.write_from(dst, &part, 0..len);
            }
            Step::SetLen { len, .. } => {
                let mut content = content.borrow_mut();
                *content = core::mem::take(&mut *content).with_len(len);
            }
        }
    }

    /// Takes a step that is not of compressed data. What it puts somewhere is of that `kind`.
    fn take(&self, step: Step<'_>, kind: AccessKind) -> Result<(), Error> {
        let (Step::SetLen { file, .. } | Step::Write { file, .. } | Step::Fill { file, .. }) = step;
        match step {
            Step::SetLen { .. } => {}
            Step::Write { dst, bytes, .. } => self.note(file, dst, bytes.len() as u64, kind),
            Step::Fill { dst, len, source, .. } => {
                self.check_source(source, step);
                self.note(file, dst, len, kind);
            }
        }
        let of_file = self.files.get(file.0 as usize);
        if let Some(File::Stage(content)) = of_file {
            self.charge(0)?;
            self.put_into(content, step);
            return Ok(());
        }
        let staged = match step {
            // The stage will hold something else soon.
            Step::Fill { dst, len, source: Source::Data { file: from, offset }, .. }
                if self.is_stage(from) =>
            {
                Some((dst, all(&self.part(from, offset, len))))
            }
            _ => None,
        };
        let step = staged.as_ref().map_or(step, |(dst, bytes)| Step::Write { file, dst: *dst, bytes });
        let taken = Taken::from(step);
        self.charge(taken.bytes.len() as u64)?;
        match (of_file, step) {
            (Some(File::InPlace { first_len, .. }), Step::SetLen { len, .. }) if len < *first_len => {
                panic!("a file in place of {first_len} bytes becomes {len} long")
            }
            (Some(File::InPlace { content, .. }), step) => self.put_into(content, step),
            _ => self.output_cell(file).borrow_mut().take(step),
        }
        self.steps.borrow_mut().push(taken);
        Ok(())
    }

    /// Checks that what `step` takes from `source` is there, and to be had.
    fn check_source(&self, source: Source, step: Step<'_>) {
        let Step::Fill { file: to, dst, len, .. } = step else { return };
        let Source::Data { file, offset } = source else { return };
        let file_len = match self.files.get(file.0 as usize) {
            Some(File::Stage(content)) => content.borrow().file_len(),
            // What was there at the beginning.
            Some(File::InPlace { first_len, .. }) => *first_len,
            _ => self.file_len(file),
        };
        assert_inside(offset, len, file_len);
        assert!(file != to || offset.abs_diff(dst) >= len, "{step:?} copies onto itself");
        self.note(file, offset, len, AccessKind::Taken);
    }

    fn note(&self, file: FileId, at: u64, len: u64, kind: AccessKind) {
        self.accesses.borrow_mut().push(Access { file, range: at..at.saturating_add(len), kind });
    }
}

impl Host for MemoryHost {
    fn file_len(&self, file: FileId) -> u64 {
        match &self.files[file.0 as usize] {
            File::InPlace { content, .. } => content.borrow().file_len(),
            _ => self.input(file).file_len(),
        }
    }

    fn is_named_dmg(&self, file: FileId) -> bool {
        matches!(self.files.get(file.0 as usize), Some(File::Input(input)) if input.named_dmg)
    }

    fn create(&self, _of: FileId) -> FileId {
        assert!(self.steps.borrow().is_empty(), "another output after the first step");
        self.further.borrow_mut().pop_front().expect("an output consists of as many files as there are")
    }

    fn open(&self, _from: FileId, name: &[u8]) -> Result<FileId, Error> {
        assert!(self.steps.borrow().is_empty(), "another name after the first step");
        self.charge(0)?;
        self.names.get(name).copied().ok_or(Error::new(ErrorKind::Io, 0, "there is no file of that name"))
    }

    fn expect_units(&self) {
        assert!(self.steps.borrow().is_empty(), "units are expected after the first step");
        self.expects_units.set(true);
    }

    fn pack(&self, units: &[Pack], codec: Codec, stage: FileId, lens: &mut Vec<Packed>) -> Result<(), Error> {
        lens.clear();
        for unit in units {
            assert!((1..=MAX_UNIT_LEN).contains(&unit.len), "{unit:?}");
            self.charge(unit.len.into())?;
            let part = self.part(unit.file, unit.offset, unit.len.into());
            if !part.has_data(0..unit.len.into()) {
                lens.push(Packed::Zeros);
                continue;
            }
            let packed = compress(&all(&part), codec);
            let room = pack_room(unit.len.into());
            let mut stage = self.stage(stage).borrow_mut();
            assert!(unit.dst + room <= stage.file_len(), "no room for {unit:?}");
            let fits = packed.len() as u64 <= room;
            if fits {
                put(&mut stage, unit.dst, &packed);
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
            let content = &self.input(scan.file).content;
            assert_inside(scan.offset, scan.len, content.file_len());
            // Every bit takes a search.
            self.charge(8 * BIT_CHARGE * scan_answer_len(scan.len, unit))?;
            let end = scan.offset + scan.len;
            let units = (scan.offset..end).step_by(unit as usize).map(|at| at..end.min(at + u64::from(unit)));
            let bits: Vec<bool> = units.map(|unit| content.has_data(unit)).collect();
            answer.extend(
                bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit))),
            );
        }
        Ok(())
    }

    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        if !buf.is_empty() {
            self.note(file, offset, buf.len() as u64, AccessKind::Read);
        }
        self.charge(buf.len() as u64)?;
        match &self.files[file.0 as usize] {
            File::InPlace { content, .. } => content.borrow().read_exact_at(offset, buf),
            _ => self.input(file).read_exact_at(offset, buf),
        }
    }
}

impl StepSink for MemoryHost {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::Fill { file, dst, len, source: Source::Compressed { unit, skip } } => {
                self.charge(unit.unit_len.into())?;
                let bytes = &self.decoded(unit, skip, len)?;
                self.take(Step::Write { file, dst, bytes }, AccessKind::Filled(unit.file))
            }
            Step::Fill { source: Source::Data { file, .. }, .. } => self.take(step, AccessKind::Filled(file)),
            Step::Fill { .. } => self.take(step, AccessKind::Zeroed),
            _ => self.take(step, AccessKind::Written),
        }
    }
}

impl From<Step<'_>> for Taken {
    fn from(step: Step<'_>) -> Self {
        match step {
            Step::Write { file, dst, bytes } => {
                Self { step: Step::Write { file, dst, bytes: &[] }, bytes: bytes.to_vec() }
            }
            Step::SetLen { file, len } => Self { step: Step::SetLen { file, len }, bytes: Vec::new() },
            Step::Fill { file, dst, len, source } => {
                Self { step: Step::Fill { file, dst, len, source }, bytes: Vec::new() }
            }
        }
    }
}

impl Taken {
    fn shown(&self) -> String {
        match self.step {
            Step::Write { file, dst, .. } => {
                std::format!("{:?}", Step::Write { file, dst, bytes: &self.bytes })
            }
            step => std::format!("{step:?}"),
        }
    }
}

fn assert_inside(at: u64, len: u64, file_len: u64) {
    let is_inside = at.checked_add(len).is_some_and(|end| end <= file_len);
    assert!(is_inside, "{len} bytes at {at} are not inside a file of {file_len}");
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("it is in memory")
}

/// Puts `bytes` at byte `dst` of the stage, or of a file in place.
fn put(content: &mut SparseFile, dst: u64, bytes: &[u8]) {
    assert_inside(dst, bytes.len() as u64, content.file_len());
    content.write(dst, bytes);
}

fn all(content: &SparseFile) -> Vec<u8> {
    let mut bytes = vec![0; place(content.file_len())];
    content.read_exact_at(0, &mut bytes).expect("it is inside the file");
    bytes
}

fn compress(bytes: &[u8], codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Zlib => miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6),
        Codec::Zstd => {
            zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).expect("there is memory for it")
        }
        _ => miniz_oxide::deflate::compress_to_vec(bytes, 6),
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct Input {
    content: SparseFile,
    named_dmg: bool,
}

impl Input {
    /// A file that consists of `bytes`.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self::from(SparseFile::from(bytes.as_ref()))
    }

    /// The file with `len` more bytes that are zero, as far as 64 bits can tell its length.
    #[must_use]
    pub fn with_hole(self, len: u64) -> Self {
        let len = self.file_len().saturating_add(len);
        Self { content: self.content.with_len(len), ..self }
    }

    /// The file under a name that ends in `.dmg`, or not.
    #[must_use]
    pub fn named_dmg(self, named_dmg: bool) -> Self {
        Self { named_dmg, ..self }
    }
}

impl From<SparseFile> for Input {
    fn from(content: SparseFile) -> Self {
        Self { content, named_dmg: false }
    }
}

impl ReadAt for Input {
    fn file_len(&self) -> u64 {
        self.content.file_len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.content.read_exact_at(offset, buf)
    }
}
