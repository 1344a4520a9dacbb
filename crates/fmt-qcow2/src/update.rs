//! The steps that write into a qcow2 disk that is there.
//!
//! What the disk has to itself is written where it is. What it shares with internal snapshots, what is compressed and what
//! has no place yet goes to new clusters behind all others, and the old ones have one user less: snapshots keep what they
//! have.
//!
//! | module | layer |
//! |---|---|
//! | `file` | reads and steps, and which of them wait for which |
//! | `pages` | pieces of all tables, and the order in which they are written |
//! | `usage` | refcounts: clusters taken and given up |
//! | `tables` | L1 and L2 entries |
//! | `cluster` | what becomes of one cluster of the disk |
//!
//! ```
//! use std::cell::RefCell;
//! use fmt_core::{DiskMap, DiskPlan, Error, Extent, FileId, ReadAt, Source, Step, StepSink};
//! use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan, Qcow2Update};
//!
//! /// A file in memory. Its data is all zeros.
//! struct Memory(RefCell<Vec<u8>>);
//! impl ReadAt for Memory {
//!     fn file_len(&self) -> u64 {
//!         self.0.borrow().len() as u64
//!     }
//!     fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
//!         self.0.borrow().as_slice().read_exact_at(offset, buf)
//!     }
//! }
//! impl StepSink for Memory {
//!     fn step(&self, step: Step<'_>) -> Result<(), Error> {
//!         let mut file = self.0.borrow_mut();
//!         match step {
//!             Step::SetLen { len, .. } => file.resize(len as usize, 0),
//!             Step::Write { dst, bytes, .. } => file[dst as usize..][..bytes.len()].copy_from_slice(bytes),
//!             Step::Fill { dst, len, .. } => file[dst as usize..][..len as usize].fill(0),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let (memory, file) = (Memory(RefCell::default()), FileId(1));
//! Qcow2Plan::begin(&memory, file, 1 << 20, &Options::default())?.finish()?;
//!
//! let mut update = Qcow2Update::open(&memory, &memory, file)?;
//! update.extent(Extent { start: 131_072, len: 512, source: Source::Data { file: FileId(0), offset: 0 } })?;
//! update.finish()?;
//!
//! let extents: Vec<Extent> = Qcow2Map::new(&memory, file)?.extents(0..1 << 20).collect::<Result<_, _>>()?;
//! assert!(matches!(extents[1], Extent { start: 131_072, len: 65536, source: Source::Data { .. } }));
//! # Ok::<(), Error>(())
//! ```

mod cluster;
mod file;
mod pages;
mod tables;
mod usage;

use core::mem::offset_of;
use core::ops::Range;

use fmt_core::{DiskMap, DiskPlan, Error, ErrorKind, Extent, FileId, ReadAt, Source, StepSink};

use self::cluster::{Context, Open};
use self::file::File;
use self::pages::Pages;
use self::tables::Tables;
use self::usage::Usage;
use crate::entry::Rules;
use crate::header::Header;
use crate::limits::MAX_FILE_LEN;
use crate::raw::{Autoclear, Incompatible, REFCOUNT_TABLE_ENTRY_LEN, RawHeader};
use crate::refcount::{Refcounts, Width};

/// A qcow2 disk that is there, being written.
///
/// [`Source::Data`] and [`Source::Compressed`] are on the disk afterwards. [`Source::Zero`] reads as zeros, as cheaply as
/// the format allows: a cluster that is all zeros is marked as such, and what it had in the file is given up; in version 2
/// it is not allocated, or written where a backing file would show. What no extent covers, and [`Source::Unallocated`],
/// stays as it is.
///
/// Extents need not agree with clusters. What is left of a cluster that gets another place is copied there, from this very
/// file, too: then the source of a step is the file that it writes to. What only the backing image has is taken from the
/// disk that was given [to stand behind](Self::backing); without one, such a cluster must be covered as a whole, or is
/// refused before anything of it has changed.
///
/// # What the steps rely on
///
/// A read sees all steps before it, those that made the file longer, too. The same bytes are written twice only if there was
/// a read in between, so between two reads steps may be taken in any order.
///
/// # When it ends early
///
/// Tables point to what has been written, and clusters are counted before they are pointed to and given up after: whenever
/// the steps end, the tables are in order. What was taken and is not used yet may be lost space (a *leak*, which
/// `qemu-img check -r leaks` gives back), and the disk may have some extents and not others. As with `qemu-img`, nothing
/// says that they are missing. This holds for steps that were taken; what a power failure leaves of them is a matter of
/// the file system.
///
/// # Limits
///
/// The file becomes longer by what is taken: a cluster for each of the disk's that needs another place, their L2 tables,
/// and what counts them; clusters that are free already are not used. [`max_len`](Self::max_len) is the bound. What it was
/// made longer by and did not need is cut off at the end, and no more than that. Memory is bounded, too: by 512 KiB of
/// tables and 64 KiB of clusters to be given up.
#[derive(Debug)]
pub struct Qcow2Update<'s, R, S> {
    context: Context<'s>,
    tables: Tables<'s, R, S>,
    /// The cluster that was written to last.
    open: Option<Open>,
    /// Zeros that may go on.
    zeros: Range<u64>,
    /// The end of the last extent.
    covered: u64,
    max_len: u64,
}

