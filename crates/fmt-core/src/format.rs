//! The formats by name.

use core::fmt;

/// A disk image format. All that `qemu-img` recognises are known here by name, so that an image of a format that
/// cannot be read is refused as what it is, and never taken for raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The file's bytes are the disk's.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
    /// VMware's virtual disk.
    Vmdk,
    /// Virtual PC's and Hyper-V's VHD, which QEMU calls `vpc`.
    Vpc,
    /// Hyper-V's VHDX.
    Vhdx,
    /// QEMU's copy-on-write format, version 1.
    Qcow,
    /// QEMU's enhanced disk.
    Qed,
    /// VirtualBox's disk image.
    Vdi,
    /// Parallels' hard disk.
    Parallels,
    /// A volume encrypted by LUKS.
    Luks,
    /// Bochs' growing disk.
    Bochs,
    /// A compressed loop image.
    Cloop,
    /// Apple's disk image.
    Dmg,
}

impl Format {
    /// Every format, in the order of the enumeration.
    pub const ALL: [Self; 13] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vpc,
        Self::Vhdx,
        Self::Qcow,
        Self::Qed,
        Self::Vdi,
        Self::Parallels,
        Self::Luks,
        Self::Bochs,
        Self::Cloop,
        Self::Dmg,
    ];

    /// The name that `qemu-img` gives the format. Case matters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Qcow => "qcow",
            Self::Qed => "qed",
            Self::Vdi => "vdi",
            Self::Parallels => "parallels",
            Self::Luks => "luks",
            Self::Bochs => "bochs",
            Self::Cloop => "cloop",
            Self::Dmg => "dmg",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().as_bytes() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_formats() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name().as_bytes()), Some(format));
        }
        assert_eq!(Format::from_name(b"QCOW2"), None);
        assert_eq!(Format::from_name(b""), None);
    }
}
