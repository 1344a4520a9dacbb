//! An output of any format, written from extents.

mod options;
mod target;

use fmt_core::{DiskPlan, Error, Extent, FileId, StepSink};
use fmt_qcow2::Qcow2Plan;
use fmt_raw::RawPlan;
use fmt_vhd::VhdPlan;
use fmt_vhdx::VhdxPlan;
use fmt_vmdk::VmdkPlan;

use crate::host::InFile;
use crate::{Failure, Host};

pub use options::Options;
pub use target::Target;

/// A disk being read: where its bytes are, in order.
pub type Extents<'e> = dyn Iterator<Item = Result<Extent, Failure>> + 'e;

/// Writes a disk of `size` bytes that consists of `extents` into `file`, as `options` say. `sink` is before `host`, which has
/// the files that the disk consists of besides.
///
/// # Errors
///
/// Those of the format, of the sink, and of the extents.
pub fn write<S: StepSink>(
    host: &impl Host,
    sink: &S,
    file: FileId,
    options: &Options<'_>,
    size: u64,
    extents: &mut Extents<'_>,
) -> Result<(), Failure> {
    match options {
        Options::Raw(_) => run(RawPlan::begin(sink, file, size), file, extents),
        Options::Qcow2(options) => run(Qcow2Plan::begin(sink, file, size, options), file, extents),
        Options::Vmdk(options) => {
            let plan = VmdkPlan::begin_with(sink, file, size, options, |_| Ok(host.create(file)));
            run(plan, file, extents)
        }
        Options::Vpc(options) => run(VhdPlan::begin(sink, file, size, options), file, extents),
        Options::Vhdx(options) => run(VhdxPlan::begin(sink, file, size, options), file, extents),
    }
}

fn run(plan: Result<impl DiskPlan, Error>, file: FileId, extents: &mut Extents<'_>) -> Result<(), Failure> {
    let mut plan = plan.in_file(file)?;
    for extent in extents {
        plan.extent(extent?).in_file(file)?;
    }
    plan.finish().in_file(file)
}
