//! Extents of any size into blocks of one size.

use crate::{Error, ErrorKind, Extent, FileId, Source, Step, StepSink};

/// What becomes of a range of the disk that is known to be zeros: [`Source::Zero`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Zeros {
    /// They are written, and take as much space as data: what `qemu-img dd` does.
    #[default]
    Written,
    /// They become the cheapest thing that reads as zeros, mostly blocks that are not allocated: what
    /// `qemu-img convert` does.
    Absent,
}

/// Writes extents into an output whose disk is made of blocks: clusters, grains.
///
/// A block is allocated when the first extent touches it, however small, and is then written as a whole: what no extent
/// covers of it is filled with zeros. So an input whose own blocks are smaller loses nothing, and nothing is left in the
/// output that was not written.
#[derive(Debug)]
pub struct BlockFill {
    /// The length of a block in bytes.
    block_len: u64,
    zeros: Zeros,
    /// Where the disk ends, if there is no room beyond.
    end: u64,
    open: Option<Block>,
}

/// The block that was touched last.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Its number on the disk.
    index: u64,
    /// The byte offset of its first byte in the file.
    at: u64,
    /// How many of its bytes have been written.
    written: u64,
}

impl BlockFill {
    /// Blocks of `block_len` bytes, which must not be 0. Zeros are written.
    #[must_use]
    pub const fn new(block_len: u64) -> Self {
        assert!(block_len != 0, "a block has a length");
        Self { block_len, zeros: Zeros::Written, end: u64::MAX, open: None }
    }

    /// The same blocks, and what becomes of zeros. With [`Zeros::Absent`] they allocate no block: only those that lie
    /// in one block with other bytes are written.
    #[must_use]
    pub const fn with_zeros(self, zeros: Zeros) -> Self {
        Self { zeros, ..self }
    }

    /// The same blocks, the last of which ends where the disk does, at byte `end`: there is no room for more of it.
    #[must_use]
    pub const fn ending_at(self, end: u64) -> Self {
        Self { end, ..self }
    }

    /// Writes `extent`, which must lie behind all that were written before, to the output `file`.
    ///
    /// `allocate` is asked once for each block, in ascending order, with the block's number on the disk; it answers with
    /// the byte offset in the file.
    ///
    /// # Errors
    ///
    /// Those of `sink` and `allocate`; [`ErrorKind::Corrupt`] for an extent that lies before the last.
    pub fn extent<S: StepSink>(
        &mut self,
        sink: &S,
        file: FileId,
        extent: Extent,
        mut allocate: impl FnMut(u64) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        match (extent.source, self.zeros) {
            // In a block that has other bytes, too, what is passed over is filled with zeros.
            (Source::Unallocated, _) | (Source::Zero, Zeros::Absent) => return Ok(()),
            _ => {}
        }
        let end = extent.end();
        let mut start = extent.start;
        while start < end {
            let (index, within) = (start / self.block_len, start % self.block_len);
            let len = (self.block_len - within).min(end - start);
            let block = self.enter(sink, file, index, &mut allocate)?;
            let gap = within.checked_sub(block.written);
            let gap = gap.ok_or(Error::new(ErrorKind::Corrupt, start, "extents out of order"))?;
            zero(sink, file, block.at + block.written, gap)?;
            let source = extent.source.after(start - extent.start);
            sink.step(Step::Fill { file, dst: block.at + within, len, source })?;
            self.open = Some(Block { written: within + len, ..block });
            start += len;
        }
        Ok(())
    }

    /// Fills what is left of the last block. To be called when there are no more extents.
    ///
    /// # Errors
    ///
    /// Those of `sink`.
    pub fn finish<S: StepSink>(&mut self, sink: &S, file: FileId) -> Result<(), Error> {
        match self.open.take() {
            Some(block) => {
                let len = self.block_len.min(self.end.saturating_sub(block.index * self.block_len));
                zero(sink, file, block.at + block.written, len.saturating_sub(block.written))
            }
            None => Ok(()),
        }
    }

    /// The block `index`, open for writing; the one before is finished if it is another.
    fn enter<S: StepSink>(
        &mut self,
        sink: &S,
        file: FileId,
        index: u64,
        allocate: &mut impl FnMut(u64) -> Result<u64, Error>,
    ) -> Result<Block, Error> {
        if let Some(block) = self.open.filter(|block| block.index == index) {
            return Ok(block);
        }
        self.finish(sink, file)?;
        Ok(Block { index, at: allocate(index)?, written: 0 })
    }
}

fn zero<S: StepSink>(sink: &S, file: FileId, dst: u64, len: u64) -> Result<(), Error> {
    if len == 0 { Ok(()) } else { sink.step(Step::Fill { file, dst, len, source: Source::Zero }) }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "a file of 64 bytes")]
mod tests {
    use alloc::vec::Vec;
    use core::cell::RefCell;

    use super::*;

    const FILE: FileId = FileId(1);

    /// A file of 64 bytes, none of them written yet.
    struct File(RefCell<Vec<Option<u8>>>);

