//! The steps that write a VHD disk.

use core::ops::Range;

use fmt_core::{
    BlockFill, DiskPlan, Error, ErrorKind, Extent, FileId, Output, SECTOR, Source, StepSink, Zeros,
    round_up_to_sector,
};
use zerocopy::IntoBytes;

use crate::emit::{dynamic_header, footer};
use crate::footer::MAX_DISK_SIZE;
use crate::geometry::Geometry;
use crate::header::bitmap_len;
use crate::raw::{ENTRY_LEN, FOOTER_LEN, HEADER_LEN};
use crate::table::TableWriter;

/// The length of a block in bytes, as `qemu-img` and Hyper-V write it.
pub const BLOCK_SIZE: u32 = 2 << 20;

/// Where the block allocation table begins: behind the copy of the footer and the dynamic disk header.
pub(crate) const TABLE_OFFSET: u64 = FOOTER_LEN + HEADER_LEN;

const BLOCK_LEN: u64 = BLOCK_SIZE as u64;
const BITMAP_LEN: u64 = bitmap_len(BLOCK_LEN);
/// The bitmap of a block: every sector of it is there.
const BITMAP: [u8; 512] = [0xff; 512];
const _: () = assert!(BITMAP.len() as u64 == BITMAP_LEN, "the bitmap of a block takes one sector");

/// How the disk lies in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subformat {
    /// In blocks, as they are written.
    #[default]
    Dynamic,
    /// As a whole.
    Fixed,
}

/// What is up to the caller. Together with the extents it decides every byte of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The image's identity. It should be unique.
    pub unique_id: [u8; 16],
    /// The time of writing, in seconds since 2000-01-01 00:00:00 UTC ([`time_stamp`]).
    pub time_stamp: u32,
    /// How the disk lies in the file.
    pub subformat: Subformat,
    /// Gives the disk the size that was asked for (in whole sectors) instead of the next one that is a geometry.
    ///
    /// As in `qemu-img`, the creator is then `qem2` instead of `qemu`. Virtual PC would truncate the disk; everyone
    /// else reads it as it is.
    pub force_size: bool,
    /// What becomes of zeros. Where they are absent, blocks of zeros are not in a dynamic image.
    pub zeros: Zeros,
}

/// The time stamp for a time in seconds since 1970-01-01 00:00:00 UTC, or the nearest that there is.
///
/// ```
/// assert_eq!(fmt_vhd::plan::time_stamp(946_684_800), 0);
/// ```
#[must_use]
pub fn time_stamp(unix_time: u64) -> u32 {
    const YEAR_2000: u64 = 946_684_800;
    u32::try_from(unix_time.saturating_sub(YEAR_2000)).unwrap_or(u32::MAX)
}

/// The size that a disk is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// In bytes.
    pub(crate) size: u64,
    /// As a geometry.
    pub(crate) geometry: Geometry,
}

impl Capacity {
    /// The size for a disk of at least `wanted` bytes.
    pub(crate) fn new(wanted: u64, options: &Options) -> Result<Self, Error> {
        let too_large = Error::new(ErrorKind::TooLarge, 0, "a VHD disk holds at most 2040 GiB");
        let exact = round_up_to_sector(wanted).filter(|&exact| exact <= MAX_DISK_SIZE).ok_or(too_large)?;
        let geometry = if options.force_size { Geometry::MAX } else { Geometry::at_least(exact / SECTOR) };
        let size = if geometry == Geometry::MAX { exact } else { geometry.sectors() * SECTOR };
        Ok(Self { size, geometry })
    }
}

/// The virtual size in bytes of the image that a disk of `size` bytes becomes. It may be larger: the rest are zeros.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] when the disk is larger than [`MAX_DISK_SIZE`].
pub fn virtual_size(size: u64, options: &Options) -> Result<u64, Error> {
    Capacity::new(size, options).map(|capacity| capacity.size)
}

/// The length in bytes that the image of a disk of `size` bytes has if all of it is allocated, which is the most.
///
/// # Errors
///
/// Those of [`VhdPlan::begin`], but for the sink's.
pub fn max_len(size: u64, options: &Options) -> Result<u64, Error> {
    let capacity = Capacity::new(size, options)?;
    Ok(match options.subformat {
        Subformat::Fixed if capacity.size == 0 => return Err(EMPTY_FIXED),
        Subformat::Fixed => capacity.size + FOOTER_LEN,
        // No number here is above 2^42.
        Subformat::Dynamic => {
            let blocks = size.div_ceil(BLOCK_LEN);
            blocks_offset(capacity.size) + blocks * (BITMAP_LEN + BLOCK_LEN) + FOOTER_LEN
        }
    })
}

/// Its only footer would stand at the start of the file, where no reader expects it.
const EMPTY_FIXED: Error =
    Error::new(ErrorKind::UnsupportedFeature, 0, "a fixed VHD of an empty disk, which nothing could read");

/// Where blocks begin: behind the table of a disk of `size` bytes, in whole sectors.
fn blocks_offset(size: u64) -> u64 {
    TABLE_OFFSET + (size.div_ceil(BLOCK_LEN) * ENTRY_LEN).next_multiple_of(SECTOR)
}

