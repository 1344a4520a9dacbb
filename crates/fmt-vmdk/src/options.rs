//! What a VMDK that is written is to be, beside its size.

use alloc::vec::Vec;
use core::fmt;

use fmt_core::{Error, ErrorKind, Zeros};

use crate::descriptor::CreateType;
use crate::layout::GRAIN_LEN;

/// What a VMDK is to be, beside its size.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'n> {
    /// How the disk is spread over files.
    pub subformat: Subformat,
    /// The content identity: any number, a random one for a disk that is new.
    pub cid: u32,
    /// The name of the output file, without directories. In a disk of several files their names are
    /// [made of it](ExtentFile::name), and what a descriptor cannot say is refused; otherwise it is for people, and what
    /// would break the descriptor's quotes is replaced by `_`.
    pub name: &'n [u8],
    /// What becomes of zeros. With [`Zeros::Written`], a disk whose grains cannot all be allocated, because a sparse file
    /// has 2 TiB at most, is refused at once, and with [`Zeros::Absent`] when the file is full.
    pub zeros: Zeros,
    /// The disk that this one stands on. Zeros are not absent then, for what is not there is the parent's: they are
    /// written, or [marked](Self::zeroed_grain).
    pub parent: Option<Parent<'n>>,
    /// The adapter that a virtual machine is to have the disk at.
    pub adapter: Adapter,
    /// The version of the virtual hardware; 4 if it is left out.
    pub hw_version: Option<&'n [u8]>,
    /// The version of the tools in the guest; 2147483647 if it is left out.
    pub tools_version: Option<&'n [u8]>,
    /// Whether the disk is for virtual hardware of version 6. Not with [`hw_version`](Self::hw_version).
    pub compat6: bool,
    /// Whether a grain table may say of a grain that it is zeros. It does where there is a [parent](Self::parent).
    pub zeroed_grain: bool,
}

/// The disk that another stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'n> {
    /// Its content identity.
    pub cid: u32,
    /// Its name, as it is to be found from the directory of the disk that is written.
    pub name: &'n [u8],
}

impl<'n> Options<'n> {
    /// A monolithicSparse disk without a parent, whose zeros are written.
    #[must_use]
    pub const fn new(cid: u32, name: &'n [u8]) -> Self {
        Self {
            subformat: Subformat::MonolithicSparse,
            cid,
            name,
            zeros: Zeros::Written,
            parent: None,
            adapter: Adapter::Ide,
            hw_version: None,
            tools_version: None,
            compat6: false,
            zeroed_grain: false,
        }
    }

    /// The bytes of the disk that are allocated together; `None` where all of it is.
    #[must_use]
    pub const fn block_len(&self) -> Option<u64> {
        if self.subformat.is_flat() { None } else { Some(GRAIN_LEN) }
    }

    /// The bytes of the disk that are compressed as a whole.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for any but a stream-optimized VMDK.
    pub fn unit_len(&self) -> Result<u64, Error> {
        match self.subformat {
            Subformat::StreamOptimized => Ok(GRAIN_LEN),
            _ => Err(Error::new(ErrorKind::UnsupportedFeature, 0, NOT_COMPRESSED)),
        }
    }

    /// Refuses what contradicts itself, as `qemu-img` does.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let what = match self {
            Self { compat6: true, hw_version: Some(_), .. } => "compat6 together with a hardware version",
            Self { subformat, parent: Some(_), .. } if subformat.is_flat() => "a flat VMDK with a parent",
            Self { subformat, zeroed_grain: true, .. } if subformat.is_flat() => {
                "zeroed grains in a flat VMDK, which has no grains"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::UnsupportedFeature, 0, what))
    }
}

/// What other subformats have not.
pub(crate) const NOT_COMPRESSED: &str = "compression in a VMDK that is not stream-optimized";

/// How a VMDK that is written is spread over files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subformat {
    /// One sparse file, with the descriptor in it.
    #[default]
    MonolithicSparse,
    /// A descriptor, and one file that holds the disk as it is.
    MonolithicFlat,
    /// A descriptor, and a sparse file for every 2 GiB.
    TwoGbMaxExtentSparse,
    /// A descriptor, and for every 2 GiB a file that holds them as they are.
    TwoGbMaxExtentFlat,
    /// One file of compressed grains, with the descriptor in it. Grains have to come compressed.
    StreamOptimized,
}

