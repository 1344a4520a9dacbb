//! An output of any format, written from extents.

use fmt_core::{DiskPlan, Error, ErrorKind, Extent, FileId, Format, StepSink};
use fmt_qcow2::Qcow2Plan;
use fmt_raw::RawPlan;
use fmt_vhd::VhdPlan;
use fmt_vhdx::VhdxPlan;
use fmt_vmdk::VmdkPlan;
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
    identity: &Identity,
    extents: impl Iterator<Item = Result<Extent, Failure>>,
) -> Result<(), Failure> {
    match format {
        Format::Raw => run(RawPlan::begin(sink, file, size), file, extents),
        Format::Qcow2 => {
            run(Qcow2Plan::begin(sink, file, size, &fmt_qcow2::Options::default()), file, extents)
        }
        Format::Vmdk => {
            let options = fmt_vmdk::Options::new(identity.number(), identity.name());
            run(VmdkPlan::begin(sink, file, size, &options), file, extents)
        }
        Format::Vpc => {
            let unique_id = identity.uuid(0);
            let time_stamp = fmt_vhd::plan::time_stamp(identity.unix_time);
            let options = fmt_vhd::Options { unique_id, time_stamp, ..fmt_vhd::Options::default() };
            run(VhdPlan::begin(sink, file, size, &options), file, extents)
        }
        Format::Vhdx => run(VhdxPlan::begin(sink, file, size, &vhdx_options(identity)), file, extents),
        other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())).in_file(file),
    }
}

fn vhdx_options(identity: &Identity) -> fmt_vhdx::Options {
    // A UUID as it is written down, which a GUID in memory is not.
    let guid = |n| {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d @ ..] = identity.uuid(n);
        let a = u32::from_be_bytes([a0, a1, a2, a3]);
        fmt_vhdx::Guid::new(a, u16::from_be_bytes([b0, b1]), u16::from_be_bytes([c0, c1]), d)
    };
    fmt_vhdx::Options::new(guid(1), guid(2), guid(0))
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
