//! The steps that write into a VHDX disk that is there.

use fmt_core::{
    BlockEdit, BlockTable, DiskMap, DiskPlan, EditWindow, Error, ErrorKind, Extent, FileId, Output, ReadAt,
    Source, StepSink,
};

use crate::bat::{BatEntry, BlockState};
use crate::emit;
use crate::map::VhdxMap;
use crate::raw::{Guid, HEADER_LEN, HEADERS_AT, MIB};

/// How much of the BAT is kept, in bytes: what describes 32 GiB of blocks of 8 MiB.
const BAT_WINDOW: usize = 32 << 10;

/// What headers say from the first change on: any unique ones (MS-VHDX section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteGuids {
    /// The identity of the file as of this opening for writing.
    pub file: Guid,
    /// The identity of the disk's content.
    pub data: Guid,
}

/// A VHDX disk that is there and written to: a dynamic or a fixed one.
///
/// Blocks that are there are written in place, zeros too. One that is not there, or is said to be zeros, undefined or
/// unmapped, is added when data touches it: behind the end of the file, at a whole MiB; what was not written of it is zeros.
/// With the first change, and only if there is one, both headers are written with the new GUIDs, one after the other, and the
/// first of them before the change.
///
/// # When it ends in the middle
///
/// The specification has BAT entries go through the log (section 2.3), so that they are changed wholly or not at all. Here they
/// are written where they are, as sectors of 512 bytes, each of them once all blocks that it speaks of have been said and
/// [done](fmt_core::edit). A file whose writer was stopped is one without a log to replay, of which each byte of the disk is
/// what it was or what it should have become; it may have blocks at its end that nothing leads to. Nothing is
/// flushed: after the machine itself has failed, none of this holds, where a log would have saved the BAT.
#[derive(Debug)]
pub struct VhdxUpdate<'s, R: ?Sized, S> {
    output: Output<'s, S>,
    edit: BlockEdit,
    blocks: Blocks<'s, R>,
}

impl<'s, R: ReadAt + ?Sized, S: StepSink> VhdxUpdate<'s, R, S> {
    /// Opens the image in `image`, which is the file `file` of `sink`, for writing. No step is taken yet.
    ///
    /// # Errors
    ///
    /// Those of [`VhdxMap::open`]; [`ErrorKind::UnsupportedFeature`] for a differencing file, and for one whose log has to be
    /// replayed; [`ErrorKind::Corrupt`] for regions that do not lie in the file, and for headers that cannot be followed by
    /// another.
    pub fn open(image: &'s R, sink: &'s S, file: FileId, guids: WriteGuids) -> Result<Self, Error> {
        let map = VhdxMap::open(image, file)?;
        let at = map.header().at;
        let unsupported = |what| Err(Error::new(ErrorKind::UnsupportedFeature, at, what));
        if map.is_dirty() {
            return unsupported(
                "writing into a VHDX whose log has to be replayed: `qemu-img check -r all` does that",
            );
        }
        if map.parent().is_some() {
            return unsupported("writing into a differencing VHDX, whose other sectors are its parent's");
        }
        if map.regions().end() > image.file_len() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                at,
                "the log or a region lies beyond the end of the file",
            ));
        }
        if map.header().sequence_number > u64::MAX - 2 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                at,
                "the header has a sequence number that none can follow",
            ));
        }
        let edit = BlockEdit::new(map.layout().block_size, map.virtual_size());
        let blocks = Blocks::open(image, map, guids)?;
        let output = Output::resume(sink, file, blocks.file_len, blocks.max_len());
        Ok(Self { output, edit, blocks })
    }

    /// The disk's size in bytes.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.blocks.map.virtual_size()
    }

    /// The length in bytes of the blocks in which the disk is allocated; `None` for a fixed file.
    #[must_use]
    pub const fn block_len(&self) -> Option<u64> {
        let map = &self.blocks.map;
        if map.metadata().leave_blocks_allocated { None } else { Some(map.layout().block_size) }
    }
}

impl<R: ReadAt + ?Sized, S: StepSink> DiskPlan for VhdxUpdate<'_, R, S> {
    /// Writes one extent. What is [`Source::Unallocated`] stays as it is.
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { output, edit, blocks } = self;
        edit.extent(output, extent, &mut Table { blocks, output })
    }

    fn finish(mut self) -> Result<(), Error> {
        let Self { output, edit, blocks } = &mut self;
        edit.finish(output)?;
        blocks.bat.finish(blocks.image, output)?;
        if blocks.next == blocks.first { Ok(()) } else { output.finish(blocks.next) }
    }
}

