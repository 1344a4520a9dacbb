//! The operands applied to a disk: the range of bytes that is copied.

use core::ops::Range;

use crate::operand::{BlockCount, BlockSize};

/// A disk is a whole number of sectors of 512 bytes.
const SECTOR: u64 = 512;

/// What `dd` is told to copy, in blocks. By default everything, in blocks of 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// The size of a block: `bs=`.
    pub block_size: BlockSize,
    /// The block of the input to stop before: `count=`. `None` is the end of the disk.
    pub count: Option<BlockCount>,
    /// The block of the input to start with: `skip=`.
    pub skip: BlockCount,
}

impl Blocks {
    /// The window on a disk of `virtual_size` bytes: from `skip` blocks to `count` blocks or the end of the disk,
    /// whichever comes first.
    ///
    /// A product that overflows is beyond the end of every disk: such a `count` limits nothing, such a `skip` leaves
    /// nothing. Disks of 2^63 bytes and more, which qemu-img cannot have, follow the same rule.
    ///
    /// qemu-img counts a raw file in whole sectors, so its `virtual_size` is the file's length rounded up to 512.
    ///
    /// ```
    /// use dd_window::{BlockCount, Blocks};
    ///
    /// let blocks = Blocks { skip: BlockCount::parse(b"5")?, ..Blocks::default() };
    /// assert_eq!(blocks.window(4096).range(), 2560..4096);
    /// assert!(blocks.window(2560).is_empty());
    /// assert!(blocks.window(2048).skip_past_end());
    /// # Ok::<(), dd_window::OperandError>(())
    /// ```
    #[must_use]
    pub fn window(&self, virtual_size: u64) -> Window {
        let end = match self.count.and_then(|count| self.bytes(count)) {
            Some(stop) => stop.min(virtual_size),
            None => virtual_size,
        };
        let start = self.bytes(self.skip);
        let len = start.and_then(|start| end.checked_sub(start));
        match start.zip(len) {
            Some((start, len)) => Window { start, len, skip_past_end: false },
            None => Window { start: end, len: 0, skip_past_end: true },
        }
    }

    /// How many bytes `blocks` are, or `None` if more than any disk has.
    const fn bytes(&self, blocks: BlockCount) -> Option<u64> {
        self.block_size.get().checked_mul(blocks.get())
    }
}

/// The range of a disk's bytes that `dd` copies. It lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    start: u64,
    len: u64,
    skip_past_end: bool,
}

impl Window {
    /// The offset in bytes of the first byte that is copied; that of the end if the window is empty.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The offset in bytes behind the last byte that is copied. At most the disk's size.
    #[must_use]
    pub const fn end(&self) -> u64 {
        // The window lies on the disk, so there is no sum that would saturate.
        self.start.saturating_add(self.len)
    }

    /// How many bytes are copied.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is copied.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The offsets in bytes from [`start`](Self::start) to [`end`](Self::end).
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start()..self.end()
    }

    /// Whether `skip` leads past the end, be that the end of the disk or the block of `count`.
    ///
    /// The window is then empty, and qemu-img warns: "cannot skip to specified offset". To skip right to the end is
    /// no cause for a warning.
    #[must_use]
    pub const fn skip_past_end(&self) -> bool {
        self.skip_past_end
    }

    /// The virtual size in bytes of an output that takes the window: its length rounded up to whole sectors of 512
    /// bytes, the last of which ends in zeros.
    ///
    /// `None` if that does not fit 64 bits, which takes a disk of more than 2^64 - 512 bytes.
    #[must_use]
    pub const fn output_len(&self) -> Option<u64> {
        self.len.checked_next_multiple_of(SECTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Window};
    use crate::operand::{BlockCount, BlockSize};

    const MAX: u64 = BlockCount::MAX.get();

    fn window(block_size: u64, skip: u64, count: Option<u64>, virtual_size: u64) -> Window {
        let blocks = Blocks {
            block_size: BlockSize::new(block_size).unwrap(),
            count: count.map(|count| BlockCount::new(count).unwrap()),
            skip: BlockCount::new(skip).unwrap(),
        };
        blocks.window(virtual_size)
    }

    fn at(start: u64, len: u64) -> Window {
        Window { start, len, skip_past_end: false }
    }

    fn past(end: u64) -> Window {
        Window { start: end, len: 0, skip_past_end: true }
    }

    #[test]
    fn by_default_everything_is_copied() {
        for size in [0, 1, 512, 1000, 1 << 40, u64::MAX] {
            assert_eq!(Blocks::default().window(size), at(0, size));
        }
    }

    #[test]
    fn count_is_where_to_stop_not_how_much() {
        assert_eq!(window(1000, 1, Some(3), 1 << 20), at(1000, 2000));
        assert_eq!(window(1000, 0, Some(0), 1 << 20), at(0, 0));
        assert_eq!(window(1000, 0, Some(5), 4999), at(0, 4999));
    }

    #[test]
    fn to_skip_past_the_end_is_flagged_and_to_it_is_not() {
        assert_eq!(window(512, 2, None, 1024), at(1024, 0));
        assert_eq!(window(512, 3, None, 1024), past(1024));
        assert_eq!(window(1, 1025, None, 1024), past(1024));
        assert_eq!(window(512, 1, None, 0), past(0));
        assert_eq!(window(512, 0, None, 0), at(0, 0));
    }

    #[test]
    fn the_end_may_be_that_of_count() {
        assert_eq!(window(512, 3, Some(3), 4096), at(1536, 0));
        assert_eq!(window(512, 4, Some(3), 4096), past(1536));
        assert_eq!(window(512, 1, Some(0), 4096), past(0));
    }

    #[test]
    fn products_that_overflow_lie_beyond_every_disk() {
        let bs = BlockSize::MAX.get();
        assert_eq!(window(bs, 0, Some(MAX), u64::MAX), at(0, u64::MAX));
        assert_eq!(window(bs, MAX, None, u64::MAX), past(u64::MAX));
        assert_eq!(window(bs, MAX, Some(MAX), 4096), past(4096));
        // 2^64 does not fit, 2^64 - 2 does.
        assert_eq!(window(4, 1 << 62, Some(1 << 62), u64::MAX), past(u64::MAX));
        assert_eq!(window(2, MAX, None, u64::MAX), at(u64::MAX - 1, 1));
    }

    #[test]
    fn the_output_is_whole_sectors() {
        for (len, rounded) in [(0, 0), (1, 512), (512, 512), (513, 1024), (u64::MAX - 511, u64::MAX - 511)] {
            assert_eq!(at(0, len).output_len(), Some(rounded));
        }
        assert_eq!(at(0, u64::MAX - 510).output_len(), None);
        assert_eq!(at(7, (1 << 63) - 1).output_len(), Some(1 << 63));
    }

    #[test]
    fn range_and_emptiness_follow_from_start_and_length() {
        assert_eq!((at(10, 5).range(), at(10, 5).end(), at(10, 5).is_empty()), (10..15, 15, false));
        assert_eq!((past(10).range(), past(10).end(), past(10).is_empty()), (10..10, 10, true));
    }
}
