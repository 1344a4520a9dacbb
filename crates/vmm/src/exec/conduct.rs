//! How a command is carried out, beside what it does.

use core::num::{NonZeroU64, NonZeroUsize};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{FileId, Input};

/// How a command is carried out. The default is what `dd` does.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// How many threads there are where there is much to do.
    pub workers: NonZeroUsize,
    /// How many bytes are written in a second, at most.
    pub rate: Option<NonZeroU64>,
    /// Given, what of a disk's data cannot be read is taken for zeros, and counted here.
    pub salvaged: Option<Arc<Salvaged>>,
    /// Whether everything is on the medium when the command has ended.
    pub sync: bool,
}

/// File systems let one write at a time to a file, so that the second worker's gain is to read, and to be ready, while the
/// first one writes; there is nothing left for a third.
const WORKERS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

impl Default for Conduct {
    fn default() -> Self {
        Self { workers: WORKERS, rate: None, salvaged: None, sync: true }
    }
}

/// What could not be read.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// As many as there are places where reading failed.
    ranges: Mutex<Ranges>,
    /// Bytes of the disk in compressed units that could not be read, or not be decompressed. Each is asked for once.
    in_units: AtomicU64,
}

/// Ranges of files that touch no other: from a byte on, up to another.
type Ranges = BTreeMap<(FileId, u64), u64>;

/// What is given up at a time where something cannot be read, in bytes.
const SECTOR: usize = 512;

impl Salvaged {
    /// How many bytes were taken for zeros, however often they were to be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let in_ranges: u64 = self.ranges().iter().map(|((_, start), end)| end - start).sum();
        in_ranges + self.in_units.load(Relaxed)
    }

    /// Takes note of `len` bytes that cannot be had from a compressed unit.
    pub(super) fn lost_in_unit(&self, len: u64) {
        self.in_units.fetch_add(len, Relaxed);
    }

    /// Fills `buf` with what can be read of the input `file` from `offset` on, sector by sector.
    pub(super) fn read(&self, file: FileId, input: &Input, buf: &mut [u8], offset: u64) {
        for (part, at) in buf.chunks_mut(SECTOR).zip((offset..).step_by(SECTOR)) {
            if input.read_exact_at(part, at).is_err() {
                part.fill(0);
                add(&mut self.ranges(), file, at, at + part.len() as u64);
            }
        }
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins the bytes of `file` from `start` up to `end` with the ranges that they touch.
fn add(ranges: &mut Ranges, file: FileId, mut start: u64, mut end: u64) {
    let touching = |ranges: &Ranges, start: u64, end: u64| {
        let (key, last) = ranges.range((file, 0)..=(file, end)).next_back()?;
        (*last >= start).then_some((*key, *last))
    };
    while let Some((key, last)) = touching(ranges, start, end) {
        ranges.remove(&key);
        (start, end) = (start.min(key.1), end.max(last));
    }
    ranges.insert((file, start), end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_with_what_they_touch() {
        let mut ranges = Ranges::new();
        let mut after = |file, start, end| {
            add(&mut ranges, FileId(file), start, end);
            ranges.iter().map(|((file, start), end)| (file.0, *start, *end)).collect::<Vec<_>>()
        };
        assert_eq!(after(1, 10, 20), [(1, 10, 20)]);
        assert_eq!(after(1, 10, 20), [(1, 10, 20)]);
        assert_eq!(after(1, 30, 40), [(1, 10, 20), (1, 30, 40)]);
        assert_eq!(after(0, 15, 35), [(0, 15, 35), (1, 10, 20), (1, 30, 40)]);
        assert_eq!(after(1, 40, 50), [(0, 15, 35), (1, 10, 20), (1, 30, 50)]);
        assert_eq!(after(1, 12, 13), [(0, 15, 35), (1, 10, 20), (1, 30, 50)]);
        assert_eq!(after(1, 0, 30), [(0, 15, 35), (1, 0, 50)]);
    }
}
