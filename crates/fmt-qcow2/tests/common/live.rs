//! A file that is read and written at once, and whose steps are taken as late as they may be. What waits together never
//! overlaps, so its order makes no difference.

use core::cell::RefCell;
use core::ops::Range;
use std::collections::BTreeMap;

use fmt_core::{Error, ErrorKind, FileId, ReadAt, Source, Step, StepSink};

use super::{Random, decompress};

/// The file that is read and written.
pub(crate) const LIVE: FileId = FileId(2);

/// The file that data comes from.
pub(crate) const INPUT: FileId = FileId(1);

/// The disk behind the one in the file.
pub(crate) const BACKING: FileId = FileId(4);

/// What the file gets when it becomes longer. In a real one that is zeros, but nothing relies on it.
const STALE: u8 = 0xa5;

pub(crate) struct Live<'i> {
    input: &'i [u8],
    backing: &'i [u8],
    state: RefCell<State>,
}

struct State {
    bytes: Vec<u8>,
    /// What was said and not done, by its place.
    waiting: BTreeMap<u64, Vec<u8>>,
    random: Random,
    /// How many steps and reads there were.
    count: usize,
    /// How many there were before each read.
    reads: Vec<usize>,
    /// How many there will be, if not all.
    last: Option<usize>,
}

impl<'i> Live<'i> {
    pub(crate) fn new(bytes: Vec<u8>, input: &'i [u8], seed: u64) -> Self {
        let (waiting, random) = (BTreeMap::new(), Random(seed));
        let state = State { bytes, waiting, random, count: 0, reads: Vec::new(), last: None };
        Self { input, backing: &[], state: RefCell::new(state) }
    }

    /// The same, with a raw disk behind it.
    pub(crate) fn with_backing(self, backing: &'i [u8]) -> Self {
        Self { backing, ..self }
    }

    /// The same, but it ends after `count` steps and reads, with some of those done that wait.
    pub(crate) fn ending_after(self, count: usize) -> Self {
        self.state.borrow_mut().last = Some(count);
        self
    }

    /// What is in the file, all steps taken.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut state = self.state.into_inner();
        state.settle();
        state.bytes
    }

    /// How many steps and reads there were before each read. It is then that the most of them wait.
    pub(crate) fn reads(&self) -> Vec<usize> {
        self.state.borrow().reads.clone()
    }

    /// How many steps and reads there were.
    pub(crate) fn count(&self) -> usize {
        self.state.borrow().count
    }

    fn content(&self, state: &State, len: u64, source: Source) -> Vec<u8> {
        let len = usize::try_from(len).unwrap();
        let own = |range: Range<u64>| {
            assert!(!state.is_waiting(&range), "{range:?} is read while it is written");
            state.bytes.as_slice()
        };
        let (file, offset) = match source {
            Source::Zero => return vec![0; len],
            Source::Data { file, offset } => (file, offset),
            Source::Compressed { unit, skip } => {
                let file = match unit.file {
                    LIVE => own(unit.offset..unit.offset + u64::from(unit.len)),
                    _ => self.input,
                };
                return decompress(file, unit).unwrap()[skip as usize..][..len].to_vec();
            }
            Source::Unallocated => panic!("nothing to fill with"),
        };
        let mut bytes = vec![0; len];
        let file = match file {
            LIVE => own(offset..offset + len as u64),
            INPUT => self.input,
            BACKING => self.backing,
            _ => panic!("{file:?}"),
        };
        file.read_exact_at(offset, &mut bytes).unwrap();
        bytes
    }
}

impl State {
    fn is_waiting(&self, range: &Range<u64>) -> bool {
        let before = self.waiting.range(..range.end).next_back();
        before.is_some_and(|(at, bytes)| range.start < at + bytes.len() as u64)
    }

    fn put(&mut self, dst: u64, bytes: Vec<u8>) {
        let range = dst..dst + bytes.len() as u64;
        assert!(!bytes.is_empty(), "nothing at {dst}");
        assert!(
            range.end <= self.bytes.len() as u64,
            "{range:?} is not inside the {} bytes",
            self.bytes.len()
        );
        assert!(!self.is_waiting(&range), "{range:?} is written twice at once");
        self.waiting.insert(dst, bytes);
    }

    /// Does what waits.
    fn settle(&mut self) {
        while let Some((dst, bytes)) = self.waiting.pop_first() {
            let dst = usize::try_from(dst).unwrap();
            self.bytes[dst..dst + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Ends everything, if it is time.
    fn count(&mut self) -> Result<(), Error> {
        if self.last == Some(self.count) {
            let Self { waiting, random, .. } = self;
            waiting.retain(|_, _| random.below(2) == 0);
            return Err(Error::new(ErrorKind::Io, 0, "the end"));
        }
        self.count += 1;
        Ok(())
    }
}

impl ReadAt for Live<'_> {
    fn file_len(&self) -> u64 {
        self.state.borrow().bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        state.count()?;
        state.settle();
        let before = state.count - 1;
        state.reads.push(before);
        state.bytes.as_slice().read_exact_at(offset, buf)
    }
}

impl StepSink for Live<'_> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        state.count()?;
        match step {
            Step::SetLen { file: LIVE, len } => {
                state.settle();
                state.bytes.resize(usize::try_from(len).unwrap(), STALE);
            }
            Step::Write { file: LIVE, dst, bytes } => state.put(dst, bytes.to_vec()),
            Step::Fill { file: LIVE, dst, len, source } => {
                let bytes = self.content(&state, len, source);
                state.put(dst, bytes);
            }
            step => panic!("{step:?}"),
        }
        Ok(())
    }
}
