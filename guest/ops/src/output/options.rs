//! What is chosen about an output, in the words of its format.

use fmt_core::{Error, ErrorKind, FileId, Format, SettingError, Zeros};
use guest_abi::identity::Identity;

/// What is chosen about an output, beside its size.
#[derive(Clone, Debug)]
pub enum Options<'o> {
    /// Nothing: how the file is allocated is for whoever makes it.
    Raw(fmt_raw::Options),
    /// qcow2.
    Qcow2(fmt_qcow2::Options<'o>),
    /// VMDK.
    Vmdk(fmt_vmdk::Options<'o>),
    /// VHD.
    Vpc(fmt_vhd::Options),
    /// VHDX.
    Vhdx(fmt_vhdx::Options),
}

impl<'o> Options<'o> {
    /// What `qemu-img dd` chooses: the format's defaults, and zeros that are written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFormat`] for a format that cannot be written.
    pub fn new(format: Format, identity: &'o Identity) -> Result<Self, Error> {
        match format {
            Format::Raw => Ok(Self::Raw(fmt_raw::Options::default())),
            Format::Qcow2 => Ok(Self::Qcow2(fmt_qcow2::Options::default())),
            Format::Vmdk => Ok(Self::Vmdk(fmt_vmdk::Options::new(identity.number(), identity.name()))),
            Format::Vpc => {
                let unique_id = identity.uuid(0);
                let time_stamp = fmt_vhd::plan::time_stamp(identity.unix_time);
                Ok(Self::Vpc(fmt_vhd::Options { unique_id, time_stamp, ..fmt_vhd::Options::default() }))
            }
            Format::Vhdx => Ok(Self::Vhdx(vhdx(identity))),
            other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())),
        }
    }

    /// The same, with zeros that are left out wherever the format can do without them.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        match &mut self {
            // A raw disk has all its bytes. Whoever writes them knows what the file reads as where it is not written.
            Self::Raw(_) => {}
            Self::Qcow2(options) => *options = options.zeros(Zeros::Absent),
            Self::Vmdk(options) => options.zeros = Zeros::Absent,
            Self::Vpc(options) => options.zeros = Zeros::Absent,
            Self::Vhdx(options) => (options.zeros, options.block_state_zero) = (Zeros::Absent, true),
        }
        self
    }

    /// Sets the option `name` to what `value` says.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn set(&mut self, name: &[u8], value: &'o [u8]) -> Result<(), SettingError> {
        match self {
            Self::Raw(options) => options.set(name, value),
            Self::Qcow2(options) => options.set(name, value),
            Self::Vmdk(options) => options.set(name, value),
            Self::Vpc(options) => options.set(name, value),
            Self::Vhdx(options) => options.set(name, value),
        }
    }

    /// The same, standing on the image of that name and format.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for a format of which none is written that does.
    pub fn over(self, name: &'o [u8], format: Option<&'o [u8]>) -> Result<Self, Error> {
        match self {
            Self::Qcow2(options) => Ok(Self::Qcow2(options.backing_file(name, format))),
            _ => Err(Error::new(
                ErrorKind::UnsupportedFeature,
                0,
                "a backing file in a format other than qcow2",
            )),
        }
    }

    /// The same, with the disk's bytes in the output `file`, which the image calls `name`: a raw disk of its own, if `raw`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for a format of which none is written that does.
    pub fn with_data_in(self, file: FileId, name: &'o [u8], raw: bool) -> Result<Self, Error> {
        match self {
            Self::Qcow2(options) => Ok(Self::Qcow2(options.data_file(file, name, raw))),
            _ => Err(Error::new(
                ErrorKind::UnsupportedFeature,
                0,
                "an external data file in a format other than qcow2",
            )),
        }
    }

    /// The bytes of a disk that are compressed as a whole; `None` for what cannot be compressed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for options that do not exist, do not go together, or rule compression out.
    pub fn unit_len(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Qcow2(options) => options.unit_len().map(Some),
            Self::Vmdk(options) => options.unit_len().map(Some),
            Self::Raw(_) | Self::Vpc(_) | Self::Vhdx(_) => Ok(None),
        }
    }

    /// Whether there is no such output but a compressed one.
    #[must_use]
    pub fn packs_all(&self) -> bool {
        matches!(self, Self::Vmdk(options) if options.subformat == fmt_vmdk::Subformat::StreamOptimized)
    }

    /// The bytes of a disk of `size` bytes that are allocated together, aligned; `None` where all of it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for options that do not exist or do not go together.
    pub fn block_len(&self, size: u64) -> Result<Option<u64>, Error> {
        match self {
            Self::Raw(_) => Ok(None),
            Self::Qcow2(options) => options.block_len().map(Some),
            Self::Vmdk(options) => Ok(options.block_len()),
            Self::Vpc(options) => {
                let is_dynamic = options.subformat == fmt_vhd::Subformat::Dynamic;
                Ok(is_dynamic.then_some(fmt_vhd::plan::BLOCK_SIZE.into()))
            }
            Self::Vhdx(options) => {
                let len = options.block_size.unwrap_or(fmt_vhdx::layout::default_block_size(size));
                Ok((options.subformat == fmt_vhdx::Subformat::Dynamic).then_some(len.into()))
            }
        }
    }
}

fn vhdx(identity: &Identity) -> fmt_vhdx::Options {
    fmt_vhdx::Options::new(guid(identity, 1), guid(identity, 2), guid(identity, 0))
}

/// The UUID number `n` of the image, which in memory is not as it is written down.
pub(super) fn guid(identity: &Identity, n: u8) -> fmt_vhdx::Guid {
    let [a0, a1, a2, a3, b0, b1, c0, c1, d @ ..] = identity.uuid(n);
    let a = u32::from_be_bytes([a0, a1, a2, a3]);
    fmt_vhdx::Guid::new(a, u16::from_be_bytes([b0, b1]), u16::from_be_bytes([c0, c1]), d)
}
