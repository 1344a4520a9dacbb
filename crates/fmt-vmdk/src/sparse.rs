//! A sparse extent as it is written: header, tables in two copies, and grains in the order of the disk.

use core::ops::Range;

use fmt_core::{BlockFill, Error, ErrorKind, Extent, FileId, Output, SECTOR, Source, StepSink, Zeros};

use crate::head;
use crate::layout::{GRAIN_LEN, Layout};
use crate::limits::MAX_FILE_LEN;
use crate::options::Options;
use crate::raw::GTE_ZERO;
use crate::tables::{self, GrainTables};

/// A file is full, or could not hold a disk if all of it were allocated.
pub(crate) const TOO_MANY_GRAINS: Error =
    Error::new(ErrorKind::TooLarge, 0, "the disk: a sparse VMDK holds nearly 2 TiB of data");

/// How the grains of a disk are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether a file gets the length at once that it has when every grain is allocated.
    pub(crate) dense: bool,
    /// Whether what is not allocated is a parent's.
    pub(crate) overlay: bool,
    /// Whether grain tables may say of a grain that it is zeros.
    pub(crate) zeroed_grain: bool,
    pub(crate) zeros: GrainZeros,
}

/// What becomes of a grain of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrainZeros {
    /// It is allocated.
    Written,
    /// It is not there.
    Absent,
    /// Its entry says that it is zeros.
    Marked,
}

impl Manner {
    pub(crate) const fn of(options: &Options<'_>) -> Self {
        let overlay = options.parent.is_some();
        let zeros = match (options.zeros, overlay, options.zeroed_grain) {
            (Zeros::Written, ..) | (Zeros::Absent, true, false) => GrainZeros::Written,
            (Zeros::Absent, true, true) => GrainZeros::Marked,
            (Zeros::Absent, false, _) => GrainZeros::Absent,
        };
        let dense = matches!(options.zeros, Zeros::Written);
        Self { dense, overlay, zeroed_grain: options.zeroed_grain, zeros }
    }
}

/// A sparse extent being written.
#[derive(Debug)]
pub(crate) struct SparsePart<'s, S> {
    output: Output<'s, S>,
    layout: Layout,
    manner: Manner,
    fill: BlockFill,
    tables: GrainTables,
    /// Where the next grain will lie.
    next: u64,
    /// Where the last extent ended that was not unallocated.
    covered: u64,
    /// Zeros that are to be marked, but have not been: what comes next may continue them.
    zeros: Range<u64>,
}

impl<'s, S: StepSink> SparsePart<'s, S> {
    /// The length that the file of an extent of `size` bytes has at first.
    pub(crate) fn first_len(size: u64, manner: Manner) -> u64 {
        let layout = Layout::new(size);
        if manner.dense { layout.max_len() } else { layout.grains_at }
    }

    /// Begins an extent of `size` bytes, in whole sectors, in the output `file`, which has its [first
    /// length](Self::first_len).
    pub(crate) fn begin(
        sink: &'s S,
        file: FileId,
        size: u64,
        manner: Manner,
        descriptor: &[u8],
    ) -> Result<Self, Error> {
        let layout = Layout::new(size);
        let output = Output::resume(sink, file, Self::first_len(size, manner), layout.max_len());
        output.write(0, &head::sparse(&layout, manner.zeroed_grain, descriptor))?;
        tables::write_directory(&output, layout.rgd_at, &layout)?;
        tables::write_directory(&output, layout.gd_at, &layout)?;
        output.zero(layout.tables_end, layout.grains_at.saturating_sub(layout.tables_end))?;
        let zeros = if manner.zeros == GrainZeros::Absent { Zeros::Absent } else { Zeros::Written };
        Ok(Self {
            output,
            layout,
            manner,
            fill: BlockFill::new(GRAIN_LEN).with_zeros(zeros),
            tables: GrainTables::new(&layout),
            next: layout.grains_at,
            covered: 0,
            zeros: 0..0,
        })
    }

    /// Refuses a disk that could not be held if every grain of it were allocated.
    pub(crate) fn check_dense(size: u64) -> Result<(), Error> {
        if Layout::new(size).dense_len() > MAX_FILE_LEN { Err(TOO_MANY_GRAINS) } else { Ok(()) }
    }

    /// Writes an extent that is not unallocated.
    pub(crate) fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        self.cover(extent)?;
        if extent.source != Source::Zero || self.manner.zeros != GrainZeros::Marked {
            self.mark()?;
            return self.put(extent);
        }
        if extent.start != self.zeros.end {
            self.mark()?;
            self.zeros.start = extent.start;
        }
        self.zeros.end = extent.end();
        Ok(())
    }

    /// Above a parent, refuses to leave a part of a grain to it: nothing can say so.
    fn cover(&mut self, extent: Extent) -> Result<(), Error> {
        let whole = |at: u64| at.is_multiple_of(GRAIN_LEN);
        let covered = core::mem::replace(&mut self.covered, extent.end());
        if !self.manner.overlay || covered == extent.start || (whole(covered) && whole(extent.start)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::UnsupportedFeature, extent.start, PARTLY))
    }

    /// Marks the grains of the zeros that wait for it, and writes those that share a grain with other bytes.
    fn mark(&mut self) -> Result<(), Error> {
        let Range { start, end } = core::mem::replace(&mut self.zeros, 0..0);
        let first = start.next_multiple_of(GRAIN_LEN).min(end);
        let last = (end - end % GRAIN_LEN).max(first);
        let zeros = |start, end| Extent { start, len: end - start, source: Source::Zero };
        self.put(zeros(start, first))?;
        for grain in first.div_ceil(GRAIN_LEN)..last / GRAIN_LEN {
            self.tables.set(&self.output, grain, GTE_ZERO)?;
        }
        self.put(zeros(last, end))
    }

    fn put(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { output, fill, tables, next, .. } = self;
        fill.extent(output.sink, output.file, extent, |grain| {
            let at = *next;
            // Whoever has a number for the first sector of a grain has one for its last.
            let sector = u32::try_from(at / SECTOR).map_err(|_| TOO_MANY_GRAINS)?;
            tables.set(output, grain, sector)?;
            *next = at.saturating_add(GRAIN_LEN);
            output.reserve(*next)?;
            Ok(at)
        })
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if self.layout.size.saturating_sub(self.covered) < SECTOR {
            // Behind the end of the disk, the last grain is anything.
            let end = self.covered.next_multiple_of(GRAIN_LEN);
            self.zeros.end = if self.zeros.end == self.covered { end } else { self.zeros.end };
            self.covered = end;
        }
        self.mark()?;
        if self.manner.overlay && !self.covered.is_multiple_of(GRAIN_LEN) {
            return Err(Error::new(ErrorKind::UnsupportedFeature, self.covered, PARTLY));
        }
        let Self { output, mut fill, tables, next, .. } = self;
        fill.finish(output.sink, output.file)?;
        tables.finish(&output)?;
        output.finish(next)
    }
}

const PARTLY: &str = "a grain of which only a part is left to the parent";
