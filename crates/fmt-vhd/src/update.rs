//! The steps that write into a VHD disk that is there.

use alloc::vec;
use alloc::vec::Vec;

use fmt_core::edit::check_extent;
use fmt_core::{
    BlockEdit, BlockTable, DiskMap, DiskPlan, EditWindow, Error, ErrorKind, Extent, FileId, Output, ReadAt,
    SECTOR, Source, StepSink,
};

use crate::footer::DiskType;
use crate::header::Header;
use crate::map::{VhdMap, last_footer_at};
use crate::raw::{self, FOOTER_LEN, UNUSED};

/// How much of the block allocation table is kept: what describes 16 GiB of blocks of 2 MiB.
const TABLE_WINDOW: usize = 32 << 10;

/// How much of a bitmap is written at a time, in bytes.
const BITMAP_PIECE: u64 = 4 << 10;

/// A VHD disk that is there and written to: a fixed or a dynamic one.
///
/// In a fixed image the disk's bytes are written where they are. In a dynamic one a block that is not there is added when
/// data touches it: behind the last block, where the footer was, as `qemu-img` does it; what was not written of it is zeros.
/// Blocks that are there are written in place, zeros too, and their bitmaps become all ones, as those of `qemu-img` do. The
/// footer is written again behind the last block. Identity and time stamp stay.
///
/// # When it ends in the middle
///
/// The table speaks of a block only once all of it has been said, and [done](fmt_core::edit). So a dynamic image whose
/// writer was stopped can be opened by its copy of the footer, and each byte of the disk is what it was or what it should
/// have become. But it may have no footer at its end, and blocks there that nothing leads to. Nothing is flushed: after the
/// machine itself has failed, none of this holds.
#[derive(Debug)]
pub struct VhdUpdate<'s, R: ?Sized, S> {
    output: Output<'s, S>,
    size: u64,
    body: Body<'s, R>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is not moved")]
enum Body<'s, R: ?Sized> {
    /// Where the last extent ended.
    Fixed(u64),
    Dynamic(BlockEdit, Blocks<'s, R>),
}

impl<'s, R: ReadAt + ?Sized, S: StepSink> VhdUpdate<'s, R, S> {
    /// Opens the image in `image`, which is the file `file` of `sink`, for writing. No step is taken yet.
    ///
    /// # Errors
    ///
    /// Those of [`VhdMap::open`]; [`ErrorKind::UnsupportedFeature`] for a differencing image.
    pub fn open(image: &'s R, sink: &'s S, file: FileId) -> Result<Self, Error> {
        let map = VhdMap::open(image, file)?;
        let (size, file_len) = (map.virtual_size(), image.file_len());
        if map.footer().disk_type() == DiskType::Differencing {
            let what = "writing into a differencing VHD, whose other sectors are its parent's";
            return Err(Error::new(ErrorKind::UnsupportedFeature, 0, what));
        }
        let (Some(header), Some(blocks_end)) = (map.header(), map.blocks_end()) else {
            let output = Output::resume(sink, file, file_len, file_len);
            return Ok(Self { output, size, body: Body::Fixed(0) });
        };
        // Blocks end before byte 2^42, and there are less than 2^29 more of them, of less than 2^32 bytes.
        let more = u64::from(header.entries()) * header.stride() + FOOTER_LEN;
        let max_len = file_len.max(blocks_end).saturating_add(more);
        let blocks = Blocks::open(image, header.clone(), blocks_end)?;
        let edit = BlockEdit::new(header.block_size(), size);
        let output = Output::resume(sink, file, file_len, max_len);
        Ok(Self { output, size, body: Body::Dynamic(edit, blocks) })
    }

    /// The disk's size in bytes.
    #[must_use]
    pub const fn virtual_size(&self) -> u64 {
        self.size
    }

    /// The length in bytes of the blocks in which the disk is allocated; `None` for a fixed image.
    #[must_use]
    pub fn block_len(&self) -> Option<u64> {
        match &self.body {
            Body::Fixed(_) => None,
            Body::Dynamic(_, blocks) => Some(blocks.header.block_size()),
        }
    }
}

