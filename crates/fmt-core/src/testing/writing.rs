//! Files as the steps of a plan make them, and the disks in them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::{Ref, RefCell};
use core::ops::Range;

use super::{OUTPUT, extent_at};
use crate::{DiskMap, DiskPlan, Error, ErrorKind, Extent, ReadAt, Source, Step, StepSink};

/// What a file holds where nothing was written to it, as a block device does.
const STALE: u8 = 0xa5;

/// A file being written: not its bytes, which may be more than memory has, but where they come from.
#[derive(Debug)]
pub struct Output {
    max_len: u64,
    len: Option<u64>,
    /// By the byte offset of their first byte.
    pieces: BTreeMap<u64, Piece>,
}

/// A part of an output that was written in one step.
#[derive(Debug)]
struct Piece {
    len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Source(Source),
}

/// Where bytes of an output come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'o> {
    /// Nothing was written there.
    Hole,
    /// The writer made them.
    Bytes(&'o [u8]),
    /// They are the disk's.
    Disk(Source),
}

impl Output {
    /// A file that may become `max_len` bytes long.
    #[must_use]
    pub const fn new(max_len: u64) -> Self {
        Self { max_len, len: None, pieces: BTreeMap::new() }
    }

    /// Takes a step, whichever file it names.
    ///
    /// # Panics
    ///
    /// When the step comes before the file has a length, does nothing, reaches beyond the file's end, or writes what has
    /// been written; and when the file becomes too long, or shorter than what has been written.
    pub fn take(&mut self, step: Step<'_>) {
        match step {
            Step::SetLen { len, .. } => self.set_len(len),
            Step::Write { dst, bytes, .. } => {
                self.write(dst, bytes.len() as u64, Content::Bytes(bytes.to_vec()));
            }
            Step::Fill { dst, len, source, .. } => {
                assert_ne!(source, Source::Unallocated, "nothing to fill with");
                self.write(dst, len, Content::Source(source));
            }
        }
    }

    /// The file's length in bytes, or `None` while it was not given one.
    #[must_use]
    pub const fn file_len(&self) -> Option<u64> {
        self.len
    }

    /// How many bytes were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        // Pieces are disjoint and inside the file, so there is no sum that overflows.
        self.pieces.values().map(|piece| piece.len).sum()
    }

    /// The ranges of the file where nothing was written.
    #[must_use]
    pub fn holes(&self) -> Vec<Range<u64>> {
        let ends = [0].into_iter().chain(self.pieces.iter().map(|(at, piece)| at + piece.len));
        let starts = self.pieces.keys().copied().chain([self.len.unwrap_or(0)]);
        ends.zip(starts).map(|(end, start)| end..start).filter(|hole| !hole.is_empty()).collect()
    }

    /// Where byte `at` comes from, and how many bytes from it on come from the same place.
    #[must_use]
    pub fn origin(&self, at: u64) -> (Origin<'_>, u64) {
        if let Some((start, piece)) = self.pieces.range(..=at).next_back()
            && at < start + piece.len
        {
            let skip = at - start;
            let origin = match &piece.content {
                Content::Bytes(bytes) => Origin::Bytes(&bytes[index(skip)..]),
                Content::Source(source) => Origin::Disk(source.after(skip)),
            };
            return (origin, piece.len - skip);
        }
        let next = self.pieces.range(at..).next().map_or(u64::MAX, |(&start, _)| start);
        (Origin::Hole, next - at)
    }

    fn set_len(&mut self, len: u64) {
        assert!(len <= self.max_len, "a length of {len}, where {} is the most", self.max_len);
        let last = self.pieces.last_key_value().map_or(0, |(start, piece)| start + piece.len);
        assert!(last <= len, "a length of {len}, where {last} bytes have been written");
        self.len = Some(len);
    }

    fn write(&mut self, start: u64, len: u64, content: Content) {
        let file_len = self.len.expect("the length comes first");
        let end = start.checked_add(len).filter(|&end| end <= file_len);
        assert!(len > 0, "nothing at {start}");
        let end = end
            .unwrap_or_else(|| panic!("{len} bytes at {start} are not inside the {file_len} of the output"));
        let before = self.pieces.range(..end).next_back();
        assert!(
            before.is_none_or(|(at, before)| at + before.len <= start),
            "{len} bytes at {start} overlap {before:?}"
        );
        self.pieces.insert(start, Piece { len, content });
    }
}

/// The file [`OUTPUT`] as a plan's steps make it, to be written and read.
///
/// What was not written reads as stale bytes, and what the disk holds as bytes that tell nothing: only what the writer
/// itself made has a meaning.
#[derive(Debug)]
pub struct PlannedFile(RefCell<Output>);

