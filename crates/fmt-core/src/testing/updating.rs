//! Files that are there, as the steps of an update change them, and the disks in them.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, Ref, RefCell};
use core::ops::Range;

use super::{OUTPUT, extent_at};
use crate::{DiskMap, Error, Extent, ReadAt, Source, Step, StepSink};

/// What a file holds where it was made longer: not zeros, so that nobody counts on them.
const STALE: u8 = 0xa5;

/// After how many bytes what inputs hold begins again: a prime, so that no two blocks are alike.
const PERIOD: usize = 65_521;

/// The file [`OUTPUT`], which is read and written in place: its bytes, and how they came to be.
///
/// A read ends what was said before it, as a length does. In between, steps are disjoint, unless the
/// [image itself](Self::of_stranger) has two names for one place.
#[derive(Debug)]
pub struct UpdatedFile {
    may_overlap: bool,
    /// As it was.
    first: Vec<u8>,
    bytes: RefCell<Vec<u8>>,
    /// What was said between two reads or lengths, in order.
    batches: RefCell<Vec<Vec<Change>>>,
    reads: Cell<u64>,
    /// What inputs hold.
    data: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Len(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Len(len) => file.resize(*len, STALE),
            Self::Bytes(at, bytes) => file[*at..at + bytes.len()].copy_from_slice(bytes),
        }
    }

    fn range(&self) -> Range<usize> {
        match self {
            Self::Len(_) => 0..0,
            Self::Bytes(at, bytes) => *at..at + bytes.len(),
        }
    }
}

impl UpdatedFile {
    /// A file of these bytes. What inputs hold depends on `seed`, and is never zero.
    #[must_use]
    pub fn new(bytes: Vec<u8>, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut next = || {
            // A step of xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3].max(1)
        };
        Self { may_overlap: false, ..Self::of(bytes, (0..PERIOD).map(|_| next()).collect()) }
    }

    /// A file of these bytes, which nobody vouches for: its blocks may lie in one place.
    #[must_use]
    pub fn of_stranger(bytes: Vec<u8>) -> Self {
        Self::of(bytes, vec![1; PERIOD])
    }

    fn of(first: Vec<u8>, data: Vec<u8>) -> Self {
        let (bytes, batches) = (RefCell::new(first.clone()), RefCell::new(vec![Vec::new()]));
        Self { may_overlap: true, first, bytes, batches, reads: Cell::new(0), data }
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> Ref<'_, Vec<u8>> {
        self.bytes.borrow()
    }

    /// How often the file was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// The ranges of the file that were written, in the order of the steps.
    #[must_use]
    pub fn written(&self) -> Vec<Range<usize>> {
        let batches = self.batches.borrow();
        batches.iter().flatten().map(Change::range).filter(|range| !range.is_empty()).collect()
    }

    /// The disk `before`, once `extents` have been written to it.
    #[must_use]
    pub fn wanted(&self, before: &[u8], extents: &[Extent]) -> Vec<u8> {
        let mut disk = before.to_vec();
        for extent in extents {
            if extent.source != Source::Unallocated {
                let range = index(extent.start)..index(extent.end());
                disk[range].copy_from_slice(&self.content(extent.source, extent.len));
            }
        }
        disk
    }

    /// Holds the disk that `disk` finds in the file, before and after, against the `extents` that were written to it. And,
    /// for each of `stops`, the disk in a file of which only a part of what was said has been done: whatever was before
    /// some read, and any of what was between it and the next. Then each byte of the disk is as it was or as it becomes.
    ///
    /// # Panics
    ///
    /// When it is not so.
    pub fn check(&self, extents: &[Extent], disk: impl Fn(&[u8]) -> Vec<u8>, stops: &[u64]) {
        let before = disk(&self.first);
        let wanted = self.wanted(&before, extents);
        same(&disk(&self.bytes()), &wanted, &wanted);
        for &stop in stops {
            same(&disk(&self.stopped(stop)), &before, &wanted);
        }
    }

