//! An output of any format, written from extents.

use fmt_core::{DiskPlan, Error, ErrorKind, Extent, FileId, Format, StepSink};
use fmt_raw::RawPlan;
use guest_abi::identity::Identity;

use crate::Failure;
use crate::host::InFile;

/// Writes a disk of `size` bytes that consists of `extents` into `file`.
///
/// # Errors
///
/// [`ErrorKind::UnsupportedFormat`] for a format that cannot be written; those of the format, of the sink, and of the
/// extents.
pub fn write<S: StepSink>(
    sink: &S,
    file: FileId,
    format: Format,
    size: u64,
    _identity: &Identity,
    extents: impl Iterator<Item = Result<Extent, Failure>>,
) -> Result<(), Failure> {
    match format {
        Format::Raw => run(RawPlan::begin(sink, file, size), file, extents),
        other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())).in_file(file),
    }
}

fn run(
    plan: Result<impl DiskPlan, Error>,
    file: FileId,
    extents: impl Iterator<Item = Result<Extent, Failure>>,
) -> Result<(), Failure> {
    let mut plan = plan.in_file(file)?;
    for extent in extents {
        plan.extent(extent?).in_file(file)?;
    }
    plan.finish().in_file(file)
}
