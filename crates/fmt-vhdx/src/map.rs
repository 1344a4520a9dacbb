//! Where a VHDX disk's bytes are.

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, ReadAt, Source, Window};

use crate::bat::{BITMAP_LEN, BatEntry, BatLayout, BlockState, ENTRY_LEN, SECTORS_PER_BITMAP};
use crate::bitmap;
use crate::header::Header;
use crate::metadata::Metadata;
use crate::parent::ParentLocator;
use crate::region::Regions;
use crate::replay::{Place, Replayed};

/// How much of the BAT is kept at a time, in bytes.
const BAT_WINDOW: usize = 64 << 10;

/// How much of the sector bitmaps is kept at a time, in bytes.
const BITMAP_WINDOW: usize = 4 << 10;

const BEYOND_THE_FILE: &str = "a payload block lies beyond the end of the file";

/// A VHDX disk, dynamic, fixed or differencing, with its log carried out.
///
/// What a differencing file leaves to its parent, and what a dynamic file does not have, is [`Source::Unallocated`].
/// Headers and metadata are checked when the file is opened, entries of the BAT when they are asked for.
#[derive(Debug)]
pub struct VhdxMap<S> {
    source: Replayed<S>,
    file: FileId,
    header: Header,
    regions: Regions,
    metadata: Metadata,
    parent: Option<ParentLocator>,
    layout: BatLayout,
    bat: Window,
    bitmap: Window,
}

/// Payload blocks in a row whose entries say the same.
#[derive(Clone, Copy, Debug)]
struct Run {
    entry: BatEntry,
    state: BlockState,
    /// How many there are. More than one only where nothing of them is in the file.
    blocks: u64,
}

impl<S: ReadAt> VhdxMap<S> {
    /// The disk that `source` holds, which its extents call `file`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotThisFormat`] for what is not a VHDX file; otherwise those of [`Header::read`], [`Replayed::open`],
    /// [`Regions::read`], [`Metadata::read`] and [`ParentLocator::read`], and [`ErrorKind::Corrupt`] for a BAT that
    /// is too small or lies beyond the end of the file.
    pub fn open(source: S, file: FileId) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        let source = Replayed::open(source, &header)?;
        let regions = Regions::read(&source, header.log)?;
        let metadata = Metadata::read(&source, regions.metadata)?;
        let parent = metadata.parent_locator.map(|item| ParentLocator::read(&source, item)).transpose()?;
        let layout = BatLayout::new(metadata.virtual_size, metadata.block_size, metadata.logical_sector_size);

        let bat = regions.bat;
        if layout.entries(parent.is_some()).saturating_mul(ENTRY_LEN) > bat.len {
            return Err(Error::new(ErrorKind::Corrupt, bat.at, "the BAT is too small for the disk"));
        }
        if bat.end().is_none_or(|end| end > source.file_len()) {
            return Err(Error::new(ErrorKind::Corrupt, bat.at, "the BAT lies beyond the end of the file"));
        }
        let (bat, bitmap) = (Window::new(BAT_WINDOW), Window::new(BITMAP_WINDOW));
        Ok(Self { source, file, header, regions, metadata, parent, layout, bat, bitmap })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The names of the parent, for a differencing file. A parent fits only if its
    /// [`data_write_guid`](Header::data_write_guid) is the one that is named there.
    #[must_use]
    pub const fn parent(&self) -> Option<&ParentLocator> {
        self.parent.as_ref()
    }

