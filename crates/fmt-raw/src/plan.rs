//! The steps that write a raw disk.

use fmt_core::{DiskPlan, Error, ErrorKind, Extent, FileId, Source, Step, StepSink, round_up_to_sector};

/// A raw disk being written: its length and what pads the last sector first, then extent by extent.
///
/// Every extent is written, zeros included. What no extent covers is left as it was: a hole in a new file.
///
/// ```
/// use std::cell::Cell;
/// use fmt_core::{DiskPlan, Error, Extent, FileId, Source, Step, StepSink};
/// use fmt_raw::RawPlan;
///
/// struct Count(Cell<u64>);
/// impl StepSink for Count {
///     fn step(&self, step: Step<'_>) -> Result<(), Error> {
///         if let Step::Fill { len, .. } = step {
///             self.0.set(self.0.get() + len);
///         }
///         Ok(())
///     }
/// }
///
/// let count = Count(Cell::new(0));
/// let mut plan = RawPlan::begin(&count, FileId(1), 1000).unwrap();
/// plan.extent(Extent { start: 0, len: 1000, source: Source::Zero }).unwrap();
/// plan.finish().unwrap();
/// assert_eq!(count.0.get(), 1024);
/// ```
#[derive(Debug)]
pub struct RawPlan<'s, S> {
    sink: &'s S,
    file: FileId,
}

impl<'s, S: StepSink> RawPlan<'s, S> {
    /// Begins a disk of `size` bytes, rounded up to whole sectors, in the output `file`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when the size in whole sectors does not fit 64 bits, and those of the sink.
    pub fn begin(sink: &'s S, file: FileId, size: u64) -> Result<Self, Error> {
        let len = round_up_to_sector(size).ok_or(Error::new(ErrorKind::TooLarge, 0, "the disk"))?;
        sink.step(Step::SetLen { file, len })?;
        let mut plan = Self { sink, file };
        if len > size {
            plan.extent(Extent { start: size, len: len - size, source: Source::Zero })?;
        }
        Ok(plan)
    }
}

impl<S: StepSink> DiskPlan for RawPlan<'_, S> {
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Extent { start: dst, len, source } = extent;
        match source {
            Source::Unallocated => Ok(()),
            source => self.sink.step(Step::Fill { file: self.file, dst, len, source }),
        }
    }

    fn finish(self) -> Result<(), Error> {
        Ok(())
    }
}
