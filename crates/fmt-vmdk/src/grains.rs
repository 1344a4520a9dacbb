//! Where the grains of one sparse extent are.
//!
//! The grain directory tells, for each grain table, its sector; the grain table tells, for each grain, its sector. 0
//! means that there is none: the parent has it, if there is one.

use fmt_core::{Codec, Compressed, Error, ErrorKind, Extent, FileId, ReadAt, SECTOR, Source, Window};
use zerocopy::{FromZeros, IntoBytes};

use crate::header::{Packing, SparseExtent};
use crate::limits::{GD_WINDOW, GT_WINDOW, MAX_GTES_PER_GT, MAX_RUN};
use crate::raw::{GTE_ZERO, GrainMarker};

/// The windows over the tables of the sparse extent that was looked at last.
#[derive(Debug)]
pub(crate) struct Tables {
    directory: Window,
    table: Window,
}

impl Tables {
    pub(crate) const fn new() -> Self {
        Self { directory: Window::new(GD_WINDOW), table: Window::new(GT_WINDOW) }
    }
}

/// A sparse extent with what is needed to look into its tables.
pub(crate) struct Grains<'m, S> {
    pub(crate) extent: &'m SparseExtent,
    pub(crate) source: &'m S,
    pub(crate) file: FileId,
    pub(crate) tables: &'m mut Tables,
}

/// What a grain table says of a grain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Unallocated,
    Zero,
    /// It lies at this byte of the file.
    At(u64),
}