/// A VHD disk being written.
///
/// A dynamic image is laid out as `qemu-img` does it: the copy of the footer, the dynamic disk header, the block
/// allocation table, then blocks in the order in which extents touch them, then the footer. A block that an extent
/// touches is written as a whole. The headers are written last, so that what is not finished is not an image.
///
/// The disk may be larger than what was asked for ([`virtual_size`]); what lies beyond reads as zeros.
#[derive(Debug)]
pub struct VhdPlan<'s, S> {
    output: Output<'s, S>,
    options: Options,
    capacity: Capacity,
    /// Where the next extent may begin, and where the last must end: what was asked for, in whole sectors.
    left: Range<u64>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Fixed(Fixed),
    Dynamic(Dynamic),
}

impl<'s, S: StepSink> VhdPlan<'s, S> {
    /// Begins an image of a disk of `size` bytes in the output `file`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when the disk is larger than [`MAX_DISK_SIZE`], [`ErrorKind::UnsupportedFeature`] for a
    /// fixed image of size 0; and those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options) -> Result<Self, Error> {
        let capacity = Capacity::new(size, options)?;
        let max_len = max_len(size, options)?;
        let (body, first) = match options.subformat {
            Subformat::Fixed => (Body::Fixed(Fixed { written: 0 }), max_len),
            Subformat::Dynamic => {
                (Body::Dynamic(Dynamic::new(capacity.size, options.zeros)), blocks_offset(capacity.size))
            }
        };
        let len = if options.zeros == Zeros::Written { max_len } else { first };
        let output = Output::begin(sink, file, len, max_len)?;
        // Less than the capacity, which fits.
        let left = 0..size.next_multiple_of(SECTOR);
        Ok(Self { output, options: *options, capacity, left, body })
    }
}

impl<S: StepSink> DiskPlan for VhdPlan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(ErrorKind::Corrupt, extent.start, what));
        if extent.start < self.left.start {
            return wrong("extents out of order");
        }
        if extent.end() > self.left.end {
            return wrong("an extent beyond the end of the disk");
        }
        self.left.start = extent.end();
        match &mut self.body {
            Body::Fixed(fixed) => fixed.extent(&self.output, extent),
            Body::Dynamic(dynamic) => dynamic.extent(&self.output, extent),
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        let (output, footer) = (&self.output, footer(self.capacity, &self.options));
        let len = match &mut self.body {
            Body::Fixed(fixed) => fixed.finish(output, self.capacity.size)?,
            Body::Dynamic(dynamic) => {
                let len = dynamic.finish(output)?;
                let header = dynamic_header(dynamic.table.entries());
                output.write(0, footer.as_bytes())?;
                output.write(FOOTER_LEN, header.as_bytes())?;
                len
            }
        };
        let end = len + FOOTER_LEN;
        output.reserve(end)?;
        output.write(len, footer.as_bytes())?;
        output.finish(end)
    }
}

/// The blocks of a dynamic image.
#[derive(Debug)]
struct Dynamic {
    fill: BlockFill,
    table: TableWriter,
    /// Where the next block will be, bitmap first.
    next: u64,
}

impl Dynamic {
    fn new(size: u64, zeros: Zeros) -> Self {
        let table = TableWriter::new(TABLE_OFFSET, size.div_ceil(BLOCK_LEN));
        Self { fill: BlockFill::new(BLOCK_LEN).with_zeros(zeros), table, next: blocks_offset(size) }
    }

    fn extent<S: StepSink>(&mut self, output: &Output<'_, S>, extent: Extent) -> Result<(), Error> {
        let Self { fill, table, next } = self;
        fill.extent(output.sink, output.file, extent, |index| {
            let at = *next;
            *next += BITMAP_LEN + BLOCK_LEN;
            output.reserve(*next)?;
            table.set(output, index, at / SECTOR)?;
            output.write(at, &BITMAP)?;
            Ok(at + BITMAP_LEN)
        })
    }

    /// Returns where the blocks end.
    fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<u64, Error> {
        self.fill.finish(output.sink, output.file)?;
        self.table.finish(output)?;
        Ok(self.next)
    }
}

/// The bytes of a fixed image. What no extent covers is written too: a fixed disk has no other way to say zeros.
#[derive(Debug)]
struct Fixed {
    /// How many have been written.
    written: u64,
}

impl Fixed {
    fn extent<S: StepSink>(&mut self, output: &Output<'_, S>, extent: Extent) -> Result<(), Error> {
        let Extent { start, len, source } = extent;
        if source == Source::Unallocated {
            return Ok(());
        }
        self.zero_to(output, start)?;
        output.fill(start, len, source)?;
        self.written = extent.end();
        Ok(())
    }

    /// Returns where the disk ends.
    fn finish<S: StepSink>(&mut self, output: &Output<'_, S>, size: u64) -> Result<u64, Error> {
        self.zero_to(output, size)?;
        Ok(size)
    }

    fn zero_to<S: StepSink>(&mut self, output: &Output<'_, S>, to: u64) -> Result<(), Error> {
        // Extents come in order, and none reaches beyond the disk.
        output.zero(self.written, to.saturating_sub(self.written))?;
        self.written = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
