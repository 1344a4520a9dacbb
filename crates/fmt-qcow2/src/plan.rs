//! The steps that write a qcow2 disk.
//!
//! ```text
//! cluster 0        header, extensions, name of the backing file
//!         1 ..     L1 table
//!         then     for each L2 table that is needed: the table, then its data clusters, in ascending order
//!         then     refcount blocks, refcount table
//! ```
//!
//! Clusters are taken one after the other as extents arrive, so that none is left out. Where clusters are compressed, some
//! refcount blocks lie among the data. The header comes last: before that the file is no image.

use core::ops::Range;

use fmt_core::{
    BlockFill, Codec, DiskPlan, Error, ErrorKind, Extent, FileId, Output, PackingPlan, Source, StepSink,
    Zeros,
};

use crate::clusters::Clusters;
use crate::geometry::Geometry;
use crate::header::Version;
use crate::options::{Design, Options, Preallocation};
use crate::output::Outputs;
use crate::start::Start;

/// A qcow2 disk being written. It holds a piece of the L1 table, a piece of one L2 table, and a piece of one refcount
/// block, 64 KiB each at most.
///
/// What extents cover is allocated and written, but for zeros where [`Options::zeros`] says so; what no extent covers is
/// not allocated. All that a reader of the image reads is written, whatever the output held before, but for what was
/// [preallocated](Preallocation).
///
/// With a backing file, extents agree with the boundaries of [blocks](Options::block_len): a block is wholly covered, up
/// to the end of the disk, or left to the backing file. What covers a part of one is refused.
///
/// Compressed clusters are packed byte after byte behind each other.
#[derive(Debug)]
pub struct Qcow2Plan<'s, S> {
    outputs: Outputs<'s, S>,
    /// The disk's size in bytes.
    size: u64,
    codec: Codec,
    /// Why clusters cannot be compressed, if they cannot.
    unpackable: Option<&'static str>,
    start: Start,
    fill: BlockFill,
    clusters: Clusters,
    overlay: Option<Overlay>,
}

/// What the plan of a disk above a backing file has to know.
#[derive(Debug)]
struct Overlay {
    /// Whether zeros are marked where they are whole blocks.
    marks_zeros: bool,
    /// Zeros that may go on.
    zeros: Range<u64>,
    /// The end of what has been covered last.
    covered: u64,
}

