//! The steps that write a qcow2 disk.
//!
//! ```text
//! cluster 0        header, feature names
//!         1 ..     L1 table
//!         then     for each L2 table that is needed: the table, then its data clusters, in ascending order
//!         then     refcount blocks, refcount table
//! ```
//!
//! Clusters are taken one after the other as extents arrive, so that none is left out, and every refcount is one.
//! The header comes last: before that the file is no image.

use fmt_core::{BlockFill, DiskPlan, Error, ErrorKind, Extent, FileId, StepSink, round_up_to_sector};

use crate::clusters::Clusters;
use crate::geometry::Geometry;
use crate::limits::MAX_L1_LEN;
use crate::output::Output;
use crate::raw::L1_ENTRY_LEN;
use crate::refcount::Refcounts;
use crate::start;

/// What kind of image to write. The default is what `qemu-img` makes without options: version 3, clusters of 64 KiB,
/// refcounts of 16 bits, deflate for clusters that come to be compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    geometry: Geometry,
}

impl Options {
    /// Clusters of `bytes`: a power of two from 512 to 2 MiB. `None` for another number.
    ///
    /// ```
    /// let options = fmt_qcow2::Options::default().cluster_size(4096).unwrap();
    /// assert_eq!(options.geometry().cluster_size(), 4096);
    /// ```
    #[must_use]
    pub const fn cluster_size(self, bytes: u64) -> Option<Self> {
        if !bytes.is_power_of_two() {
            return None;
        }
        match Geometry::new(bytes.ilog2(), false) {
            Some(geometry) => Some(Self { geometry }),
            None => None,
        }
    }

    /// The sizes of clusters and tables.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The length in bytes of a file that holds a disk of `size` bytes, every cluster of it allocated.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when the disk needs an L1 table of more than [`MAX_L1_LEN`] bytes: with the usual
    /// clusters, when it is larger than 2<sup>51</sup> bytes.
    pub fn max_len(&self, size: u64) -> Result<u64, Error> {
        let (size, geometry) = (whole_sectors(size)?, self.geometry);
        let tables = geometry.l1_entries(size);
        if tables > MAX_L1_LEN / L1_ENTRY_LEN {
            return Err(too_large("the disk, for clusters of this size"));
        }
        // A disk with such an L1 table has at most 2^61 bytes.
        let used = 1 + Clusters::of_l1(geometry, size) + tables + size.div_ceil(geometry.cluster_size());
        let len = Refcounts::after(geometry, used).and_then(|refcounts| refcounts.file_len());
        len.ok_or(too_large("the file"))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { geometry: USUAL }
    }
}

const USUAL: Geometry = match Geometry::new(16, false) {
    Some(geometry) => geometry,
    None => panic!("there are clusters of 64 KiB"),
};

/// A qcow2 disk being written. It holds a piece of the L1 table and a piece of one L2 table, 64 KiB each at most.
///
/// Every extent is allocated and written, zeros included; what no extent covers is not allocated. All that a
/// reader of the image reads is written, whatever the output held before.
#[derive(Debug)]
pub struct Qcow2Plan<'s, S> {
    output: Output<'s, S>,
    /// The disk's size in bytes.
    size: u64,
    /// The length that the file was given at first.
    bound: u64,
    fill: BlockFill,
    clusters: Clusters,
}

impl<'s, S: StepSink> Qcow2Plan<'s, S> {
    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`, which has the length
    /// [`Options::max_len`] until the end.
    ///
    /// # Errors
    ///
    /// As [`Options::max_len`], and those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options) -> Result<Self, Error> {
        let bound = options.max_len(size)?;
        let size = whole_sectors(size)?;
        let geometry = options.geometry;
        let output = Output { sink, file };
        output.set_len(bound)?;
        let fill = BlockFill::new(geometry.cluster_size());
        Ok(Self { output, size, bound, fill, clusters: Clusters::new(geometry, size) })
    }
}

impl<S: StepSink> DiskPlan for Qcow2Plan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        if extent.end() > self.size {
            return Err(too_large("an extent beyond the end of the disk"));
        }
        let (output, clusters) = (&self.output, &mut self.clusters);
        self.fill.extent(output.sink, output.file, extent, |index| clusters.allocate(output, index))
    }

    fn finish(mut self) -> Result<(), Error> {
        self.fill.finish(self.output.sink, self.output.file)?;
        let refcounts = self.clusters.finish(&self.output)?;
        refcounts.write(&self.output)?;
        start::write(&self.output, self.clusters.geometry(), self.size, &refcounts)?;
        match refcounts.file_len() {
            Some(len) if len != self.bound => self.output.set_len(len),
            _ => Ok(()),
        }
    }
}

fn whole_sectors(size: u64) -> Result<u64, Error> {
    round_up_to_sector(size).ok_or(too_large("the disk"))
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