    impl StepSink for File {
        fn step(&self, step: Step<'_>) -> Result<(), Error> {
            let Step::Fill { dst, len, source, .. } = step else { panic!("{step:?}") };
            for at in 0..len {
                let byte = match source {
                    Source::Data { offset, .. } => (offset + at) as u8,
                    _ => 0,
                };
                let place = &mut self.0.borrow_mut()[(dst + at) as usize];
                assert_eq!(*place, None, "written twice");
                *place = Some(byte);
            }
            Ok(())
        }
    }

    /// Blocks of eight bytes, allocated from byte 16 on. An extent's data is its place on the disk, plus 100.
    fn written(extents: &[(u64, u64, bool)]) -> (Vec<Option<u8>>, Vec<u64>) {
        written_with(Zeros::Written, extents)
    }

    fn written_with(zeros: Zeros, extents: &[(u64, u64, bool)]) -> (Vec<Option<u8>>, Vec<u64>) {
        filled(BlockFill::new(8).with_zeros(zeros), extents)
    }

    fn filled(mut fill: BlockFill, extents: &[(u64, u64, bool)]) -> (Vec<Option<u8>>, Vec<u64>) {
        let file = File(RefCell::new(alloc::vec![None; 64]));
        let mut blocks = Vec::new();
        for &(start, len, zero) in extents {
            let data = Source::Data { file: FileId(0), offset: start + 100 };
            let source = if zero { Source::Zero } else { data };
            let allocate = |index| {
                blocks.push(index);
                Ok(8 + 8 * blocks.len() as u64)
            };
            fill.extent(&file, FILE, Extent { start, len, source }, allocate).unwrap();
        }
        fill.finish(&file, FILE).unwrap();
        (file.0.into_inner(), blocks)
    }

    #[test]
    fn small_pieces_share_a_block() {
        let (file, blocks) = written(&[(0, 2, false), (2, 3, false), (5, 3, false)]);
        assert_eq!(blocks, [0]);
        assert_eq!(file[16..24], [100, 101, 102, 103, 104, 105, 106, 107].map(Some));
        assert!(file[24..].iter().chain(&file[..16]).all(Option::is_none));
    }

    #[test]
    fn gaps_in_a_block_are_zeros_and_blocks_between_are_absent() {
        let (file, blocks) = written(&[(1, 2, false), (5, 1, true), (26, 3, false)]);
        assert_eq!(blocks, [0, 3]);
        assert_eq!(file[16..24], [0, 101, 102, 0, 0, 0, 0, 0].map(Some));
        assert_eq!(file[24..32], [0, 0, 126, 127, 128, 0, 0, 0].map(Some));
        assert!(file[32..].iter().all(Option::is_none));
    }

    #[test]
    fn a_large_extent_is_cut_into_blocks() {
        let (file, blocks) = written(&[(6, 12, false)]);
        assert_eq!(blocks, [0, 1, 2]);
        let expected: Vec<_> =
            (0..24).map(|at| Some(if (6..18).contains(&at) { 100 + at } else { 0 })).collect();
        assert_eq!(file[16..40], expected);
    }

    #[test]
    fn absent_zeros_take_no_block_but_fill_those_that_have_data() {
        let extents = [(0, 10, true), (10, 2, false), (12, 10, true), (22, 1, false), (23, 20, true)];
        let (file, blocks) = written_with(Zeros::Absent, &extents);
        assert_eq!(blocks, [1, 2]);
        assert_eq!(file[16..24], [0, 0, 110, 111, 0, 0, 0, 0].map(Some));
        assert_eq!(file[24..32], [0, 0, 0, 0, 0, 0, 122, 0].map(Some));
    }

    #[test]
    fn the_last_block_ends_with_the_disk() {
        let (file, _) = filled(BlockFill::new(8).ending_at(13), &[(2, 1, false), (9, 2, false)]);
        assert_eq!(file[16..24], [0, 0, 102, 0, 0, 0, 0, 0].map(Some));
        assert_eq!(file[24..29], [0, 109, 110, 0, 0].map(Some));
        assert!(file[29..].iter().all(Option::is_none));
    }

    #[test]
    fn what_is_unallocated_takes_no_block() {
        let file = File(RefCell::new(alloc::vec![None; 64]));
        let mut fill = BlockFill::new(8);
        let nothing = Extent { start: 0, len: 64, source: Source::Unallocated };
        fill.extent(&file, FILE, nothing, |_| panic!("a block was allocated")).unwrap();
        fill.finish(&file, FILE).unwrap();
    }

    #[test]
    fn extents_out_of_order_are_refused() {
        let file = File(RefCell::new(alloc::vec![None; 64]));
        let mut fill = BlockFill::new(8);
        let mut extent = |start| {
            fill.extent(&file, FILE, Extent { start, len: 2, source: Source::Zero }, |_| Ok(0))
                .map_err(|e| e.kind)
        };
        assert_eq!(extent(4), Ok(()));
        assert_eq!(extent(3), Err(ErrorKind::Corrupt));
    }
}