impl<S: ReadAt> Grains<'_, S> {
    /// The extent around byte `at` of the sparse extent, which is less than its length.
    pub(crate) fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let grain_len = self.extent.grain_len;
        let number = at / grain_len;
        let (grain, next) = self.run(number)?;
        let start = number.saturating_mul(grain_len);
        let end = next.saturating_mul(grain_len).min(self.extent.len);
        let len = end.saturating_sub(start);
        match (grain, self.extent.packing) {
            (Grain::Unallocated, _) => Ok(Extent { start, len, source: Source::Unallocated }),
            (Grain::Zero, _) => Ok(Extent { start, len, source: Source::Zero }),
            (Grain::At(offset), Packing::Plain) => {
                self.plain(Extent { start, len, source: Source::Zero }, at, offset)
            }
            (Grain::At(offset), packing) => {
                let unit = self.compressed(offset, packing)?;
                Ok(Extent { start, len, source: Source::Compressed { unit, skip: 0 } })
            }
        }
    }

    /// The extent around byte `at`, of grains that lie at `offset`. A grain that begins in the file and does not end in
    /// it reads as zeros behind the file's end; one that begins behind it cannot be read.
    fn plain(&self, run: Extent, at: u64, offset: u64) -> Result<Extent, Error> {
        let Extent { start, len, .. } = run;
        let inside = self.inside(offset)?;
        let data_len = len.min(inside);
        let data_end = start.saturating_add(data_len);
        if at < data_end {
            return Ok(Extent { start, len: data_len, source: Source::Data { file: self.file, offset } });
        }
        // Only the run's first grain has `at` behind the file's end, for the second begins behind it.
        let end = start.saturating_add(len.min(self.extent.grain_len));
        Ok(Extent { start: data_end, len: end.saturating_sub(data_end), source: Source::Zero })
    }

    /// The compressed grain at byte `offset`.
    fn compressed(&self, offset: u64, packing: Packing) -> Result<Compressed, Error> {
        let inside = self.inside(offset)?;
        let grain_len = self.extent.grain_len;
        let marker_len = size_of::<GrainMarker>() as u64;
        let (skip, len) = if packing == Packing::MarkedZlib {
            let outside = corrupt(offset, "a compressed grain reaches beyond the end of the file");
            let rest = inside.checked_sub(marker_len).ok_or(outside)?;
            let mut marker = GrainMarker::new_zeroed();
            self.source.read_exact_at(offset, marker.as_mut_bytes())?;
            let len = u64::from(marker.size.get());
            // `qemu-img` reads two grains, the marker included.
            if len == 0 || len.saturating_add(marker_len) > grain_len.saturating_mul(2) {
                return Err(corrupt(offset, "a compressed grain's length cannot be"));
            }
            (marker_len, rest.checked_sub(len).map(|_| len).ok_or(outside)?)
        } else {
            (0, grain_len.min(inside))
        };
        let too_large = Error::new(ErrorKind::TooLarge, offset, "a compressed grain");
        Ok(Compressed {
            file: self.file,
            offset: offset.saturating_add(skip),
            len: u32::try_from(len).map_err(|_| too_large)?,
            unit_len: u32::try_from(grain_len).map_err(|_| too_large)?,
            codec: Codec::Zlib,
        })
    }

    /// How many bytes the file has from byte `offset` on: at least one.
    fn inside(&self, offset: u64) -> Result<u64, Error> {
        let inside = self.source.file_len().checked_sub(offset).filter(|&len| len > 0);
        inside.ok_or(corrupt(offset, "a grain lies beyond the end of the file"))
    }

    /// What the grain `first` is, and the number of the first grain after it that does not continue it, as far as
    /// was looked.
    fn run(&mut self, first: u64) -> Result<(Grain, u64), Error> {
        let Stretch { grain, mut next, mut cost } = self.stretch(first)?;
        let grains = self.extent.len.div_ceil(self.extent.grain_len);
        while next < grains && cost < MAX_RUN && grain.merges(self.extent) {
            // An error is told to whoever asks for that grain.
            let Ok(more) = self.stretch(next) else { break };
            if more.grain != grain.continued(next.saturating_sub(first), self.extent) {
                break;
            }
            next = more.next;
            cost = cost.saturating_add(more.cost);
        }
        Ok((grain, next))
    }

    /// What the grain `first` is, and how far it continues in its table: to the end of the window at most, or of the
    /// table if it is not there.
    fn stretch(&mut self, first: u64) -> Result<Stretch, Error> {
        let per_table = u64::from(self.extent.gtes_per_gt).max(1);
        let (index, within) = (first / per_table, first % per_table);
        let left = per_table - within;
        if index >= self.extent.gd_entries {
            return Err(corrupt(self.extent.gd_at, "the grain directory is too short for the disk"));
        }
        let at = self.extent.gd_at.saturating_add(index.saturating_mul(4));
        let table = self.tables.directory.le_u32(self.source, at)?;
        if table == 0 {
            return Ok(Stretch { grain: Grain::Unallocated, next: first.saturating_add(left), cost: 1 });
        }

        let at = sectors(table).saturating_add(within.saturating_mul(4));
        let (entries, _) = self.tables.table.look(self.source, at, 4)?.as_chunks();
        let extent = self.extent;
        let mut grains =
            entries.iter().map(|&entry| Grain::of(u32::from_le_bytes(entry), extent.zero_grains));
        let grain = grains.next().ok_or(corrupt(at, "a grain table ends early"))?;
        let mut count = 1;
        if grain.merges(extent) {
            let left = usize::try_from(left).unwrap_or(usize::MAX).saturating_sub(1);
            let more = grains
                .take(left)
                .zip(1..)
                .take_while(|&(found, number)| found == grain.continued(number, extent));
            count += more.count() as u64;
        }
        let cost = count.max(u64::from(MAX_GTES_PER_GT));
        Ok(Stretch { grain, next: first.saturating_add(count), cost })
    }
}

/// Neighbouring grains that continue one another.
struct Stretch {
    /// What the first is.
    grain: Grain,
    /// The number of the first grain behind them.
    next: u64,
    /// How many entries were looked at. A short table costs as much as a whole one: the window may have to move for it.
    cost: u64,
}

impl Grain {
    fn of(entry: u32, zero_grains: bool) -> Self {
        match entry {
            0 => Self::Unallocated,
            GTE_ZERO if zero_grains => Self::Zero,
            sector => Self::At(sectors(sector)),
        }
    }

    /// Whether neighbours of this kind are one extent.
    fn merges(self, extent: &SparseExtent) -> bool {
        !matches!(self, Self::At(_)) || extent.packing == Packing::Plain
    }

    /// What the grain is that lies `grains` behind this one and continues it.
    const fn continued(self, grains: u64, extent: &SparseExtent) -> Self {
        match self {
            Self::At(offset) => Self::At(offset.saturating_add(grains.saturating_mul(extent.grain_len))),
            other => other,
        }
    }
}

fn sectors(number: u32) -> u64 {
    u64::from(number).saturating_mul(SECTOR)
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}