impl Subformat {
    /// The disk that it makes.
    #[must_use]
    pub const fn create_type(self) -> CreateType {
        match self {
            Self::MonolithicSparse => CreateType::MonolithicSparse,
            Self::MonolithicFlat => CreateType::MonolithicFlat,
            Self::TwoGbMaxExtentSparse => CreateType::TwoGbMaxExtentSparse,
            Self::TwoGbMaxExtentFlat => CreateType::TwoGbMaxExtentFlat,
            Self::StreamOptimized => CreateType::StreamOptimized,
        }
    }

    /// The file of the extent `index`, counted from 0; `None` where the only one is in the output itself.
    #[must_use]
    pub const fn extent_file(self, index: u32) -> Option<ExtentFile> {
        match self {
            Self::MonolithicSparse | Self::StreamOptimized => None,
            Self::MonolithicFlat => Some(ExtentFile::Flat),
            Self::TwoGbMaxExtentSparse => Some(ExtentFile::SparsePart(index.saturating_add(1))),
            Self::TwoGbMaxExtentFlat => Some(ExtentFile::FlatPart(index.saturating_add(1))),
        }
    }

    pub(crate) const fn is_flat(self) -> bool {
        matches!(self, Self::MonolithicFlat | Self::TwoGbMaxExtentFlat)
    }

    /// The most bytes of the disk that one extent has.
    pub(crate) const fn part_len(self) -> u64 {
        match self {
            Self::MonolithicSparse | Self::MonolithicFlat | Self::StreamOptimized => u64::MAX,
            Self::TwoGbMaxExtentSparse | Self::TwoGbMaxExtentFlat => 2 << 30,
        }
    }
}

/// The adapter that a disk is at. It decides about the geometry that the descriptor tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Adapter {
    /// IDE: 16 heads.
    #[default]
    Ide,
    /// LSI Logic's SCSI adapter: 255 heads.
    LsiLogic,
    /// BusLogic's SCSI adapter: 255 heads.
    BusLogic,
    /// An adapter of old ESX hosts: 255 heads.
    LegacyEsx,
}

impl Adapter {
    /// The name that descriptors give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ide => "ide",
            Self::LsiLogic => "lsilogic",
            Self::BusLogic => "buslogic",
            Self::LegacyEsx => "legacyESX",
        }
    }

    pub(crate) const fn heads(self) -> u64 {
        match self {
            Self::Ide => 16,
            Self::LsiLogic | Self::BusLogic | Self::LegacyEsx => 255,
        }
    }
}

/// A file beside the output that holds an extent of the disk.
///
/// As text it is what is put into the output's name: `-flat`, `-f001`, `-s001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtentFile {
    /// All of the disk, as it is.
    Flat,
    /// A part of the disk, as it is. Parts are counted from 1.
    FlatPart(u32),
    /// A part of the disk, in grains. Parts are counted from 1.
    SparsePart(u32),
}

impl ExtentFile {
    /// The file's name, made of that of the output.
    ///
    /// ```
    /// use fmt_vmdk::ExtentFile;
    ///
    /// assert_eq!(ExtentFile::Flat.name(b"disk.vmdk"), b"disk-flat.vmdk");
    /// assert_eq!(ExtentFile::SparsePart(12).name(b"disk"), b"disk-s012");
    /// ```
    #[must_use]
    pub fn name(self, output: &[u8]) -> Vec<u8> {
        let dot = output.iter().rposition(|&byte| byte == b'.').unwrap_or(output.len());
        let (stem, extension) = output.split_at(dot);
        [stem, alloc::format!("{self}").as_bytes(), extension].concat()
    }
}

impl fmt::Display for ExtentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => f.write_str("-flat"),
            Self::FlatPart(number) => write!(f, "-f{number:03}"),
            Self::SparsePart(number) => write!(f, "-s{number:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured: the files that `qemu-img convert` makes.
    #[test]
    fn extent_files_are_named_as_qemu_img_names_them() {
        let name = |file: ExtentFile, output: &str| {
            alloc::string::String::from_utf8(file.name(output.as_bytes())).unwrap()
        };
        for (output, flat, part) in [
            ("x.vmdk", "x-flat.vmdk", "x-s001.vmdk"),
            ("x", "x-flat", "x-s001"),
            ("x.y.vmdk", "x.y-flat.vmdk", "x.y-s001.vmdk"),
            (".vmdk", "-flat.vmdk", "-s001.vmdk"),
        ] {
            assert_eq!(name(ExtentFile::Flat, output), flat);
            assert_eq!(name(ExtentFile::SparsePart(1), output), part);
        }
        assert_eq!(name(ExtentFile::FlatPart(1000), "x.vmdk"), "x-f1000.vmdk");
    }
}