    /// Whether the file's log changes what the file holds: it was not closed properly.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.source.is_changed()
    }

    /// How the BAT counts.
    pub(crate) const fn layout(&self) -> &BatLayout {
        &self.layout
    }

    /// Where things are that no block may touch.
    pub(crate) const fn regions(&self) -> &Regions {
        &self.regions
    }

    /// The byte offset of BAT entry `index` in the file. The index is one of the disk's, so its entry is in the region.
    pub(crate) const fn entry_at(&self, index: u64) -> u64 {
        self.regions.bat.at + index * ENTRY_LEN
    }

    /// Payload block `block`, and those behind it that are the same, as far as the window reaches.
    fn run(&mut self, block: u64) -> Result<Run, Error> {
        let layout = self.layout;
        let index = layout.payload_index(block);
        let at = self.entry_at(index);
        let bytes = self.bat.look(&self.source, at, size_of::<BatEntry>())?;
        let (entries, _) = bytes.as_chunks();
        let numbered =
            (index..layout.entries(false)).zip(entries).filter(|&(index, _)| !layout.is_bitmap(index));
        let mut payload = numbered.map(|(_, &bytes)| BatEntry(u64::from_le_bytes(bytes)));

        let wrong = Error::new(ErrorKind::Corrupt, at, "a BAT entry has a state that does not exist");
        let entry = payload.next().ok_or(wrong)?;
        let state = entry.state().ok_or(wrong)?;
        let blocks = match state {
            BlockState::FullyPresent | BlockState::PartiallyPresent => 1,
            _ => 1 + payload.take_while(|entry| entry.state() == Some(state)).fold(0, |count, _| count + 1),
        };
        Ok(Run { entry, state, blocks })
    }

    /// The byte offset in the file of payload block `block`, whose entry is `entry`; or why it cannot be there, in a file of
    /// `file_len` bytes.
    pub(crate) fn payload_at(&self, block: u64, entry: BatEntry, file_len: u64) -> Result<u64, &'static str> {
        let (start, offset) = (block * self.layout.block_size, entry.offset());
        if self.regions.touches(offset, self.layout.block_size) {
            return Err("a payload block overlaps headers, the log or a region");
        }
        // The last block of the disk may be cut off where the disk ends.
        let used = self.layout.block_size.min(self.metadata.virtual_size - start);
        if offset.checked_add(used).is_none_or(|end| end > file_len) {
            return Err(BEYOND_THE_FILE);
        }
        Ok(offset)
    }

    /// The extent of payload block `block`, all of which is in the file, from byte `at` of the disk to byte `end`.
    fn payload(&mut self, block: u64, entry: BatEntry, at: u64, end: u64) -> Result<Extent, Error> {
        let corrupt =
            |what| Error::new(ErrorKind::Corrupt, self.entry_at(self.layout.payload_index(block)), what);
        let offset = self.payload_at(block, entry, self.source.file_len()).map_err(corrupt)?;
        let piece = self.source.piece(offset + (at - block * self.layout.block_size));
        let piece = piece.ok_or_else(|| corrupt(BEYOND_THE_FILE))?;
        let source = match piece.place {
            Place::File(offset) => Source::Data { file: self.file, offset },
            Place::Zeros => Source::Zero,
        };
        Ok(Extent { start: at, len: piece.len.min(end - at), source })
    }

    /// The extent from byte `at` of the disk to byte `end`, the end of payload block `block`, of which the sector bitmap
    /// tells what is in the file.
    fn partial(&mut self, block: u64, entry: BatEntry, at: u64, end: u64) -> Result<Extent, Error> {
        if self.parent.is_none() {
            let at = self.entry_at(self.layout.payload_index(block));
            let what = "a block is partially present in a file without a parent";
            return Err(Error::new(ErrorKind::Corrupt, at, what));
        }
        let bitmap_at = self.bitmap_of(block)?;
        let sector_size = u64::from(self.metadata.logical_sector_size);
        let sector = at / sector_size % SECTORS_PER_BITMAP;
        let bytes = self.bitmap.look(&self.source, bitmap_at + sector / 8, 1)?;
        let (present, sectors) = bitmap::run(bytes, (sector % 8) as u8, (end - at).div_ceil(sector_size));
        let start_of_sector = at - at % sector_size;
        // The window holds at least the byte that was asked for, so there is at least one sector.
        let end = end.min(start_of_sector + sectors.max(1) * sector_size);
        if present {
            self.payload(block, entry, at, end)
        } else {
            Ok(Extent { start: at, len: end - at, source: Source::Unallocated })
        }
    }

    /// The byte offset of the sector bitmap block that describes payload block `block`.
    fn bitmap_of(&mut self, block: u64) -> Result<u64, Error> {
        let at = self.entry_at(self.layout.bitmap_index(block));
        let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
        let entry = BatEntry(self.bat.le_u64(&self.source, at)?);
        if !entry.has_bitmap() {
            return Err(corrupt("a block is partially present, but its sector bitmap is not there"));
        }
        let offset = entry.offset();
        if self.regions.touches(offset, BITMAP_LEN) {
            return Err(corrupt("a sector bitmap overlaps headers, the log or a region"));
        }
        if offset.checked_add(BITMAP_LEN).is_none_or(|end| end > self.source.file_len()) {
            return Err(corrupt("a sector bitmap lies beyond the end of the file"));
        }
        Ok(offset)
    }
}

impl<S: ReadAt> DiskMap for VhdxMap<S> {
    fn virtual_size(&self) -> u64 {
        self.metadata.virtual_size
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let size = self.metadata.virtual_size;
        if at >= size {
            return Err(Error::new(ErrorKind::Io, at, "asked for a byte beyond the end of the disk"));
        }
        let block = at / self.layout.block_size;
        let run = self.run(block)?;
        // A window holds thousands of entries, not more, and sizes are bounded: this does not overflow.
        let end = size.min((block + run.blocks) * self.layout.block_size);
        let nowhere = |source| Ok(Extent { start: at, len: end - at, source });
        match run.state {
            BlockState::NotPresent => nowhere(Source::Unallocated),
            BlockState::Undefined | BlockState::Zero | BlockState::Unmapped => nowhere(Source::Zero),
            BlockState::FullyPresent => self.payload(block, run.entry, at, end),
            BlockState::PartiallyPresent => self.partial(block, run.entry, at, end),
        }
    }
}
