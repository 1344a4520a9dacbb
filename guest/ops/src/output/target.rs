//! An image that is there, to be written into.

use fmt_core::{DiskMap, Error, ErrorKind, FileId, Format, ReadAt, StepSink};
use fmt_qcow2::Qcow2Update;
use fmt_vhd::VhdUpdate;
use fmt_vhdx::VhdxUpdate;
use fmt_vhdx::update::WriteGuids;
use fmt_vmdk::VmdkUpdate;
use guest_abi::identity::Identity;

use super::options::guid;
use super::{Extents, run};
use crate::Failure;

/// An image that is there, to be written into.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub enum Target<'t, R, S> {
    /// qcow2.
    Qcow2(Qcow2Update<'t, R, S>),
    /// VMDK.
    Vmdk(VmdkUpdate<'t, R, S>),
    /// VHD.
    Vpc(VhdUpdate<'t, R, S>),
    /// VHDX.
    Vhdx(VhdxUpdate<'t, R, S>),
}

impl<'t, R: ReadAt, S: StepSink> Target<'t, R, S> {
    /// The image of that `format` that `image` reads, and that steps call `file`. Where the format wants what was changed to
    /// be told from what was there, `identity` is how.
    ///
    /// # Errors
    ///
    /// Those of the formats; [`ErrorKind::UnsupportedFormat`] for one that cannot be written into.
    pub fn open(
        image: &'t R,
        sink: &'t S,
        file: FileId,
        format: Format,
        identity: &Identity,
    ) -> Result<Self, Error> {
        match format {
            Format::Qcow2 => Qcow2Update::open(image, sink, file).map(Self::Qcow2),
            Format::Vmdk => VmdkUpdate::open(image, sink, file, identity.number()).map(Self::Vmdk),
            Format::Vpc => VhdUpdate::open(image, sink, file).map(Self::Vpc),
            Format::Vhdx => {
                let guids = WriteGuids { file: guid(identity, 1), data: guid(identity, 2) };
                VhdxUpdate::open(image, sink, file, guids).map(Self::Vhdx)
            }
            other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())),
        }
    }

    /// The disk's size in bytes.
    pub fn virtual_size(&self) -> u64 {
        match self {
            Self::Qcow2(update) => update.virtual_size(),
            Self::Vmdk(update) => update.virtual_size(),
            Self::Vpc(update) => update.virtual_size(),
            Self::Vhdx(update) => update.virtual_size(),
        }
    }

    /// The bytes of the disk that are allocated together, aligned; `None` where all of it is.
    pub fn block_len(&self) -> Option<u64> {
        match self {
            Self::Qcow2(update) => Some(update.block_len()),
            Self::Vmdk(update) => update.block_len(),
            Self::Vpc(update) => update.block_len(),
            Self::Vhdx(update) => update.block_len(),
        }
    }

    /// Whether, of a block that is written in part, the rest may have to be taken from [behind](Self::standing_on).
    pub const fn may_stand_on_another(&self) -> bool {
        matches!(self, Self::Qcow2(_))
    }

    /// The same image, standing on what `disk` has where the image itself has nothing.
    pub fn standing_on(self, disk: &'t mut dyn DiskMap) -> Self {
        match self {
            Self::Qcow2(update) => Self::Qcow2(update.backing(disk)),
            alone => alone,
        }
    }

    /// Writes `extents` to the beginning of the disk.
    ///
    /// # Errors
    ///
    /// Those of the format, of the sink, and of the extents.
    pub fn write(self, file: FileId, extents: &mut Extents<'_>) -> Result<(), Failure> {
        match self {
            Self::Qcow2(update) => run(Ok(update), file, extents),
            Self::Vmdk(update) => run(Ok(update), file, extents),
            Self::Vpc(update) => run(Ok(update), file, extents),
            Self::Vhdx(update) => run(Ok(update), file, extents),
        }
    }
}
