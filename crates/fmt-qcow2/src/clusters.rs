//! The tables that say where the clusters of the disk are, and what of them is there.

use fmt_core::{Error, ErrorKind, Source, StepSink};

use crate::entry::{Kind, alike};
use crate::geometry::{Geometry, SUBCLUSTERS};
use crate::options::{Design, Options, Preallocation};
use crate::output::{Outputs, Table};
use crate::pack::Packer;
use crate::raw::{COMPRESSED, COPIED, OFFSET_MASK, ZERO};
use crate::refcount::Refcounts;
use crate::space::Space;

/// The clusters of the disk, in ascending order, and the tables that describe them.
///
/// Clusters consist of blocks: of subclusters where L2 entries are extended, of one block elsewhere.
#[derive(Debug)]
pub(crate) struct Clusters {
    geometry: Geometry,
    preallocation: Preallocation,
    data_file: DataFile,
    /// How long the file is that has the disk's bytes, if that does not grow.
    data_len: u64,
    /// How many clusters the disk has.
    count: u64,
    /// The number of the lowest cluster that has not been begun.
    next: u64,
    /// The cluster that was begun last. Its L2 entry has not been put.
    open: Option<Cluster>,
    space: Space,
    /// There is one as soon as a cluster is compressed.
    packer: Option<Packer>,
    /// The number of L1 entries that have been put.
    l1_entries: u64,
    l1: Table,
    /// The L2 table of the cluster that was begun last; finished, where there is none.
    l2: Table,
    /// How many of its entries have been put.
    l2_entries: u64,
}

/// Where the disk's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataFile {
    /// In the image.
    None,
    /// In another file, at the offsets that they have on the disk.
    External,
    /// The same, and all bytes of that file are the disk's.
    Raw,
}

/// A cluster of the disk.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    index: u64,
    /// The first word of its L2 entry, without the flag of zeros: 0 as long as it has no place.
    place: u64,
    /// The subclusters that have been written, as in an extended L2 entry. A block that is a whole cluster is all of them.
    data: u32,
    /// The subclusters that are marked as zeros.
    zero: u32,
}