    /// The file, had its writer been stopped: `stop` says where.
    #[must_use]
    pub fn stopped(&self, stop: u64) -> Vec<u8> {
        let (batches, mut file) = (self.batches.borrow(), self.first.clone());
        let last = index(stop % batches.len() as u64);
        batches[..last].iter().flatten().for_each(|change| change.apply(&mut file));
        let picks = (stop / 7).rotate_left(11).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Nothing is written before the file is long enough.
        let (lens, bytes): (Vec<_>, Vec<_>) =
            batches[last].iter().partition(|change| matches!(change, Change::Len(_)));
        lens.into_iter().for_each(|len| len.apply(&mut file));
        let picked = bytes.into_iter().zip(0..).filter(|(_, number)| picks.rotate_left(*number) & 1 == 1);
        picked.for_each(|(change, _)| change.apply(&mut file));
        file
    }

    fn content(&self, source: Source, len: u64) -> Vec<u8> {
        let offset = match source {
            Source::Zero => return vec![0; index(len)],
            Source::Unallocated => panic!("nothing to fill with"),
            Source::Data { offset, .. } => offset,
            Source::Compressed { unit, skip } => unit.offset + u64::from(skip),
        };
        let mut at = index(offset % PERIOD as u64);
        let mut bytes = Vec::with_capacity(index(len));
        while bytes.len() < index(len) {
            let piece = (index(len) - bytes.len()).min(PERIOD - at);
            bytes.extend_from_slice(&self.data[at..at + piece]);
            at = 0;
        }
        bytes
    }

    fn change(&self, change: Change) {
        let mut batches = self.batches.borrow_mut();
        let batch = batches.last_mut().expect("there is always one");
        let range = change.range();
        assert!(range.end <= self.bytes.borrow().len(), "{range:?} is not inside the file");
        let clash =
            batch.iter().map(Change::range).find(|old| old.start < range.end && range.start < old.end);
        assert!(self.may_overlap || clash.is_none(), "written twice between two reads: {range:?}, {clash:?}");
        change.apply(&mut self.bytes.borrow_mut());
        batch.push(change);
    }

    fn end_batch(&self) {
        self.batches.borrow_mut().push(Vec::new());
    }
}

impl StepSink for UpdatedFile {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let (Step::SetLen { file, .. } | Step::Write { file, .. } | Step::Fill { file, .. }) = step;
        assert_eq!(file, OUTPUT, "{step:?}");
        match step {
            Step::SetLen { len, .. } => {
                assert!(index(len) >= self.first.len(), "shorter than it was");
                // What makes it longer waits for nothing.
                let is_shorter = index(len) < self.bytes.borrow().len();
                if is_shorter {
                    self.end_batch();
                }
                self.change(Change::Len(index(len)));
                if is_shorter {
                    self.end_batch();
                }
            }
            Step::Write { dst, bytes, .. } => {
                assert!(!bytes.is_empty(), "nothing at {dst}");
                self.change(Change::Bytes(index(dst), bytes.to_vec()));
            }
            Step::Fill { dst, len, source, .. } => {
                assert!(len > 0, "nothing at {dst}");
                self.change(Change::Bytes(index(dst), self.content(source, len)));
            }
        }
        Ok(())
    }
}

impl ReadAt for UpdatedFile {
    fn file_len(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.end_batch();
        self.reads.set(self.reads.get() + 1);
        self.bytes.borrow().read_exact_at(offset, buf)
    }
}

/// What the disk that `map` finds in `file`, which is [`OUTPUT`], holds. What is not in it reads as zeros.
///
/// # Errors
///
/// Those of the map.
///
/// # Panics
///
/// As [`extent_at`]; and where the disk is compressed.
pub fn disk_bytes<M: DiskMap>(map: &mut M, file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut disk = Vec::new();
    while (disk.len() as u64) < map.virtual_size() {
        let at = disk.len() as u64;
        let extent = extent_at(map, at, |id| (id == OUTPUT).then_some(file.len() as u64))?;
        let len = index(extent.end() - at);
        match extent.source.after(at - extent.start) {
            Source::Zero | Source::Unallocated => disk.resize(disk.len() + len, 0),
            Source::Data { offset, .. } => disk.extend_from_slice(&file[index(offset)..index(offset) + len]),
            Source::Compressed { .. } => panic!("{extent:?}"),
        }
    }
    Ok(disk)
}