impl<'s, R: ReadAt, S: StepSink> Qcow2Update<'s, R, S> {
    /// The disk of the image that `image` reads, and that steps call `file`.
    ///
    /// # Errors
    ///
    /// Those of [`Header::read`]; [`ErrorKind::UnsupportedFeature`] for images with an external data file, for those with
    /// bitmaps or other features that do not survive a writer who does not know them, and for those that are marked as
    /// dirty or corrupt; [`ErrorKind::Corrupt`] where the file ends before its tables do.
    pub fn open(image: &'s R, sink: &'s S, file: FileId) -> Result<Self, Error> {
        let header = Header::read(image)?;
        check_features(&header)?;
        check_tables(&header, image.file_len())?;
        let geometry = header.geometry();
        // The header has been checked.
        let width = Width::new(geometry, header.refcount_bits()).ok_or(too_large("a refcount"))?;
        let max_len = max_len(&header, width, image.file_len()).ok_or(too_large("the file"))?;
        let pages = Pages::new(File::new(image, sink, file, max_len), geometry);
        let tables = Tables::new(Usage::new(pages, &header, width), &header);
        let context = Context { rules: Rules::of(&header), header, backing: None };
        Ok(Self { context, tables, open: None, zeros: 0..0, covered: 0, max_len })
    }

    /// The same, with the disk that has what this one has not allocated. An image without a backing file ignores it.
    #[must_use]
    pub fn backing(mut self, disk: &'s mut dyn DiskMap) -> Self {
        self.context.backing = Some(disk);
        self
    }

    /// The image's header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.context.header
    }

    /// The disk's size in bytes.
    #[must_use]
    pub const fn virtual_size(&self) -> u64 {
        self.header().virtual_size()
    }

    /// How many bytes are best written together: those of a cluster.
    #[must_use]
    pub const fn block_len(&self) -> u64 {
        self.header().geometry().cluster_size()
    }

    /// The length in bytes that the file will not exceed, whatever is written to the disk.
    #[must_use]
    pub const fn max_len(&self) -> u64 {
        self.max_len
    }

    /// Writes the zeros that may have gone on, and did not.
    fn settle(&mut self) -> Result<(), Error> {
        let Range { start, end } = core::mem::take(&mut self.zeros);
        self.write(Extent { start, len: end - start, source: Source::Zero })
    }

    fn write(&mut self, extent: Extent) -> Result<(), Error> {
        let size = self.block_len();
        let mut at = extent.start;
        while at < extent.end() {
            let index = at / size;
            if let Some(absent) = self.zeros_of_table(extent.source, index)? {
                at = absent.end * size;
                continue;
            }
            let (start, end) = (index * size, ((index + 1) * size).min(extent.end()));
            let mut open = self.enter(index)?;
            let source = extent.source.after(at - extent.start);
            open.put(&mut self.context, &mut self.tables, at - start..end - start, source)?;
            self.open = Some(open);
            at = end;
        }
        Ok(())
    }

    /// The clusters around cluster `index` that are zeros already, because no L2 table has them.
    fn zeros_of_table(&mut self, source: Source, index: u64) -> Result<Option<Range<u64>>, Error> {
        let is_open = self.open.as_ref().is_some_and(|open| open.index == index);
        if source != Source::Zero || self.context.has_backing() || is_open {
            return Ok(None);
        }
        self.tables.absent(index)
    }

    /// The cluster `index`, open; the one before is closed if it is another.
    fn enter(&mut self, index: u64) -> Result<Open, Error> {
        match self.open.take() {
            Some(open) if open.index == index => return Ok(open),
            Some(open) => open.close(&mut self.context, &mut self.tables)?,
            None => {}
        }
        Open::new(&self.context, &mut self.tables, index)
    }
}