impl<'s, S: StepSink> Qcow2Plan<'s, S> {
    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`. That has the length
    /// [`Options::max_len`] until the end or, where much is left out of it, grows as far as it has to.
    ///
    /// # Errors
    ///
    /// As [`Options::max_len`], and those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options<'_>) -> Result<Self, Error> {
        let design = options.design(size)?;
        let start = Start::new(&design, options)?;
        let clusters = Clusters::new(&design, options);
        let overlay = options.backing_file.map(|_| Overlay {
            marks_zeros: options.zeros == Zeros::Absent && design.version > Version::V2,
            zeros: 0..0,
            covered: 0,
        });
        let fill = BlockFill::new(design.geometry.block_len());
        let fill = if overlay.is_some() { fill } else { fill.with_zeros(options.zeros) };
        let fill = if options.data_file.is_some() { fill.ending_at(design.size) } else { fill };
        let outputs = begin_outputs(sink, file, &design, options)?;
        Ok(Self {
            outputs,
            size: design.size,
            codec: options.codec,
            unpackable: options.unpackable(),
            start,
            fill,
            clusters,
            overlay,
        })
    }

    fn geometry(&self) -> Geometry {
        self.clusters.geometry()
    }

    fn write(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { outputs, fill, clusters, .. } = self;
        let data = outputs.data();
        fill.extent(data.sink, data.file, extent, |block| clusters.allocate(outputs, block))
    }

    /// Writes an extent above a backing file.
    fn write_over(&mut self, extent: Extent) -> Result<(), Error> {
        let range = extent.start..extent.end();
        self.cover(&range)?;
        let marked = |overlay: &&mut Overlay| overlay.marks_zeros && extent.source == Source::Zero;
        let Some(overlay) = self.overlay.as_mut().filter(marked) else {
            self.settle()?;
            return self.write(extent);
        };
        if overlay.zeros.end == range.start {
            overlay.zeros.end = range.end;
            return Ok(());
        }
        let zeros = core::mem::replace(&mut overlay.zeros, range);
        self.mark(zeros)
    }

    /// Takes note of what is covered next.
    fn cover(&mut self, range: &Range<u64>) -> Result<(), Error> {
        let (block_len, size) = (self.geometry().block_len(), self.size);
        self.overlay.as_mut().map_or(Ok(()), |overlay| overlay.cover(range, block_len, size))
    }

    /// Marks the zeros that may have gone on, and did not.
    fn settle(&mut self) -> Result<(), Error> {
        let zeros = self.overlay.as_mut().map(|overlay| core::mem::take(&mut overlay.zeros));
        zeros.map_or(Ok(()), |zeros| self.mark(zeros))
    }

    /// Marks zeros in whole blocks, and writes those that share a block with something else.
    fn mark(&mut self, zeros: Range<u64>) -> Result<(), Error> {
        let (block_len, size) = (self.geometry().block_len(), self.size);
        // Nobody reads beyond the end of the disk.
        let end = if zeros.end == size { size.next_multiple_of(block_len) } else { zeros.end };
        let marked = zeros.start.next_multiple_of(block_len)..end - end % block_len;
        if marked.is_empty() {
            return self.write_zeros(zeros);
        }
        self.write_zeros(zeros.start..marked.start)?;
        for block in marked.start / block_len..marked.end / block_len {
            self.clusters.zero(&self.outputs, block)?;
        }
        self.write_zeros(marked.end..zeros.end)
    }

    fn write_zeros(&mut self, range: Range<u64>) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        self.write(Extent { start: range.start, len: range.end - range.start, source: Source::Zero })
    }
}

impl<S: StepSink> DiskPlan for Qcow2Plan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        if extent.end() > self.size {
            return Err(too_large("an extent beyond the end of the disk"));
        }
        match extent.source {
            Source::Unallocated => Ok(()),
            _ if self.overlay.is_some() => self.write_over(extent),
            _ => self.write(extent),
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.settle()?;
        self.cover(&(self.size..self.size))?;
        let Self { outputs, start, mut fill, clusters, .. } = self;
        fill.finish(outputs.data().sink, outputs.data().file)?;
        let refcounts = clusters.finish(&outputs)?;
        start.write(&outputs.image, &refcounts)?;
        refcounts.file_len().map_or(Ok(()), |len| outputs.image.finish(len))
    }
}

impl<S: StepSink> PackingPlan for Qcow2Plan<'_, S> {
    fn unit_len(&self) -> u32 {
        // Clusters have at most 2 MiB.
        1 << self.geometry().cluster_bits()
    }

    fn codec(&self) -> Codec {
        self.codec
    }

    fn packed(&mut self, start: u64, source: Source, len: u32) -> Result<(), Error> {
        if let Some(what) = self.unpackable {
            return Err(Error::new(ErrorKind::UnsupportedFeature, 0, what));
        }
        let size = self.geometry().cluster_size();
        if start >= self.size {
            return Err(too_large("a compressed cluster beyond the end of the disk"));
        }
        if !start.is_multiple_of(size) {
            return Err(Error::new(ErrorKind::Corrupt, start, "a compressed cluster that begins within one"));
        }
        if !(1..size).contains(&u64::from(len)) {
            return Err(Error::new(ErrorKind::TooLarge, start, "a compressed cluster that is not smaller"));
        }
        self.settle()?;
        self.cover(&(start..start.saturating_add(size).min(self.size)))?;
        self.clusters.pack(&self.outputs, start / size, source, len)
    }
}

impl Overlay {
    /// Takes note that `range` is covered. What is covered begins and ends with blocks, or with the disk.
    fn cover(&mut self, range: &Range<u64>, block_len: u64, size: u64) -> Result<(), Error> {
        if range.start < self.covered {
            return Err(Error::new(ErrorKind::Corrupt, range.start, "extents out of order"));
        }
        let is_edge = |at: u64| at.is_multiple_of(block_len) || at == size;
        if range.start != self.covered && !(is_edge(self.covered) && is_edge(range.start)) {
            let what = "a cluster of which only a part is left to the backing file";
            return Err(Error::new(ErrorKind::UnsupportedFeature, self.covered, what));
        }
        self.covered = range.end;
        Ok(())
    }
}

/// The output files, as long as they have to be to begin with.
fn begin_outputs<'s, S: StepSink>(
    sink: &'s S,
    file: FileId,
    design: &Design,
    options: &Options<'_>,
) -> Result<Outputs<'s, S>, Error> {
    let size = design.geometry.cluster_size();
    let is_sparse = options.zeros == Zeros::Absent && options.preallocates() == Preallocation::Off;
    let first = (1 + design.geometry.l1_clusters(design.size)) * size;
    let len = if is_sparse { first } else { design.max_len };
    let image = Output::begin(sink, file, len, design.max_len)?;
    let data = options.data_file.map(|data| Output::begin(sink, data.file, design.size, design.size));
    Ok(Outputs { image, data: data.transpose()? })
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