impl PlannedFile {
    /// A file that may become `max_len` bytes long.
    #[must_use]
    pub const fn new(max_len: u64) -> Self {
        Self(RefCell::new(Output::new(max_len)))
    }

    /// Writes a disk that consists of `extents` with the plan that was begun on this file.
    ///
    /// # Errors
    ///
    /// Those of the plan.
    pub fn write(plan: Result<impl DiskPlan, Error>, extents: &[Extent]) -> Result<(), Error> {
        let mut plan = plan?;
        extents.iter().try_for_each(|&extent| plan.extent(extent))?;
        plan.finish()
    }

    /// What is in the file.
    #[must_use]
    pub fn output(&self) -> Ref<'_, Output> {
        self.0.borrow()
    }

    /// Holds the disk that `map` reads from this file against the `extents` that were written to it.
    ///
    /// What an extent covers lies in the file as data, zeros too; all else reads as zeros.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    ///
    /// # Panics
    ///
    /// When the disk is not the one that was written, when something was written that was not asked for, and when
    /// [`extent_at`] does.
    pub fn check_disk<M: DiskMap>(&self, map: &mut M, extents: &[Extent]) -> Result<(), Error> {
        let (output, size) = (self.output(), map.virtual_size());
        let mut at = 0;
        while at < size {
            let (wanted, wanted_len) = wanted(extents, at);
            let found = extent_at(map, at, |file| (file == OUTPUT).then(|| self.file_len()))?;
            let (shown, shown_len) = match found.source.after(at - found.start) {
                Source::Data { offset, .. } => output.origin(offset),
                source => (Origin::Disk(source), u64::MAX),
            };
            let is_right = match (wanted, shown) {
                (None, Origin::Hole | Origin::Disk(Source::Zero | Source::Unallocated)) => true,
                (Some(wanted), Origin::Disk(shown)) => {
                    wanted == shown && matches!(found.source, Source::Data { .. })
                }
                _ => false,
            };
            assert!(is_right, "byte {at} is {shown:?} of {found:?}, and should be {wanted:?}");
            at += wanted_len.min(shown_len).min(found.end() - at);
        }
        let of_disk = |source| !matches!(source, Source::Zero | Source::Unallocated);
        let wanted: u64 =
            extents.iter().filter(|extent| of_disk(extent.source)).map(|extent| extent.len).sum();
        assert_eq!(output.taken_from_disk(), wanted, "every byte is written, and once");
        Ok(())
    }
}

impl Output {
    /// How many bytes were written that are the disk's, zeros left out.
    fn taken_from_disk(&self) -> u64 {
        let of_disk = |piece: &&Piece| {
            matches!(piece.content, Content::Source(Source::Data { .. } | Source::Compressed { .. }))
        };
        self.pieces.values().filter(of_disk).map(|piece| piece.len).sum()
    }
}

/// What `extents` have at byte `at`, and how many bytes from it on are alike; `None` for what is not allocated.
fn wanted(extents: &[Extent], at: u64) -> (Option<Source>, u64) {
    let next = extents.partition_point(|extent| extent.end() <= at);
    match extents.get(next) {
        None => (None, u64::MAX),
        Some(extent) if at < extent.start => (None, extent.start - at),
        Some(extent) => {
            let source = extent.source.after(at - extent.start);
            (Some(source).filter(|&source| source != Source::Unallocated), extent.end() - at)
        }
    }
}

impl StepSink for PlannedFile {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let (Step::SetLen { file, .. } | Step::Write { file, .. } | Step::Fill { file, .. }) = step;
        assert_eq!(file, OUTPUT, "{step:?}");
        self.0.borrow_mut().take(step);
        Ok(())
    }
}

impl ReadAt for PlannedFile {
    fn file_len(&self) -> u64 {
        self.output().file_len().unwrap_or(0)
    }