impl<R: ReadAt, S: StepSink> DiskPlan for Qcow2Update<'_, R, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        if extent.end() > self.virtual_size() {
            return Err(too_large("an extent beyond the end of the disk"));
        }
        if extent.start < self.covered {
            return Err(Error::new(ErrorKind::Corrupt, extent.start, "extents out of order"));
        }
        self.covered = extent.end();
        match extent.source {
            Source::Unallocated => Ok(()),
            Source::Zero if self.zeros.end == extent.start => {
                self.zeros.end = extent.end();
                Ok(())
            }
            Source::Zero => {
                self.settle()?;
                self.zeros = extent.start..extent.end();
                Ok(())
            }
            Source::Data { .. } | Source::Compressed { .. } => {
                self.settle()?;
                self.write(extent)
            }
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.settle()?;
        let Self { mut context, mut tables, open, .. } = self;
        open.map_or(Ok(()), |open| open.close(&mut context, &mut tables))?;
        tables.finish()
    }
}

/// Refuses what would be lost, or made worse.
fn check_features(header: &Header) -> Result<(), Error> {
    let (incompatible, autoclear) = (header.incompatible(), header.autoclear());
    let unsupported = |at: usize, what| Err(Error::new(ErrorKind::UnsupportedFeature, at as u64, what));
    let at = offset_of!(RawHeader, incompatible);
    if incompatible.contains(Incompatible::CORRUPT) {
        return unsupported(at, "writing to an image that is marked as corrupt, before it is repaired");
    }
    if incompatible.contains(Incompatible::DIRTY) {
        return unsupported(
            at,
            "writing to an image that is marked as dirty, before its refcounts are repaired",
        );
    }
    if incompatible.contains(Incompatible::DATA_FILE) {
        return unsupported(at, "writing to an image with an external data file");
    }
    let at = offset_of!(RawHeader, autoclear);
    if autoclear.contains(Autoclear::BITMAPS) {
        return unsupported(at, "writing to an image with bitmaps, which would not show what changed");
    }
    if !autoclear.is_empty() {
        return unsupported(at, "writing to an image with an autoclear feature that is not known here");
    }
    Ok(())
}

/// Tables can only be changed where they are. The last cluster of a file need not be whole.
fn check_tables(header: &Header, file_len: u64) -> Result<(), Error> {
    if file_len > MAX_FILE_LEN {
        return Err(too_large("the file"));
    }
    let (l1, refcounts) = (header.l1(), header.refcounts());
    let refcounts_len = u64::from(refcounts.entries) * REFCOUNT_TABLE_ENTRY_LEN;
    let end = file_len.next_multiple_of(header.geometry().cluster_size());
    for (table, len, at) in [
        (l1, l1.l1_len(), offset_of!(RawHeader, l1_offset)),
        (refcounts, refcounts_len, offset_of!(RawHeader, refcount_table_offset)),
    ] {
        if table.offset + len > end {
            let what = "a table reaches beyond the end of the file";
            return Err(Error::new(ErrorKind::Corrupt, at as u64, what));
        }
    }
    Ok(())
}

/// The length of the file when all of the disk, and all L2 tables, have been given new places.
fn max_len(header: &Header, width: Width, file_len: u64) -> Option<u64> {
    let (geometry, size) = (header.geometry(), header.virtual_size());
    let clusters = size.div_ceil(geometry.cluster_size()) + geometry.l1_entries(size);
    let first = file_len.div_ceil(geometry.cluster_size()).checked_add(clusters)?;
    let refcounts = Refcounts::after(width, None, first)?;
    // Each time that it moves, the refcount table gets twice the length, or what it needs at least.
    let tables = refcounts.table_clusters().checked_mul(4 * geometry.cluster_size())?;
    refcounts.file_len()?.checked_add(tables)
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
