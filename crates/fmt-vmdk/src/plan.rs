//! The steps that write a VMDK.

use fmt_core::{BlockFill, DiskPlan, Error, ErrorKind, Extent, FileId, SECTOR, Source, Step, StepSink};

use crate::head;
use crate::layout::{GRAIN_LEN, Layout};
use crate::limits::MAX_FILE_LEN;
use crate::tables::{self, GrainTables};

/// What a VMDK is to be, beside its size.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'n> {
    /// How the disk is spread over files.
    pub subformat: Subformat,
    /// The content identity: any number, a random one for a disk that is new.
    pub cid: u32,
    /// The name of the output file, without directories; it goes into the descriptor, for people. What would break the
    /// descriptor's quotes is replaced by `_`.
    pub name: &'n [u8],
    /// Whether grains will be left unallocated. A disk whose grains cannot all be allocated, because a sparse file has
    /// 2 TiB at most, is refused at once without this, and with it when the file is full.
    pub sparse: bool,
}

/// How a VMDK that is written is spread over files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subformat {
    /// One sparse file, with the descriptor in it.
    #[default]
    MonolithicSparse,
}

impl<'n> Options<'n> {
    /// A monolithicSparse disk, whose grains will all be allocated.
    #[must_use]
    pub const fn new(cid: u32, name: &'n [u8]) -> Self {
        Self { subformat: Subformat::MonolithicSparse, cid, name, sparse: false }
    }
}

/// A VMDK being written: one sparse file with grains of 64 KiB, as `qemu-img dd -O vmdk` writes it.
///
/// Grains lie in the order of the disk. Every table is written, in both copies, and every byte of the file before the
/// first grain.
#[derive(Debug)]
pub struct VmdkPlan<'s, S> {
    sink: &'s S,
    file: FileId,
    layout: Layout,
    fill: BlockFill,
    tables: GrainTables,
    /// Where the next grain will lie.
    next: u64,
}

impl<'s, S: StepSink> VmdkPlan<'s, S> {
    /// The length in bytes that the file of a disk of `size` bytes has when every grain is allocated.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), for a disk that is not sparse.
    pub fn max_len(size: u64) -> Result<u64, Error> {
        let len = Layout::new(size)?.dense_len();
        if len > MAX_FILE_LEN { Err(TOO_MANY_GRAINS) } else { Ok(len) }
    }

    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for a size of 0, which no reader would take, and for an empty name;
    /// [`ErrorKind::TooLarge`] for a disk whose grains or tables could not be addressed, and for a name of more than
    /// [`MAX_EXTENT_NAME_LEN`](crate::limits::MAX_EXTENT_NAME_LEN) bytes. Then no step has been taken. Those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options<'_>) -> Result<Self, Error> {
        let Subformat::MonolithicSparse = options.subformat;
        let layout = Layout::new(size)?;
        if !options.sparse {
            Self::max_len(size)?;
        }
        let head = head::monolithic_sparse(&layout, options)?;

        sink.step(Step::SetLen { file, len: layout.max_len() })?;
        sink.step(Step::Write { file, dst: 0, bytes: &head })?;
        tables::write_directory(sink, file, layout.rgd_at, &layout)?;
        tables::write_directory(sink, file, layout.gd_at, &layout)?;
        tables::zero(sink, file, layout.tables_end..layout.grains_at)?;
        Ok(Self {
            sink,
            file,
            layout,
            fill: BlockFill::new(GRAIN_LEN),
            tables: GrainTables::new(&layout),
            next: layout.grains_at,
        })
    }
}

const TOO_MANY_GRAINS: Error =
    Error::new(ErrorKind::TooLarge, 0, "the disk: a sparse VMDK holds nearly 2 TiB of data");

impl<S: StepSink> DiskPlan for VmdkPlan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { sink, file, layout, fill, tables, next } = self;
        if extent.source != Source::Unallocated && extent.end() > layout.size {
            return Err(Error::new(ErrorKind::TooLarge, extent.start, "an extent reaches beyond the disk"));
        }
        fill.extent(*sink, *file, extent, |grain| {
            let at = *next;
            // Whoever has a number for the first sector of a grain has one for its last.
            let sector = u32::try_from(at / SECTOR).map_err(|_| TOO_MANY_GRAINS)?;
            tables.set(*sink, *file, grain, sector)?;
            *next = at.saturating_add(GRAIN_LEN);
            Ok(at)
        })
    }

    fn finish(self) -> Result<(), Error> {
        let Self { sink, file, layout, mut fill, tables, next } = self;
        fill.finish(sink, file)?;
        tables.finish(sink, file)?;
        if next != layout.max_len() {
            sink.step(Step::SetLen { file, len: next })?;
        }
        Ok(())
    }
}