    fn read_exact_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.file_len()) {
            return Err(Error::new(ErrorKind::Io, offset, "read past the end of the file"));
        }
        let (output, mut at) = (self.output(), offset);
        while !buf.is_empty() {
            let (origin, len) = output.origin(at);
            let len = usize::try_from(len).map_or(buf.len(), |len| len.min(buf.len()));
            let (head, rest) = buf.split_at_mut(len);
            match origin {
                Origin::Bytes(bytes) => head.copy_from_slice(&bytes[..len]),
                Origin::Disk(Source::Zero) => head.fill(0),
                Origin::Hole | Origin::Disk(_) => head.fill(STALE),
            }
            at += len as u64;
            buf = rest;
        }
        Ok(())
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
    use crate::FileId;
    use crate::testing::INPUT;

    const LEN: Step<'_> = Step::SetLen { file: OUTPUT, len: 100 };

    fn bytes(dst: u64, bytes: &[u8]) -> Step<'_> {
        Step::Write { file: OUTPUT, dst, bytes }
    }

    fn data(dst: u64, len: u64) -> Step<'static> {
        Step::Fill { file: OUTPUT, dst, len, source: Source::Data { file: INPUT, offset: 1000 + dst } }
    }

    fn written(steps: &[Step<'_>]) -> PlannedFile {
        let file = PlannedFile::new(200);
        steps.iter().for_each(|&step| file.step(step).unwrap());
        file
    }

    fn is_accepted(steps: &[Step<'_>]) -> bool {
        catch_unwind(AssertUnwindSafe(|| written(steps))).is_ok()
    }

    #[test]
    fn steps_that_break_a_promise_are_found() {
        assert!(is_accepted(&[LEN, bytes(98, b"xy"), data(0, 98), Step::SetLen { file: OUTPUT, len: 200 }]));
        assert!(!is_accepted(&[bytes(0, b"x")]), "before the length");
        assert!(!is_accepted(&[LEN, bytes(99, b"xy")]), "beyond the end");
        assert!(!is_accepted(&[LEN, data(99, u64::MAX)]), "overflows");
        assert!(!is_accepted(&[LEN, data(5, 0)]), "nothing");
        assert!(!is_accepted(&[LEN, data(10, 10), bytes(19, b"x")]), "twice, behind");
        assert!(!is_accepted(&[LEN, data(10, 10), data(5, 6)]), "twice, before");
        assert!(!is_accepted(&[LEN, data(10, 10), data(5, 90)]), "twice, around");
        assert!(!is_accepted(&[LEN, data(10, 10), Step::SetLen { file: OUTPUT, len: 19 }]), "cut off");
        assert!(!is_accepted(&[Step::SetLen { file: OUTPUT, len: 201 }]), "too long");
        assert!(!is_accepted(&[Step::SetLen { file: FileId(7), len: 1 }]), "another file");
    }

    #[test]
    fn a_file_reads_as_it_was_written() {
        let file = written(&[LEN, bytes(10, b"table"), data(20, 10)]);
        let mut read = [0; 12];
        file.read_exact_at(9, &mut read).unwrap();
        assert_eq!(read, *b"\xa5table\xa5\xa5\xa5\xa5\xa5\xa5");
        assert!(file.read_exact_at(89, &mut read).is_err());

        let output = file.output();
        assert_eq!((output.written(), output.holes()), (15, std::vec![0..10, 15..20, 30..100]));
        assert_eq!(output.origin(12), (Origin::Bytes(b"ble"), 3));
        assert_eq!(output.origin(25).0, Origin::Disk(Source::Data { file: INPUT, offset: 1025 }));
        assert_eq!(output.origin(15), (Origin::Hole, 5));
    }

    /// A disk of 100 bytes that lie in the file as they are, but for the last ten, which are zeros.
    struct Plain;

    impl DiskMap for Plain {
        fn virtual_size(&self) -> u64 {
            100
        }

        fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
            Ok(match at {
                0..90 => Extent { start: 0, len: 90, source: Source::Data { file: OUTPUT, offset: 0 } },
                _ => Extent { start: 90, len: 10, source: Source::Zero },
            })
        }
    }

    #[test]
    fn a_disk_other_than_the_one_written_is_found() {
        let extent = |start, len, offset| Extent { start, len, source: Source::Data { file: INPUT, offset } };
        let is_shown = |extents: &[Extent]| {
            let file = written(&[LEN, data(10, 20)]);
            catch_unwind(AssertUnwindSafe(|| file.check_disk(&mut Plain, extents).unwrap())).is_ok()
        };
        assert!(is_shown(&[extent(10, 20, 1010)]));
        assert!(is_shown(&[extent(10, 5, 1010), extent(15, 15, 1015)]));
        assert!(!is_shown(&[extent(10, 20, 1011)]), "from elsewhere");
        assert!(!is_shown(&[extent(10, 19, 1010)]), "more than was asked for");
        assert!(!is_shown(&[extent(10, 21, 1010)]), "less than was asked for");
        assert!(!is_shown(&[]), "nothing was asked for");
        let zeros = Extent { start: 95, len: 5, source: Source::Zero };
        assert!(!is_shown(&[extent(10, 20, 1010), zeros]), "zeros that are not in the file");
    }
}
