//! The steps that write a VMDK.

use alloc::vec::Vec;

use fmt_core::{
    Codec, DiskPlan, Error, ErrorKind, Extent, FileId, Output, PackingPlan, Source, Step, StepSink, Zeros,
};

use crate::layout::{self, GRAIN_LEN, STREAM_GRAINS_AT};
use crate::options::{ExtentFile, NOT_COMPRESSED, Options, Subformat};
use crate::sparse::{GrainZeros, Manner, SparsePart};
use crate::stream::Stream;
use crate::text;

/// A VMDK being written, as `qemu-img` writes it, with grains of 64 KiB; a stream as the specification has it.
///
/// All files are given a length before the first is written. Grains lie in the order of the disk. Of a sparse file all is written, whatever the output held before: every table, in
/// both copies, and every byte before the first grain. A flat file is one that was emptied: it gets its length, and what
/// is unallocated, or of zeros that are absent, stays a hole.
///
/// A disk with a parent leaves whole grains to it: what begins or ends within one is refused.
#[derive(Debug)]
pub struct VmdkPlan<'s, S> {
    sink: &'s S,
    subformat: Subformat,
    manner: Manner,
    /// The disk's size in bytes, in whole sectors.
    size: u64,
    /// The files of the extents, in order.
    files: Vec<FileId>,
    /// The extent that is being written, and its number.
    part: Part<'s, S>,
    index: u32,
    /// Where the last extent ended.
    end: u64,
}

/// An extent being written.
#[derive(Debug)]
enum Part<'s, S> {
    Flat { output: Output<'s, S>, zeros: GrainZeros },
    Sparse(SparsePart<'s, S>),
    Stream(Stream<'s, S>),
}

impl<'s, S: StepSink> VmdkPlan<'s, S> {
    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file` alone.
    ///
    /// # Errors
    ///
    /// As [`begin_with`](Self::begin_with); [`ErrorKind::UnsupportedFeature`] for a subformat of several files.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options<'_>) -> Result<Self, Error> {
        let refuse = Error::new(ErrorKind::UnsupportedFeature, 0, "writing a VMDK of several files");
        Self::begin_with(sink, file, size, options, |_| Err(refuse))
    }

    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`.
    ///
    /// `open` is asked for each file that the disk consists of beside that one, in the disk's order, and answers with the
    /// output that has [this name](ExtentFile::name).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for a size of 0, which no reader would take, for options that contradict each
    /// other, and for names and versions that a descriptor cannot tell; [`ErrorKind::TooLarge`] for a disk whose grains,
    /// tables or extents are too many, and for a name or descriptor that is too long; those of `open`. Then no step has
    /// been taken. Those of the sink.
    pub fn begin_with(
        sink: &'s S,
        file: FileId,
        size: u64,
        options: &Options<'_>,
        mut open: impl FnMut(ExtentFile) -> Result<FileId, Error>,
    ) -> Result<Self, Error> {
        options.check()?;
        let Options { subformat, zeros, .. } = *options;
        let size = layout::disk_size(size, subformat)?;
        if (subformat, zeros) == (Subformat::MonolithicSparse, Zeros::Written) {
            SparsePart::<S>::check_dense(size)?;
        }
        let descriptor = text::descriptor(size, options)?;
        let parts = 0..layout::parts(size, subformat)?;
        let files = parts.map(|index| subformat.extent_file(index).map_or(Ok(file), &mut open));
        let files: Vec<FileId> = files.collect::<Result<_, _>>()?;

        let manner = Manner::of(options);
        let is_apart = subformat.extent_file(0).is_some();
        if is_apart {
            sink.step(Step::SetLen { file, len: descriptor.len() as u64 })?;
        }
        for (&file, index) in files.iter().zip(0..) {
            let len = Part::<S>::first_len(layout::part_len(size, subformat, index), subformat, manner);
            sink.step(Step::SetLen { file, len })?;
        }
        if is_apart {
            sink.step(Step::Write { file, dst: 0, bytes: &descriptor })?;
        }

        let len = layout::part_len(size, subformat, 0);
        let first = files.first().copied().unwrap_or(file);
        let embedded = if is_apart { &[] } else { descriptor.as_slice() };
        let part = Part::begin(sink, first, len, subformat, manner, embedded)?;
        Ok(Self { sink, subformat, manner, size, files, part, index: 0, end: 0 })
    }

    /// The first byte of the extent that is being written, once that is the one with byte `at` of the disk.
    fn enter(&mut self, at: u64) -> Result<u64, Error> {
        let part_len = self.subformat.part_len();
        while at / part_len > self.index.into() {
            self.next_part()?;
        }
        Ok(part_len.saturating_mul(self.index.into()))
    }

    /// Ends the extent that is being written, and begins the next.
    fn next_part(&mut self) -> Result<(), Error> {
        let index = self.index.saturating_add(1);
        let outside = Error::new(ErrorKind::TooLarge, 0, "the number of extents");
        let file = *self.files.get(index as usize).ok_or(outside)?;
        let len = layout::part_len(self.size, self.subformat, index);
        let part = Part::begin(self.sink, file, len, self.subformat, self.manner, &[])?;
        self.index = index;
        core::mem::replace(&mut self.part, part).finish()
    }

    /// Checks that `start..end` lies in the disk, behind all that has been written.
    fn advance(&mut self, start: u64, end: u64) -> Result<(), Error> {
        if start >= self.size || end > self.size {
            return Err(Error::new(ErrorKind::TooLarge, start, "an extent reaches beyond the disk"));
        }
        if start < self.end {
            return Err(Error::new(ErrorKind::Corrupt, start, "extents out of order"));
        }
        self.end = end;
        Ok(())
    }
}

impl<S: StepSink> DiskPlan for VmdkPlan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        if extent.source == Source::Unallocated {
            return Ok(());
        }
        self.advance(extent.start, extent.end())?;
        let mut rest = extent;
        while rest.len > 0 {
            let part_start = self.enter(rest.start)?;
            let part_end = part_start.saturating_add(self.subformat.part_len());
            let len = rest.len.min(part_end - rest.start);
            self.part.extent(Extent { start: rest.start - part_start, len, source: rest.source })?;
            rest = Extent { start: rest.start + len, len: rest.len - len, source: rest.source.after(len) };
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.enter(self.size - 1)?;
        self.part.finish()
    }
}

impl<S: StepSink> PackingPlan for VmdkPlan<'_, S> {
    #[expect(clippy::cast_possible_truncation, reason = "64 KiB")]
    fn unit_len(&self) -> u32 {
        GRAIN_LEN as u32
    }

    fn codec(&self) -> Codec {
        Codec::Zlib
    }

    fn packs_all(&self) -> bool {
        self.subformat == Subformat::StreamOptimized
    }

    fn packed(&mut self, start: u64, source: Source, len: u32) -> Result<(), Error> {
        if !self.packs_all() {
            return Err(Error::new(ErrorKind::UnsupportedFeature, start, NOT_COMPRESSED));
        }
        if !start.is_multiple_of(GRAIN_LEN) {
            return Err(Error::new(ErrorKind::Corrupt, start, "a compressed grain that is none"));
        }
        self.advance(start, start.saturating_add(GRAIN_LEN).min(self.size))?;
        match &mut self.part {
            Part::Stream(stream) => stream.packed(start, source, len.into()),
            Part::Flat { .. } | Part::Sparse(_) => Ok(()),
        }
    }
}