/// The blocks of the disk.
#[derive(Debug)]
struct Blocks<'s, R: ?Sized> {
    image: &'s R,
    map: VhdxMap<&'s R>,
    bat: EditWindow,
    /// What is still to be said in headers.
    guids: Option<WriteGuids>,
    /// The length of the file before anything was added.
    file_len: u64,
    /// Where the first block that is added lies, and where the next will be.
    first: u64,
    next: u64,
}

impl<'s, R: ReadAt + ?Sized> Blocks<'s, R> {
    fn open(image: &'s R, mut map: VhdxMap<&'s R>, guids: WriteGuids) -> Result<Self, Error> {
        let file_len = image.file_len();
        let no_room = Error::new(ErrorKind::TooLarge, file_len, "a file that is longer than any can be");
        let end = file_len.max(last_block_end(&mut map)?);
        let first = end.checked_next_multiple_of(MIB).ok_or(no_room)?;
        let bat = EditWindow::new(BAT_WINDOW);
        Ok(Self { image, map, bat, guids: Some(guids), file_len, first, next: first })
    }

    /// The length of the file if no block is there yet, which is the most that it can need.
    const fn max_len(&self) -> u64 {
        let layout = self.map.layout();
        self.first.saturating_add(layout.blocks.saturating_mul(layout.block_size))
    }

    /// Writes headers with the new GUIDs, unless it has been done. The current one stays until the other has been written, so
    /// that one is always whole.
    fn begin<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        let Some(guids) = self.guids.take() else { return Ok(()) };
        let current = self.map.header();
        let [first, second] = HEADERS_AT;
        let other = if current.at == first { second } else { first };
        let header = |number| emit::header(current.log, guids, current.sequence_number + number);
        emit::padded(output, other, &header(1), HEADER_LEN)?;
        // Reading ends what was said before.
        self.image.read_exact_at(other, &mut [0])?;
        emit::padded(output, current.at, &header(2), HEADER_LEN)
    }
}

/// Where the disk's last block ends, or 0 if it is not in the file: what it has behind the disk's end, the file may lack.
fn last_block_end<R: ReadAt>(map: &mut VhdxMap<R>) -> Result<u64, Error> {
    let Some(last) = map.virtual_size().checked_sub(1) else { return Ok(0) };
    let block_size = map.layout().block_size;
    Ok(match map.extent_at(last)?.source {
        // The extent begins with the byte that was asked for, and the block ends less than its length behind it.
        Source::Data { offset, .. } => offset.saturating_add(block_size - last % block_size),
        _ => 0,
    })
}

/// The blocks, and the file that they are in.
struct Table<'b, 's, R: ?Sized, S> {
    blocks: &'b mut Blocks<'s, R>,
    output: &'b Output<'s, S>,
}

impl<R: ReadAt + ?Sized, S: StepSink> Table<'_, '_, R, S> {
    /// The byte offset of the entry of block `block` in the file.
    const fn entry_at(&self, block: u64) -> u64 {
        let map = &self.blocks.map;
        map.entry_at(map.layout().payload_index(block))
    }
}

impl<R: ReadAt + ?Sized, S: StepSink> BlockTable for Table<'_, '_, R, S> {
    fn find(&mut self, block: u64) -> Result<Option<u64>, Error> {
        let place = self.entry_at(block);
        let corrupt = |what| Error::new(ErrorKind::Corrupt, place, what);
        let Self { blocks, output } = self;
        let bytes = blocks.bat.look(blocks.image, output, place, size_of::<BatEntry>())?;
        let entry = bytes.first_chunk().copied().map(u64::from_le_bytes).map(BatEntry);
        match entry.and_then(|entry| Some((entry, entry.state()?))) {
            None => Err(corrupt("a BAT entry has a state that does not exist")),
            Some((_, BlockState::PartiallyPresent)) => {
                Err(corrupt("a block is partially present in a file without a parent"))
            }
            Some((entry, BlockState::FullyPresent)) => {
                // What is behind the old end has been added since: no entry that is asked for leads there.
                let at = blocks.map.payload_at(block, entry, blocks.file_len).map_err(corrupt)?;
                blocks.begin(output)?;
                Ok(Some(at))
            }
            Some(_) => Ok(None),
        }
    }

    fn add(&mut self, block: u64) -> Result<u64, Error> {
        let place = self.entry_at(block);
        let Self { blocks, output } = self;
        blocks.begin(output)?;
        let (at, block_size) = (blocks.next, blocks.map.layout().block_size);
        let no_room = Error::new(ErrorKind::TooLarge, place, "a block behind the end of any file");
        blocks.next = at.checked_add(block_size).ok_or(no_room)?;
        output.reserve(blocks.next)?;
        blocks.bat.put(place, &BatEntry::fully_present(at).0.to_le_bytes())?;
        Ok(at)
    }
}
