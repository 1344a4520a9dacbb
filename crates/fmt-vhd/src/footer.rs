//! The footer, checked: what kind of image, how large the disk.

use fmt_core::{Error, ErrorKind, SECTOR};
use zerocopy::FromBytes;

use crate::geometry::Geometry;
use crate::raw;

/// The largest disk in bytes: 2040 GiB. `qemu-img` refuses larger ones, whose blocks an allocation table could no
/// longer number.
pub const MAX_DISK_SIZE: u64 = 2040 << 30;

/// What kind of image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskType {
    /// The disk's bytes, then the footer.
    Fixed,
    /// Blocks, where something was written.
    Dynamic,
    /// Sectors, where something was written; the others are those of another image, the parent.
    Differencing,
}

/// A checked footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    disk_type: DiskType,
    size: u64,
    data_offset: u64,
    creator_application: [u8; 4],
    time_stamp: u32,
    unique_id: [u8; 16],
}

impl Footer {
    /// The footer in `bytes`, which were found at byte `at` of the file. Of more bytes the first 512 count; what is
    /// missing of a shorter footer are zeros (before Virtual PC 2004 it had 511 bytes).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotThisFormat`] without the cookie, [`ErrorKind::Corrupt`] for a wrong checksum or an unknown
    /// type, [`ErrorKind::UnsupportedFeature`] for another version, and [`ErrorKind::TooLarge`] for a disk of more
    /// than [`MAX_DISK_SIZE`].
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, Error> {
        let mut whole = [0; size_of::<raw::Footer>()];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        let not_vhd = Error::new(ErrorKind::NotThisFormat, at, "VHD");
        let footer = raw::Footer::read_from_bytes(&whole).map_err(|_| not_vhd)?;
        if footer.cookie != raw::FOOTER_COOKIE {
            return Err(not_vhd);
        }
        let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
        if !footer.is_sound() {
            return Err(corrupt("the checksum of the footer is wrong"));
        }
        check_version(footer.file_format_version.get(), at, "a file format version other than 1")?;
        let disk_type = match footer.disk_type.get() {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            _ => return Err(corrupt("the footer names a disk type that does not exist")),
        };
        let size = disk_size(&footer);
        if size > MAX_DISK_SIZE {
            return Err(Error::new(ErrorKind::TooLarge, at, "a VHD disk of more than 2040 GiB"));
        }
        Ok(Self {
            disk_type,
            size,
            data_offset: footer.data_offset.get(),
            creator_application: footer.creator_application,
            time_stamp: footer.time_stamp.get(),
            unique_id: footer.unique_id,
        })
    }

    /// What kind of image it is.
    #[must_use]
    pub const fn disk_type(&self) -> DiskType {
        self.disk_type
    }

    /// The disk's size in bytes: whole sectors, at most [`MAX_DISK_SIZE`].
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The byte offset of the dynamic disk header, unchecked. It means nothing in a fixed image.
    #[must_use]
    pub const fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// The program that made the image.
    #[must_use]
    pub const fn creator_application(&self) -> [u8; 4] {
        self.creator_application
    }

    /// When the image was made, or last written by a program that tells its children so: in seconds since
    /// 2000-01-01 00:00:00 UTC.
    #[must_use]
    pub const fn time_stamp(&self) -> u32 {
        self.time_stamp
    }

    /// The image's identity, by which a child knows its parent.
    #[must_use]
    pub const fn unique_id(&self) -> [u8; 16] {
        self.unique_id
    }
}

/// The disk's size in bytes, which the footer tells twice.
///
/// Virtual PC, and QEMU when it does as Virtual PC does, give a disk the size of its geometry. Everyone else gives it
/// the size that the footer tells in bytes, and so do these two where the geometry is the largest. As `qemu-img` does
/// since its version 10.0; before, it went by geometry for more creators.
fn disk_size(footer: &raw::Footer) -> u64 {
    let geometry = Geometry::from(footer.geometry);
    let by_geometry = matches!(&footer.creator_application, b"vpc " | b"qemu");
    if by_geometry && geometry.sectors() != Geometry::MAX.sectors() {
        // At most 65535 * 255 * 255 sectors, the product of the field's widths.
        geometry.sectors() * SECTOR
    } else {
        let size = footer.current_size.get();
        size - size % SECTOR
    }
}

