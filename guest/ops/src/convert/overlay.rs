//! What a disk has of its own, for an output that stands on another image.

use core::ops::Range;

use fmt_core::{DiskMap, Error, Extent, Source};

use super::joined::Joined;

/// The extents of the blocks of which the input itself has something, at least in part; all others are left out, for what
/// the output stands on to show.
///
/// A block is covered as a whole or not at all. What the input leaves of one to the images behind it is taken from there.
pub(super) struct Overlay<'d, 'h> {
    disk: &'d mut Joined<'h>,
    /// In bytes.
    block_len: u64,
    /// What is to be covered now.
    covered: Range<u64>,
    failed: bool,
}

impl<'d, 'h> Overlay<'d, 'h> {
    pub(super) const fn new(disk: &'d mut Joined<'h>, block_len: u64) -> Self {
        Self { disk, block_len, covered: 0..0, failed: false }
    }

    fn step(&mut self) -> Result<Option<Extent>, Error> {
        let size = self.disk.virtual_size();
        while self.covered.is_empty() {
            if self.covered.end >= size {
                return Ok(None);
            }
            self.covered = self.look(self.covered.end, size)?;
        }
        let extent = self.disk.extent_at(self.covered.start)?.clip(&self.covered);
        self.covered.start = extent.map_or(self.covered.end, |extent| extent.end());
        Ok(extent)
    }

    /// What is to be covered of the blocks from `at` on, which may be nothing, up to the end of the range.
    fn look(&mut self, at: u64, size: u64) -> Result<Range<u64>, Error> {
        let own = self.disk.own_extent_at(at)?;
        let end = own.end().min(size);
        let block_end = |at: u64| at.checked_next_multiple_of(self.block_len).unwrap_or(size).min(size);
        if own.source != Source::Unallocated {
            return Ok(at..block_end(end));
        }
        let free = if end == size { size } else { end - end % self.block_len };
        Ok(if free > at { free..free } else { at..block_end(at + 1) })
    }
}

impl Iterator for Overlay<'_, '_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}
