//! The length of an output, which is not known before it is written.

use core::ops::RangeInclusive;

use crate::{Error, FileId, Step, StepSink};

/// How much longer a file becomes at least when it is too short, in bytes: an eighth, within these bounds, as long as it
/// can be so long.
const STEP: RangeInclusive<u64> = (4 << 20)..=(64 << 30);

/// The length of an output as it is written.
///
/// Where zeros are [written](crate::Zeros::Written), a file begins with the most that it can need. Where they are
/// [absent](crate::Zeros::Absent), that may be far more than it will need, and more than any file system allows: it begins
/// with what it has for certain, and grows.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    file: FileId,
    /// Its length so far in bytes.
    len: u64,
    /// The length that it will not need to exceed.
    max: u64,
}

impl Growth {
    /// Gives the output `file` its first length, `len` bytes. It can need `max`.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn begin<S: StepSink>(sink: &S, file: FileId, len: u64, max: u64) -> Result<Self, Error> {
        sink.step(Step::SetLen { file, len })?;
        Ok(Self { file, len, max })
    }

    /// Goes on with the file `file`, which is there and has `len` bytes, without a step. It can need `max`.
    #[must_use]
    pub const fn resume(file: FileId, len: u64, max: u64) -> Self {
        Self { file, len, max }
    }

    /// Makes the file long enough to have a byte before byte `end`.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn reserve<S: StepSink>(&mut self, sink: &S, end: u64) -> Result<(), Error> {
        if end <= self.len {
            return Ok(());
        }
        let more = (self.len / 8).clamp(*STEP.start(), *STEP.end());
        let max = self.max.min(sink.max_len(self.file));
        self.set(sink, self.len.saturating_add(more).min(max).max(end))
    }

    /// Ends with a file of `len` bytes.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn finish<S: StepSink>(mut self, sink: &S, len: u64) -> Result<(), Error> {
        self.set(sink, len)
    }

    fn set<S: StepSink>(&mut self, sink: &S, len: u64) -> Result<(), Error> {
        if len == self.len {
            return Ok(());
        }
        self.len = len;
        sink.step(Step::SetLen { file: self.file, len })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::cell::RefCell;

    use super::*;

    const FILE: FileId = FileId(1);

    /// The lengths that were asked for, and the one that the file cannot exceed.
    struct Lengths(RefCell<Vec<u64>>, u64);

    impl StepSink for Lengths {
        fn step(&self, step: Step<'_>) -> Result<(), Error> {
            let Step::SetLen { len, .. } = step else { panic!("{step:?}") };
            self.0.borrow_mut().push(len);
            Ok(())
        }

        fn max_len(&self, file: FileId) -> u64 {
            assert_eq!(file, FILE);
            self.1
        }
    }

    fn lengths(first: u64, max: u64, ends: &[u64], last: u64) -> Vec<u64> {
        lengths_within(u64::MAX, first, max, ends, last)
    }

    fn lengths_within(room: u64, first: u64, max: u64, ends: &[u64], last: u64) -> Vec<u64> {
        let lengths = Lengths(RefCell::default(), room);
        let mut growth = Growth::begin(&lengths, FILE, first, max).unwrap();
        ends.iter().for_each(|&end| growth.reserve(&lengths, end).unwrap());
        growth.finish(&lengths, last).unwrap();
        lengths.0.into_inner()
    }

    #[test]
    fn a_dense_file_is_sized_once() {
        assert_eq!(lengths(1000, 1000, &[20, 1000], 1000), [1000]);
        assert_eq!(lengths(1000, 1000, &[20], 900), [1000, 900]);
    }

    #[test]
    fn a_sparse_file_grows_in_few_steps() {
        const GIB: u64 = 1 << 30;
        let ends: Vec<_> = (0..GIB).step_by(65536).collect();
        let found = lengths(10, 1 << 60, &ends, GIB);
        assert!(found.len() < 60, "{}", found.len());
        assert_eq!((found[0], found.last()), (10, Some(&GIB)));
        assert!(found.iter().rev().skip(1).is_sorted_by(|longer, shorter| longer > shorter));
    }

    #[test]
    fn a_file_that_is_there_has_its_length() {
        let lengths = Lengths(RefCell::default(), u64::MAX);
        let mut growth = Growth::resume(FILE, 1000, 1 << 30);
        growth.reserve(&lengths, 1000).unwrap();
        growth.reserve(&lengths, 1001).unwrap();
        growth.finish(&lengths, 1024).unwrap();
        assert_eq!(lengths.0.into_inner(), [1000 + STEP.start(), 1024]);
    }

    #[test]
    fn no_file_grows_beyond_what_it_can_need() {
        assert_eq!(lengths(10, 50, &[20, 50], 50), [10, 50]);
    }

    #[test]
    fn no_more_is_asked_for_than_there_is_room_for_unless_it_is_needed() {
        assert_eq!(lengths_within(100, 10, 1 << 60, &[20, 60, 100], 100), [10, 100]);
        assert_eq!(lengths_within(100, 10, 1 << 60, &[20, 101], 101), [10, 100, 101]);
        assert_eq!(lengths_within(5, 10, 1 << 60, &[20], 20), [10, 20]);
    }
}
