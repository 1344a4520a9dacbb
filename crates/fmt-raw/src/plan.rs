//! The steps that write a raw disk.

use fmt_core::{Error, ErrorKind, Extent, FileId, Source, Step, StepSink, round_up_to_sector};

/// A raw disk being written: its length and what pads the last sector first, then extent by extent.
///
/// Every extent is written, zeros included. What no extent covers is left as it was: a hole in a new file.
///
/// ```
/// use std::cell::RefCell;
/// use fmt_core::{Error, Extent, FileId, Source, Step, StepSink};
/// use fmt_raw::RawPlan;
///
/// struct List(RefCell<Vec<Step>>);
/// impl StepSink for List {
///     fn step(&self, step: Step) -> Result<(), Error> {
///         self.0.borrow_mut().push(step);
///         Ok(())
///     }
/// }
///
/// let list = List(RefCell::default());
/// let plan = RawPlan::begin(&list, FileId(1), 1000).unwrap();
/// plan.extent(Extent { start: 0, len: 1000, source: Source::Zero }).unwrap();
/// assert_eq!(list.0.into_inner(), [
///     Step::SetLen { file: FileId(1), len: 1024 },
///     Step::Zero { file: FileId(1), dst: 1000, len: 24 },
///     Step::Zero { file: FileId(1), dst: 0, len: 1000 },
/// ]);
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
        let plan = Self { sink, file };
        if len > size {
            plan.extent(Extent { start: size, len: len - size, source: Source::Zero })?;
        }
        Ok(plan)
    }

    /// Writes one extent of the disk, which must lie within its size.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn extent(&self, extent: Extent) -> Result<(), Error> {
        let Extent { start: dst, len, source } = extent;
        let file = self.file;
        self.sink.step(match source {
            Source::Zero => Step::Zero { file, dst, len },
            Source::Data { file: src_file, offset: src } => Step::Copy { src_file, src, file, dst, len },
        })
    }
}
