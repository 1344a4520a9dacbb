//! Clusters of the output file, taken one after the other, and the tables that say where they are.

use fmt_core::{Error, ErrorKind, StepSink};

use crate::geometry::Geometry;
use crate::output::{Output, Table};
use crate::raw::{COPIED, L1_ENTRY_LEN};
use crate::refcount::Refcounts;

/// The clusters of the file, and the tables that say which cluster of the disk is where.
#[derive(Debug)]
pub(crate) struct Clusters {
    geometry: Geometry,
    /// The number of the next cluster of the file.
    next: u64,
    /// The number on the disk of the lowest cluster that can still be allocated.
    open: u64,
    /// The number of L1 entries that have been put.
    l1_entries: u64,
    l1: Table,
    /// The L2 table of the cluster that was allocated last; finished, where there is none.
    l2: Table,
    /// How many of its entries have been put.
    l2_entries: u64,
}

impl Clusters {
    pub(crate) fn new(geometry: Geometry, size: u64) -> Self {
        let l1_clusters = Self::of_l1(geometry, size);
        let cluster_size = geometry.cluster_size();
        Self {
            geometry,
            next: 1 + l1_clusters,
            open: 0,
            l1_entries: 0,
            l1: Table::new(cluster_size, l1_clusters * cluster_size),
            l2: Table::default(),
            l2_entries: 0,
        }
    }

    /// How many clusters the L1 table of a disk of `size` bytes takes. It comes right after the first cluster.
    pub(crate) fn of_l1(geometry: Geometry, size: u64) -> u64 {
        (geometry.l1_entries(size) * L1_ENTRY_LEN).div_ceil(geometry.cluster_size())
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Takes a cluster of the file for cluster `index` of the disk.
    pub(crate) fn allocate<S: StepSink>(&mut self, output: &Output<'_, S>, index: u64) -> Result<u64, Error> {
        if index < self.open {
            let at = index.saturating_mul(self.geometry.cluster_size());
            return Err(Error::new(ErrorKind::Corrupt, at, "extents out of order"));
        }
        self.open = index + 1;
        let (table, entry) = (index / self.geometry.l2_entries(), index % self.geometry.l2_entries());
        if table >= self.l1_entries {
            self.begin_l2(output, table)?;
        }
        let at = self.take()?;
        self.l2.push(output, entry - self.l2_entries, at | COPIED)?;
        self.l2_entries = entry + 1;
        Ok(at)
    }

    fn begin_l2<S: StepSink>(&mut self, output: &Output<'_, S>, table: u64) -> Result<(), Error> {
        self.l2.finish(output)?;
        self.refcounts()?;
        let at = self.take()?;
        self.l1.push(output, table - self.l1_entries, at | COPIED)?;
        self.l1_entries = table + 1;
        self.l2.restart(at, self.geometry.cluster_size());
        self.l2_entries = 0;
        Ok(())
    }

    /// The byte offset of the next cluster of the file.
    fn take(&mut self) -> Result<u64, Error> {
        let at = self.next.checked_mul(self.geometry.cluster_size());
        self.next += 1;
        at.ok_or(too_large("the file"))
    }

    /// Writes what is left of the tables. What remains are the refcounts.
    pub(crate) fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<Refcounts, Error> {
        self.l2.finish(output)?;
        self.l1.finish(output)?;
        self.refcounts()
    }

    /// The refcounts of what has been taken so far.
    fn refcounts(&self) -> Result<Refcounts, Error> {
        let refcounts = Refcounts::after(self.geometry, self.next).ok_or(too_large("the file"))?;
        refcounts.check()?;
        Ok(refcounts)
    }
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