/// Checks that each byte of `disk` is that of the one or the other.
fn same(disk: &[u8], one: &[u8], other: &[u8]) {
    assert_eq!(disk.len(), one.len(), "the disk has another size");
    if disk != other {
        let wrong = (0..disk.len()).find(|&at| disk[at] != one[at] && disk[at] != other[at]);
        if let Some(at) = wrong {
            panic!("byte {at} is {}, and should be {} or {}", disk[at], one[at], other[at]);
        }
    }
}

/// A place in a buffer.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("a buffer is no longer than memory")
}

#[cfg(test)]
mod tests {
    use core::panic::AssertUnwindSafe;
    use std::panic::catch_unwind;

    use super::*;
    use crate::testing::INPUT;

    const DATA: Source = Source::Data { file: INPUT, offset: 7 };

    fn bytes(dst: u64, bytes: &[u8]) -> Step<'_> {
        Step::Write { file: OUTPUT, dst, bytes }
    }

    fn len(len: u64) -> Step<'static> {
        Step::SetLen { file: OUTPUT, len }
    }

    fn is_accepted(steps: &[Step<'_>]) -> bool {
        let file = AssertUnwindSafe(UpdatedFile::new(vec![0; 100], 1));
        catch_unwind(|| steps.iter().for_each(|&step| file.step(step).unwrap())).is_ok()
    }

    #[test]
    fn steps_that_break_a_promise_are_found() {
        assert!(is_accepted(&[bytes(0, b"ab"), bytes(2, b"c"), len(200), bytes(3, b"d"), bytes(199, b"e")]));
        assert!(!is_accepted(&[bytes(0, b"ab"), len(200), bytes(0, b"d")]), "twice, whatever the length");
        assert!(!is_accepted(&[bytes(99, b"xy")]), "beyond the end");
        assert!(!is_accepted(&[bytes(10, b"xy"), bytes(11, b"x")]), "twice");
        assert!(!is_accepted(&[bytes(10, b"")]), "nothing");
        assert!(!is_accepted(&[len(99)]), "shorter");
    }

    #[test]
    fn a_read_ends_what_was_said_before() {
        let file = UpdatedFile::new(vec![0; 100], 1);
        file.step(bytes(10, b"ab")).unwrap();
        let mut read = [0; 3];
        file.read_exact_at(10, &mut read).unwrap();
        file.step(bytes(11, b"c")).unwrap();
        assert_eq!((read, file.reads(), file.written()), (*b"ab\0", 1, vec![10..12, 11..12]));
        assert_eq!(file.bytes()[10..13], *b"ac\0");
        // Whatever comes first is done first.
        for stop in 0..1000 {
            let stopped = file.stopped(stop);
            assert!([*b"\0\0", *b"ab", *b"ac"].contains(stopped[10..12].first_chunk().unwrap()), "{stop}");
        }
    }

    #[test]
    fn a_disk_other_than_the_one_wanted_is_found() {
        let file = UpdatedFile::new(vec![9; 100], 1);
        file.step(Step::Fill { file: OUTPUT, dst: 10, len: 5, source: DATA }).unwrap();
        let is_right = |extents: &[Extent]| {
            catch_unwind(AssertUnwindSafe(|| file.check(extents, <[u8]>::to_vec, &[0, 1, 2]))).is_ok()
        };
        let extent = |start, len, source| Extent { start, len, source };
        assert!(is_right(&[extent(10, 5, DATA), extent(20, 5, Source::Unallocated)]));
        assert!(!is_right(&[extent(10, 4, DATA)]));
        assert!(!is_right(&[extent(10, 5, DATA), extent(20, 5, Source::Zero)]));
    }
}