/// Refuses a version whose major number is not 1. A minor number adds only what older programs may ignore.
pub(crate) fn check_version(version: u32, at: u64, what: &'static str) -> Result<(), Error> {
    if version >> 16 == raw::VERSION_1_0 >> 16 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::UnsupportedFeature, at, what))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    /// A footer whose geometry (1, 4, 17) and size (1 MiB) disagree.
    fn footer(change: impl FnOnce(&mut raw::Footer)) -> Vec<u8> {
        let mut footer = raw::Footer::new_zeroed();
        footer.cookie = raw::FOOTER_COOKIE;
        footer.file_format_version.set(raw::VERSION_1_0);
        footer.creator_application = *b"win ";
        footer.current_size.set(1 << 20);
        footer.geometry = Geometry { cylinders: 1, heads: 4, sectors_per_track: 17 }.into();
        footer.disk_type.set(3);
        change(&mut footer);
        footer.checksum.set(footer.expected_checksum());
        footer.as_bytes().to_vec()
    }

    fn size(change: impl FnOnce(&mut raw::Footer)) -> Result<u64, ErrorKind> {
        Footer::parse(&footer(change), 0).map(|footer| footer.size()).map_err(|error| error.kind)
    }

    #[test]
    fn the_creator_decides_which_field_is_the_size() {
        for creator in [b"vpc ", b"qemu"] {
            assert_eq!(size(|f| f.creator_application = *creator), Ok(34816), "{}", creator.escape_ascii());
        }
        // As `qemu-img info` answers to the same field.
        let others = [
            b"qem2",
            b"win ",
            b"d2v ",
            b"tap\0",
            b"tap ",
            b"CTXS",
            b"wa\0\0",
            b"vs  ",
            b"vbox",
            b"\0\0\0\0",
            b"Vpc ",
            b"VPC ",
        ];
        for creator in others {
            assert_eq!(size(|f| f.creator_application = *creator), Ok(1 << 20), "{}", creator.escape_ascii());
        }
    }

    #[test]
    fn the_largest_geometry_says_nothing_about_the_size() {
        let largest = |f: &mut raw::Footer| {
            f.creator_application = *b"vpc ";
            f.geometry = Geometry::MAX.into();
            f.current_size.set(200 << 30);
        };
        assert_eq!(size(largest), Ok(200 << 30));
    }

    #[test]
    fn a_geometry_of_zeros_is_a_disk_of_no_sectors() {
        let none = |f: &mut raw::Footer| {
            f.creator_application = *b"qemu";
            f.geometry = Geometry::default().into();
        };
        assert_eq!(size(none), Ok(0));
    }

    #[test]
    fn a_size_is_cut_to_sectors_and_bounded() {
        assert_eq!(size(|f| f.current_size.set(1023)), Ok(512));
        assert_eq!(size(|f| f.current_size.set(MAX_DISK_SIZE + 511)), Ok(MAX_DISK_SIZE));
        assert_eq!(size(|f| f.current_size.set(MAX_DISK_SIZE + 512)), Err(ErrorKind::TooLarge));
        assert_eq!(size(|f| f.current_size.set(u64::MAX)), Err(ErrorKind::TooLarge));
        // The most that a geometry can say is below the bound.
        let wide = |f: &mut raw::Footer| {
            f.creator_application = *b"vpc ";
            f.geometry = Geometry { cylinders: 65535, heads: 255, sectors_per_track: 255 }.into();
        };
        assert_eq!(size(wide), Ok(2_181_843_648_000));
    }

    #[test]
    fn what_is_not_a_footer_is_refused() {
        let kind = |bytes: &[u8]| Footer::parse(bytes, 7).map_err(|error| (error.kind, error.at));
        let good = footer(|_| ());
        assert!(kind(&good).is_ok());
        assert_eq!(kind(&[]), Err((ErrorKind::NotThisFormat, 7)));
        assert_eq!(kind(&[0; 512]), Err((ErrorKind::NotThisFormat, 7)));
        for at in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 0x20;
            assert_eq!(kind(&bytes), Err((ErrorKind::NotThisFormat, 7)), "{at}");
        }
        for at in 8..512 {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert_eq!(kind(&bytes), Err((ErrorKind::Corrupt, 7)), "{at}");
        }
    }

    #[test]
    fn a_footer_may_lack_zeros_at_its_end() {
        let bytes = footer(|_| ());
        assert_eq!(Footer::parse(&bytes[..511], 0), Footer::parse(&bytes, 0));
        assert_eq!(Footer::parse(&bytes[..85], 0), Footer::parse(&bytes, 0));
    }

    #[test]
    fn versions_and_types_that_do_not_exist_are_refused() {
        assert_eq!(size(|f| f.file_format_version.set(0x0001_0005)), Ok(1 << 20));
        assert_eq!(size(|f| f.file_format_version.set(0x0002_0000)), Err(ErrorKind::UnsupportedFeature));
        for disk_type in [0, 1, 5, 6, 7, u32::MAX] {
            assert_eq!(size(|f| f.disk_type.set(disk_type)), Err(ErrorKind::Corrupt), "{disk_type}");
        }
    }
}
