//! Writing into an image that is there.
//!
//! What a writer of a new file says may be done in any order. Here tables are read and changed too, and the order matters:
//! **a read sees every step before it, and so it also ends what was said before it**. Between two reads steps
//! touch disjoint ranges. [`EditWindow`] relies on it to write a table behind what the table speaks of.

use core::fmt;

use crate::{BlockFill, Error, ErrorKind, Extent, Output, ReadAt, Source, StepSink, Window, Zeros};

/// How many pieces a window has, which are written if anything in them was changed.
const PIECES: usize = u64::BITS as usize;

/// A table of any size that is changed in place, through a piece of bounded size.
///
/// Changes are written when the window moves, and at the end: behind a read, so that what a table's new entries lead to is in
/// the file before the entries are. Of the window, a 64th is the least that is written: nothing else may be in one piece
/// with entries that are changed.
pub struct EditWindow {
    here: Window,
    /// Where the next window is read while this one still waits to be written.
    next: Window,
    size: usize,
    /// A bit for each piece that was changed, from the lowest.
    changed: u64,
}

impl EditWindow {
    /// A window of `size` bytes, which must be a power of two of at least 64.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        assert!(size >= PIECES, "a window has so many pieces");
        Self { here: Window::new(size), next: Window::new(size), size, changed: 0 }
    }

    /// The bytes of `image` from byte `at` to the end of the window around it, as they were changed: at least `len` of them.
    /// `at` and `len` are as for [`Window::look`].
    ///
    /// # Errors
    ///
    /// As [`Window::look`], and those of the sink.
    pub fn look<R: ReadAt + ?Sized, S: StepSink>(
        &mut self,
        image: &R,
        output: &Output<'_, S>,
        at: u64,
        len: usize,
    ) -> Result<&[u8], Error> {
        if !self.here.shows(at) {
            self.next.load(image, at)?;
            self.write(output)?;
            core::mem::swap(&mut self.here, &mut self.next);
        }
        self.here.look(image, at, len)
    }

    /// Changes the bytes at byte `at` of the file, which must lie in the window that was looked through last.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] when they do not.
    pub fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let piece_len = self.size / PIECES;
        let (start, shown) = self.here.shown();
        let from = at.checked_sub(start).and_then(|from| usize::try_from(from).ok()).unwrap_or(usize::MAX);
        let outside = Error::new(ErrorKind::Corrupt, at, "a table's entry lies where the table is not");
        let place = shown.get_mut(from..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(outside)?;
        place.copy_from_slice(bytes);
        let end = from + bytes.len();
        // The window has no more pieces than a number has bits.
        (from / piece_len..end.div_ceil(piece_len)).for_each(|piece| self.changed |= 1 << piece);
        Ok(())
    }

    /// Writes what was changed, once everything that was said before has been done.
    ///
    /// # Errors
    ///
    /// Those of reading and of the sink.
    pub fn finish<R: ReadAt + ?Sized, S: StepSink>(
        &mut self,
        image: &R,
        output: &Output<'_, S>,
    ) -> Result<(), Error> {
        if self.changed != 0 {
            let (start, _) = self.here.shown();
            image.read_exact_at(start, &mut [0])?;
        }
        self.write(output)
    }

    /// Writes the changed pieces, neighbours in one step.
    fn write<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        let piece_len = self.size / PIECES;
        let (start, bytes) = self.here.shown();
        let mut left = core::mem::take(&mut self.changed);
        while left != 0 {
            let first = left.trailing_zeros();
            let pieces = (left >> first).trailing_ones();
            left &= u64::MAX.checked_shl(first + pieces).unwrap_or(0);
            let from = first as usize * piece_len;
            let end = bytes.len().min(from + pieces as usize * piece_len);
            output.write(start + from as u64, bytes.get(from..end).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for EditWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EditWindow({:?}, {} pieces changed)", self.here, self.changed.count_ones())
    }
}

/// What the tables of an image say of the blocks of its disk, and how that is changed. All of it is asked in ascending order
/// of blocks.
pub trait BlockTable {
    /// The byte offset in the file where block `block` lies, which is then written to; or `None` where it is not in the
    /// file, and reads as zeros. What is written of a block that ends with the disk lies in the file, and all of any other.
    ///
    /// # Errors
    ///
    /// Those of reading the tables, and of what is found there.
    fn find(&mut self, block: u64) -> Result<Option<u64>, Error>;

