//! The steps that write a VHDX disk.

use alloc::vec::Vec;

use fmt_core::{BlockFill, DiskPlan, Error, ErrorKind, Extent, FileId, Output, StepSink, Zeros};

use crate::bat::{BatEntry, BatLayout, ENTRY_LEN};
use crate::emit;
use crate::layout::{Layout, Options, Subformat};
use crate::region::Region;

/// How much of the BAT is written at a time, in bytes.
const BAT_PIECE: usize = 32 << 10;

/// A VHDX disk being written: payload blocks as extents come, the BAT behind them, headers last.
///
/// A block is allocated when the first extent touches it, and then written as a whole. What no extent covers is not
/// allocated in a dynamic disk, and zeros in a fixed one. All that is read of a file is written, save the log, which the
/// headers say to be empty: what was in the file before does not matter.
#[derive(Debug)]
pub struct VhdxPlan<'s, S> {
    output: Output<'s, S>,
    options: Options,
    fill: BlockFill,
    blocks: Blocks,
}

impl<'s, S: StepSink> VhdxPlan<'s, S> {
    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`, which is given the length
    /// [`Options::max_len`] until the end.
    ///
    /// # Errors
    ///
    /// Those of [`Options::max_len`], before any step; and those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64, options: &Options) -> Result<Self, Error> {
        let layout = Layout::new(size, options)?;
        let max = layout.block_at(layout.blocks.blocks);
        let is_dense = options.zeros == Zeros::Written || options.subformat == Subformat::Fixed;
        let len = if is_dense { max } else { layout.data_at };
        Ok(Self {
            output: Output::begin(sink, file, len, max)?,
            options: *options,
            fill: BlockFill::new(layout.blocks.block_size).with_zeros(options.zeros),
            blocks: Blocks::new(layout, options),
        })
    }
}

impl<S: StepSink> DiskPlan for VhdxPlan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { output, fill, blocks, .. } = self;
        if extent.end() > blocks.layout.size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                extent.start,
                "an extent reaches beyond the disk's end",
            ));
        }
        fill.extent(output.sink, output.file, extent, |block| blocks.allocate(output, block))
    }

    fn finish(mut self) -> Result<(), Error> {
        let (output, layout) = (&self.output, self.blocks.layout);
        self.fill.finish(output.sink, output.file)?;
        let allocated = self.blocks.finish(output)?;
        emit::write(output, &layout, &self.options)?;
        output.finish(layout.block_at(allocated))
    }
}

/// Hands out payload blocks.
#[derive(Debug)]
struct Blocks {
    layout: Layout,
    subformat: Subformat,
    bat: BatWriter,
    /// How many blocks are in the file.
    allocated: u64,
}

impl Blocks {
    const fn new(layout: Layout, options: &Options) -> Self {
        let absent = if options.block_state_zero { BatEntry::ZERO } else { BatEntry::NOT_PRESENT };
        let bat = BatWriter::new(layout.bat, layout.blocks, absent);
        Self { layout, subformat: options.subformat, bat, allocated: 0 }
    }

    /// The byte offset in the file for payload block `block`, which must lie behind all before.
    fn allocate<S: StepSink>(&mut self, output: &Output<'_, S>, block: u64) -> Result<u64, Error> {
        if self.subformat == Subformat::Fixed {
            self.fill_up_to(output, block)?;
        }
        let offset = self.layout.block_at(self.allocated);
        let index = self.layout.blocks.payload_index(block);
        self.bat.put(output, index, BatEntry::fully_present(offset))?;
        self.allocated += 1;
        output.reserve(self.layout.block_at(self.allocated))?;
        Ok(offset)
    }

    /// Allocates what is missing before payload block `end`, as zeros.
    fn fill_up_to<S: StepSink>(&mut self, output: &Output<'_, S>, end: u64) -> Result<(), Error> {
        let dst = self.layout.block_at(self.allocated);
        let len = self.layout.block_at(end).saturating_sub(dst);
        output.zero(dst, len)?;
        while self.allocated < end {
            let entry = BatEntry::fully_present(self.layout.block_at(self.allocated));
            self.bat.put(output, self.layout.blocks.payload_index(self.allocated), entry)?;
            self.allocated += 1;
        }
        Ok(())
    }

    /// Writes what is left of the BAT, and tells how many blocks are in the file.
    fn finish<S: StepSink>(mut self, output: &Output<'_, S>) -> Result<u64, Error> {
        if self.subformat == Subformat::Fixed {
            self.fill_up_to(output, self.layout.blocks.blocks)?;
        }
        self.bat.finish(output)?;
        Ok(self.allocated)
    }
}

/// Writes the BAT from its first entry to its last, then zeros to the region's end.
#[derive(Debug)]
struct BatWriter {
    region: Region,
    blocks: BatLayout,
    /// The entry of a payload block that is not put.
    absent: BatEntry,
    /// How many bytes of the region have been written.
    written: u64,
    /// What comes next, not written yet. Never more than [`BAT_PIECE`].
    next: Vec<u8>,
}

impl BatWriter {
    const fn new(region: Region, blocks: BatLayout, absent: BatEntry) -> Self {
        Self { region, blocks, absent, written: 0, next: Vec::new() }
    }

    /// Puts `entry` at `index`, which must be larger than that of the entry before.
    fn put<S: StepSink>(&mut self, output: &Output<'_, S>, index: u64, entry: BatEntry) -> Result<(), Error> {
        self.absent_to(output, index)?;
        self.push(output, entry)
    }

    fn finish<S: StepSink>(mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.absent_to(output, self.blocks.entries(false))?;
        self.flush(output)?;
        let Region { at, len } = self.region;
        output.zero(at + self.written, len.saturating_sub(self.written))
    }

    /// Goes on up to entry `end` with what is not in the file.
    fn absent_to<S: StepSink>(&mut self, output: &Output<'_, S>, end: u64) -> Result<(), Error> {
        if self.absent == BatEntry::NOT_PRESENT {
            return self.zeros_to(output, end * ENTRY_LEN);
        }
        for index in self.entries()..end {
            let entry = if self.blocks.is_bitmap(index) { BatEntry::NOT_PRESENT } else { self.absent };
            self.push(output, entry)?;
        }
        Ok(())
    }

    /// How many entries there are so far.
    fn entries(&self) -> u64 {
        (self.written + self.next.len() as u64) / ENTRY_LEN
    }

    fn push<S: StepSink>(&mut self, output: &Output<'_, S>, entry: BatEntry) -> Result<(), Error> {
        self.next.extend(entry.0.to_le_bytes());
        if self.next.len() >= BAT_PIECE { self.flush(output) } else { Ok(()) }
    }

    /// Goes on with zeros up to byte `end` of the region.
    fn zeros_to<S: StepSink>(&mut self, output: &Output<'_, S>, end: u64) -> Result<(), Error> {
        match usize::try_from(end.saturating_sub(self.written)) {
            Ok(len) if len < BAT_PIECE => self.next.resize(len.max(self.next.len()), 0),
            _ => {
                self.flush(output)?;
                output.zero(self.region.at + self.written, end.saturating_sub(self.written))?;
                self.written = end.max(self.written);
            }
        }
        Ok(())
    }

    fn flush<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        if !self.next.is_empty() {
            output.write(self.region.at + self.written, &self.next)?;
            self.written += self.next.len() as u64;
            self.next.clear();
        }
        Ok(())
    }
}