impl<R: ReadAt + ?Sized, S: StepSink> DiskPlan for VhdUpdate<'_, R, S> {
    /// Writes one extent. What is [`Source::Unallocated`] stays as it is.
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { output, size, body } = self;
        match body {
            Body::Fixed(end) => {
                check_extent(extent, *end, *size)?;
                *end = extent.end();
                let stays = extent.source == Source::Unallocated;
                if stays { Ok(()) } else { output.fill(extent.start, extent.len, extent.source) }
            }
            Body::Dynamic(edit, blocks) => edit.extent(output, extent, &mut Table { blocks, output }),
        }
    }

    fn finish(self) -> Result<(), Error> {
        let Body::Dynamic(mut edit, blocks) = self.body else { return Ok(()) };
        edit.finish(&self.output)?;
        blocks.finish(&self.output)
    }
}

/// The blocks of a dynamic image.
#[derive(Debug)]
struct Blocks<'s, R: ?Sized> {
    image: &'s R,
    header: Header,
    table: EditWindow,
    /// The footer as it is.
    footer: [u8; size_of::<raw::Footer>()],
    /// The length of the file, and where its blocks ended, before anything was added.
    file_len: u64,
    old_end: u64,
    /// Where the next block will be, bitmap first.
    next: u64,
    /// The block whose bitmap was written last.
    marked: Option<u64>,
}

impl<'s, R: ReadAt + ?Sized> Blocks<'s, R> {
    fn open(image: &'s R, header: Header, end: u64) -> Result<Self, Error> {
        let mut footer = [0; size_of::<raw::Footer>()];
        image.read_exact_at(0, &mut footer)?;
        let file_len = image.file_len();
        let table = EditWindow::new(TABLE_WINDOW);
        Ok(Self { image, header, table, footer, file_len, old_end: end, next: end, marked: None })
    }

    /// Says that every sector of the block that begins at byte `at` of the file is there.
    fn mark<S: StepSink>(&self, output: &Output<'_, S>, at: u64) -> Result<(), Error> {
        let len = self.header.bitmap_len();
        let ones: Vec<u8> = vec![0xff; usize::try_from(len.min(BITMAP_PIECE)).unwrap_or(usize::MAX)];
        // Both lengths are powers of two, or less than a piece.
        (0..len).step_by(ones.len()).try_for_each(|done| output.write(at + done, &ones))
    }

    /// Writes what is left of the table, and the footer, if it is not where it was.
    fn finish<S: StepSink>(mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.table.finish(self.image, output)?;
        if self.next == self.old_end {
            return Ok(());
        }
        let footer_at = self.next.max(last_footer_at(self.file_len));
        let end = footer_at + FOOTER_LEN;
        output.reserve(end)?;
        output.write(footer_at, &self.footer)?;
        output.finish(end)
    }
}

/// The blocks, and the file that they are in.
struct Table<'b, 's, R: ?Sized, S> {
    blocks: &'b mut Blocks<'s, R>,
    output: &'b Output<'s, S>,
}

impl<R: ReadAt + ?Sized, S: StepSink> BlockTable for Table<'_, '_, R, S> {
    fn find(&mut self, block: u64) -> Result<Option<u64>, Error> {
        let Self { blocks, output } = self;
        let place = blocks.header.entry_at(block);
        let bytes = blocks.table.look(blocks.image, output, place, size_of::<u32>())?;
        let entry = bytes.first_chunk().copied().map_or(UNUSED, u32::from_be_bytes);
        if entry == UNUSED {
            return Ok(None);
        }
        // What is behind the old end has been added since: no entry that is asked for leads there.
        let at = blocks.header.block_at(entry, blocks.old_end);
        let at = at.map_err(|what| Error::new(ErrorKind::Corrupt, place, what))?;
        if blocks.marked.replace(block) != Some(block) {
            blocks.mark(output, at)?;
        }
        Ok(Some(at + blocks.header.bitmap_len()))
    }

    fn add(&mut self, block: u64) -> Result<u64, Error> {
        let Self { blocks, output } = self;
        let (at, place) = (blocks.next, blocks.header.entry_at(block));
        let no_room = Error::new(ErrorKind::TooLarge, place, "a block beyond the block allocation table");
        let entry = u32::try_from(at / SECTOR).ok().filter(|&entry| entry != UNUSED).ok_or(no_room)?;
        blocks.next = at + blocks.header.stride();
        output.reserve(blocks.next)?;
        blocks.mark(output, at)?;
        blocks.table.put(place, &entry.to_be_bytes())?;
        Ok(at + blocks.header.bitmap_len())
    }
}