    /// Gives block `block`, which was [not found](Self::find), a place in the file, all of which is then written; answers
    /// with the byte offset.
    ///
    /// # Errors
    ///
    /// Those of reading and changing the tables; [`ErrorKind::TooLarge`] where there is no place.
    fn add(&mut self, block: u64) -> Result<u64, Error>;

    /// Says in the tables that block `block` is zeros. Answers whether they say so now: most formats cannot.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    fn erase(&mut self, block: u64) -> Result<bool, Error> {
        let _ = block;
        Ok(false)
    }
}

/// Writes extents into an image whose disk is made of blocks, some of which are there.
///
/// Of a block that is there, what an extent covers is written. One that is not there, and reads as zeros, is added when data
/// touches it, and then written as a whole.
#[derive(Debug)]
pub struct BlockEdit {
    block_len: u64,
    /// The disk's size in bytes.
    size: u64,
    /// Where the last extent ended.
    end: u64,
    fill: BlockFill,
    /// The block that was added last, while it is the one that is written.
    added: Option<u64>,
}

impl BlockEdit {
    /// A disk of `size` bytes in blocks of `block_len`, which must not be 0.
    #[must_use]
    pub const fn new(block_len: u64, size: u64) -> Self {
        let fill = BlockFill::new(block_len).with_zeros(Zeros::Absent);
        Self { block_len, size, end: 0, fill, added: None }
    }

    /// Writes `extent` to `output`; `table` knows where blocks are.
    ///
    /// # Errors
    ///
    /// Those of the sink and of `table`; [`ErrorKind::Corrupt`] for an extent that lies before the last, or not on the
    /// disk.
    pub fn extent<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        extent: Extent,
        table: &mut impl BlockTable,
    ) -> Result<(), Error> {
        check_extent(extent, self.end, self.size)?;
        self.end = extent.end();
        let mut start = extent.start;
        while extent.source != Source::Unallocated && start < self.end {
            let block = start / self.block_len;
            let end = (block + 1).saturating_mul(self.block_len).min(self.end);
            let source = extent.source.after(start - extent.start);
            self.piece(output, block, Extent { start, len: end - start, source }, table)?;
            start = end;
        }
        Ok(())
    }

    /// Writes what is left of the last block. To be called when there are no more extents, before the tables are written.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.added = None;
        self.fill.finish(output.sink, output.file)
    }

    /// Writes `piece`, which lies in block `block`.
    fn piece<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        block: u64,
        piece: Extent,
        table: &mut impl BlockTable,
    ) -> Result<(), Error> {
        let Extent { start, len, source } = piece;
        if self.added != Some(block) {
            // Before the tables are asked: they may be written then, and what they say has to be in the file.
            self.finish(output)?;
            if source == Source::Zero && self.is_whole(piece) && table.erase(block)? {
                return Ok(());
            }
            if let Some(at) = table.find(block)? {
                return output.fill(at.saturating_add(start % self.block_len), len, source);
            }
            if source == Source::Zero {
                return Ok(());
            }
            self.added = Some(block);
        }
        self.fill.extent(output.sink, output.file, piece, |block| table.add(block))
    }

    /// Whether `piece` is all that the disk has of a block.
    const fn is_whole(&self, piece: Extent) -> bool {
        piece.start.is_multiple_of(self.block_len)
            && (piece.len == self.block_len || piece.end() == self.size)
    }
}