impl<'s, S: StepSink> Part<'s, S> {
    /// The length that the file of an extent of `len` bytes has at first.
    fn first_len(len: u64, subformat: Subformat, manner: Manner) -> u64 {
        match subformat {
            Subformat::MonolithicFlat | Subformat::TwoGbMaxExtentFlat => len,
            Subformat::MonolithicSparse | Subformat::TwoGbMaxExtentSparse => {
                SparsePart::<S>::first_len(len, manner)
            }
            Subformat::StreamOptimized => STREAM_GRAINS_AT,
        }
    }

    /// Begins an extent of `len` bytes in `file`, which has its [first length](Self::first_len).
    fn begin(
        sink: &'s S,
        file: FileId,
        len: u64,
        subformat: Subformat,
        manner: Manner,
        descriptor: &[u8],
    ) -> Result<Self, Error> {
        match subformat {
            Subformat::MonolithicFlat | Subformat::TwoGbMaxExtentFlat => {
                Ok(Self::Flat { output: Output::resume(sink, file, len, len), zeros: manner.zeros })
            }
            Subformat::MonolithicSparse | Subformat::TwoGbMaxExtentSparse => {
                SparsePart::begin(sink, file, len, manner, descriptor).map(Self::Sparse)
            }
            Subformat::StreamOptimized => {
                Stream::begin(sink, file, len, manner, descriptor).map(Self::Stream)
            }
        }
    }

    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        match self {
            Self::Flat { zeros: GrainZeros::Absent, .. } if extent.source == Source::Zero => Ok(()),
            Self::Flat { output, .. } => output.fill(extent.start, extent.len, extent.source),
            Self::Sparse(part) => part.extent(extent),
            Self::Stream(stream) => stream.extent(extent),
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self {
            Self::Flat { .. } => Ok(()),
            Self::Sparse(part) => part.finish(),
            Self::Stream(stream) => stream.finish(),
        }
    }
}