impl Clusters {
    pub(crate) fn new(design: &Design, options: &Options<'_>) -> Self {
        let geometry = design.geometry;
        let (l1_clusters, size) = (geometry.l1_clusters(design.size), geometry.cluster_size());
        Self {
            geometry,
            preallocation: options.preallocates(),
            data_file: match options.data_file {
                None => DataFile::None,
                Some(file) if file.raw => DataFile::Raw,
                Some(_) => DataFile::External,
            },
            data_len: if options.data_file.is_some() { design.size } else { u64::MAX },
            count: design.size.div_ceil(size),
            next: 0,
            open: None,
            space: Space::new(design.width, 1 + l1_clusters),
            packer: None,
            l1_entries: 0,
            l1: Table::new(size, l1_clusters * size),
            l2: Table::default(),
            l2_entries: 0,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Gives a place to block `block` of the disk, all of which will be written: its byte offset in the file that has
    /// the data.
    pub(crate) fn allocate<S: StepSink>(
        &mut self,
        outputs: &Outputs<'_, S>,
        block: u64,
    ) -> Result<u64, Error> {
        let (index, bits, within) = self.locate(block);
        let mut cluster = self.enter(outputs, index)?;
        if cluster.place == 0 {
            cluster.place = self.place(outputs, index)?;
        }
        cluster.data |= bits;
        self.open = Some(cluster);
        Ok((cluster.place & OFFSET_MASK) + within)
    }

    /// Marks block `block` of the disk as zeros.
    pub(crate) fn zero<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, block: u64) -> Result<(), Error> {
        let (index, bits, _) = self.locate(block);
        let mut cluster = self.enter(outputs, index)?;
        cluster.zero |= bits;
        self.open = Some(cluster);
        Ok(())
    }

    /// Stores cluster `index` of the disk, compressed to the `len` bytes at `source`, fewer than it has.
    pub(crate) fn pack<S: StepSink>(
        &mut self,
        outputs: &Outputs<'_, S>,
        index: u64,
        source: Source,
        len: u32,
    ) -> Result<(), Error> {
        if index < self.next {
            return Err(self.out_of_order(index));
        }
        let cluster = self.enter(outputs, index)?;
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::begin(&outputs.image, &mut self.space)?),
        };
        let at = packer.pack(&outputs.image, &mut self.space, source, len)?;
        let place = compressed(self.geometry, at, len.into())?;
        self.open = Some(Cluster { place, ..cluster });
        self.close(outputs)
    }

    /// The cluster of a block, the block's bits, and how many bytes of the cluster come before it.
    fn locate(&self, block: u64) -> (u64, u32, u64) {
        if !self.geometry.extended_l2() {
            return (block, u32::MAX, 0);
        }
        let (index, within) = (block / u64::from(SUBCLUSTERS), block % u64::from(SUBCLUSTERS));
        (index, 1 << within, within * self.geometry.subcluster_size())
    }

    /// The cluster `index`, open; the one before is closed if it is another.
    fn enter<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, index: u64) -> Result<Cluster, Error> {
        if let Some(cluster) = self.open.filter(|cluster| cluster.index == index) {
            return Ok(cluster);
        }
        if index < self.next {
            return Err(self.out_of_order(index));
        }
        self.preallocate(outputs, index)?;
        self.begin(outputs, index)
    }

    /// Closes what is open, and gives every cluster before `end` its place, where that is asked for.
    fn preallocate<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, end: u64) -> Result<(), Error> {
        self.close(outputs)?;
        while self.preallocation != Preallocation::Off && self.next < end {
            self.open = Some(self.begin(outputs, self.next)?);
            self.close(outputs)?;
        }
        Ok(())
    }

    fn begin<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, index: u64) -> Result<Cluster, Error> {
        if index / self.geometry.l2_entries() >= self.l1_entries {
            self.begin_l2(outputs, index / self.geometry.l2_entries())?;
        }
        self.next = index + 1;
        let place = match self.preallocation {
            Preallocation::Off => 0,
            Preallocation::Metadata | Preallocation::Full => self.place(outputs, index)?,
        };
        Ok(Cluster { index, place, data: 0, zero: 0 })
    }

    fn begin_l2<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, table: u64) -> Result<(), Error> {
        self.l2.finish(&outputs.image)?;
        self.space.refcounts()?;
        let size = self.geometry.cluster_size();
        let at = self.space.take(&outputs.image)? * size;
        self.l1.push(&outputs.image, table - self.l1_entries, at | COPIED)?;
        self.l1_entries = table + 1;
        self.l2.restart(at, size);
        self.l2_entries = 0;
        Ok(())
    }

    /// A place for cluster `index`, as the first word of its L2 entry.
    fn place<S: StepSink>(&mut self, outputs: &Outputs<'_, S>, index: u64) -> Result<u64, Error> {
        let cluster = match self.data_file {
            DataFile::None => self.space.take(&outputs.image)?,
            DataFile::External | DataFile::Raw => index,
        };
        Ok((cluster * self.geometry.cluster_size()) | COPIED)
    }

    /// Puts the L2 entry of the open cluster.
    fn close<S: StepSink>(&mut self, outputs: &Outputs<'_, S>) -> Result<(), Error> {
        let Some(mut cluster) = self.open.take() else { return Ok(()) };
        if self.preallocation == Preallocation::Full {
            self.fill(outputs, cluster)?;
        }
        if self.data_file == DataFile::Raw {
            cluster.data = !cluster.zero;
        }
        let entry = cluster.index % self.geometry.l2_entries();
        let skipped = entry - self.l2_entries;
        self.l2_entries = entry + 1;
        if self.geometry.extended_l2() {
            self.l2.push(&outputs.image, 2 * skipped, cluster.place)?;
            return self.l2.push(&outputs.image, 0, u64::from(cluster.zero) << 32 | u64::from(cluster.data));
        }
        let zero = if cluster.zero == 0 { 0 } else { ZERO };
        self.l2.push(&outputs.image, skipped, cluster.place | zero)
    }

    /// Writes zeros wherever the cluster's place has not been written.
    fn fill<S: StepSink>(&self, outputs: &Outputs<'_, S>, cluster: Cluster) -> Result<(), Error> {
        let size = self.geometry.subcluster_size();
        let mut first = 0;
        while first < SUBCLUSTERS {
            let (kind, count) = alike(cluster.data, 0, first);
            if kind == Kind::Unallocated {
                let at = (cluster.place & OFFSET_MASK) + u64::from(first) * size;
                let room = self.data_len.saturating_sub(at);
                outputs.data().zero(at, room.min(u64::from(count) * size))?;
            }
            first += count;
        }
        Ok(())
    }

    /// Writes what is left of the tables, and all refcounts.
    pub(crate) fn finish<S: StepSink>(mut self, outputs: &Outputs<'_, S>) -> Result<Refcounts, Error> {
        self.preallocate(outputs, self.count)?;
        self.l2.finish(&outputs.image)?;
        self.l1.finish(&outputs.image)?;
        let counts = self.packer.map(|packer| packer.finish(&outputs.image, &self.space)).transpose()?;
        let refcounts = self.space.refcounts()?;
        outputs.image.reserve(refcounts.file_len().unwrap_or(u64::MAX))?;
        refcounts.write(&outputs.image, counts)?;
        Ok(refcounts)
    }

    fn out_of_order(&self, index: u64) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            index.saturating_mul(self.geometry.cluster_size()),
            "extents out of order",
        )
    }
}

/// The L2 entry of a cluster that was compressed to `len` bytes at byte `at` of the file.
fn compressed(geometry: Geometry, at: u64, len: u64) -> Result<u64, Error> {
    // As many sectors as can be in two clusters are counted above the offset, which has what bits are left.
    let offset_bits = 70 - geometry.cluster_bits();
    if at >> offset_bits != 0 {
        return Err(Error::new(ErrorKind::TooLarge, at, "the file, for compressed clusters"));
    }
    let more_sectors = (at + len - 1) / 512 - at / 512;
    Ok(COMPRESSED | more_sectors << offset_bits | at)
}