/// Checks that `extent` does not begin before byte `end`, where the last one ended, and lies on a disk of `size` bytes.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`].
pub const fn check_extent(extent: Extent, end: u64, size: u64) -> Result<(), Error> {
    if extent.start < end {
        return Err(Error::new(ErrorKind::Corrupt, extent.start, "extents out of order"));
    }
    if extent.end() > size {
        return Err(Error::new(ErrorKind::Corrupt, extent.start, "an extent beyond the end of the disk"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::Step;
    use crate::testing::{INPUT, OUTPUT, UpdatedFile};

    const DATA: Source = Source::Data { file: INPUT, offset: 0 };

    fn output(file: &UpdatedFile) -> Output<'_, UpdatedFile> {
        Output::resume(file, OUTPUT, file.file_len(), u64::MAX)
    }

    #[test]
    fn only_what_was_changed_is_written() {
        let file = UpdatedFile::new(vec![0; 300], 1);
        let (output, mut window) = (output(&file), EditWindow::new(128));
        assert_eq!(window.look(&file, &output, 130, 2).unwrap().len(), 126);
        for at in [130, 131, 134, 254] {
            window.put(at, b"x").unwrap();
        }
        assert_eq!(window.look(&file, &output, 130, 2).unwrap()[..2], *b"xx");
        for at in [127, 256, u64::MAX] {
            assert_eq!(window.put(at, b"x").unwrap_err().kind, ErrorKind::Corrupt);
        }
        assert_eq!(file.written(), []);
        window.finish(&file, &output).unwrap();
        assert_eq!(file.written(), [130..132, 134..136, 254..256]);
        window.finish(&file, &output).unwrap();
        assert_eq!(file.written().len(), 3);
    }

    #[test]
    fn all_of_a_window_is_written_as_one() {
        let file = UpdatedFile::new(vec![0; 100], 1);
        let (output, mut window) = (output(&file), EditWindow::new(64));
        window.look(&file, &output, 0, 1).unwrap();
        window.put(0, &[1; 64]).unwrap();
        // The last window ends with the file.
        window.look(&file, &output, 64, 1).unwrap();
        window.put(99, b"x").unwrap();
        assert_eq!(window.put(99, b"xy").unwrap_err().kind, ErrorKind::Corrupt);
        window.finish(&file, &output).unwrap();
        assert_eq!(file.written(), [0..64, 99..100]);
    }

    /// Were the file stopped before the read of the second window, nothing would lead to what the first speaks of.
    #[test]
    fn a_window_is_written_behind_a_read() {
        let file = UpdatedFile::new(vec![0; 256], 1);
        let (output, mut window) = (output(&file), EditWindow::new(64));
        for at in [0, 64] {
            window.look(&file, &output, at, 1).unwrap();
            window.put(at, b"e").unwrap();
            file.step(Step::Write { file: OUTPUT, dst: 128 + at, bytes: b"data" }).unwrap();
        }
        window.finish(&file, &output).unwrap();
        assert_eq!(file.reads(), 3);
        for stop in 0..1000 {
            let stopped = file.stopped(stop);
            for at in [0, 64] {
                assert!(stopped[at] == 0 || stopped[128 + at..].starts_with(b"data"), "{stop}");
            }
        }
    }

    /// Blocks of ten bytes, of which some are there.
    struct Places(Vec<Option<u64>>, Vec<u64>);

    impl BlockTable for Places {
        fn find(&mut self, block: u64) -> Result<Option<u64>, Error> {
            Ok(self.0[usize::try_from(block).unwrap()])
        }

        fn add(&mut self, block: u64) -> Result<u64, Error> {
            self.1.push(block);
            Ok(100 + block * 10)
        }

        fn erase(&mut self, block: u64) -> Result<bool, Error> {
            Ok(block == 3)
        }
    }

    fn extent(start: u64, len: u64, source: Source) -> Extent {
        Extent { start, len, source }
    }

    #[test]
    fn blocks_are_added_for_data_only() {
        let file = UpdatedFile::new(vec![7; 200], 1);
        let mut places = Places(vec![None, Some(0), None, Some(10), Some(20)], Vec::new());
        let mut edit = BlockEdit::new(10, 45);
        let output = output(&file);
        let extents = [
            extent(0, 5, Source::Zero),
            extent(6, 1, DATA),
            extent(8, 3, Source::Zero),
            extent(12, 1, DATA),
            extent(13, 7, Source::Unallocated),
            extent(20, 10, Source::Zero),
            extent(30, 15, Source::Zero),
        ];
        for extent in extents {
            edit.extent(&output, extent, &mut places).unwrap();
        }
        edit.finish(&output).unwrap();
        assert_eq!(places.1, [0]);
        assert_eq!(file.written(), [100..106, 106..107, 107..110, 0..1, 2..3, 20..25]);
    }

    #[test]
    fn extents_out_of_order_and_off_the_disk_are_refused() {
        let file = UpdatedFile::new(vec![7; 200], 1);
        let (output, mut places) = (output(&file), Places(vec![Some(0); 5], Vec::new()));
        let mut edit = BlockEdit::new(10, 45);
        edit.extent(&output, extent(10, 10, DATA), &mut places).unwrap();
        for wrong in [extent(19, 1, DATA), extent(40, 6, Source::Zero), extent(20, u64::MAX, DATA)] {
            assert_eq!(edit.extent(&output, wrong, &mut places).unwrap_err().kind, ErrorKind::Corrupt);
        }
    }
}
