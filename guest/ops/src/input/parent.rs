//! How images know the ones that they stand on: by a name, and by what a file of that name has to say.
//!
//! VHD and VHDX were made on Windows, whose paths are not ours. A relative path is the same here but for its separators,
//! and comes first. Of a path that begins with a volume (`C:\\vm\\base.vhd`, `\\\\server\\share\\base.vhd`,
//! `\\\\?\\Volume{…}\\base.vhd`) there is nothing here but the file's name: the parent is looked for beside the child, where
//! it is when both have been copied to one place. A path from a root without a volume, as a Linux program writes it, is taken
//! for what it says. The name that comes out is a request like any other, about which the host decides; and only one is
//! made, so that no image can feel its way around.

use alloc::string::String;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, ReadAt};
use fmt_vhd::VhdMap;
use fmt_vhd::parent::{Parent, Platform};
use fmt_vhdx::{Guid, ParentLocator};

/// What an image is known as to those that stand on it, if its format has such a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It has none.
    None,
    /// The content identity of a VMDK.
    Cid(u32),
    /// The unique id of a VHD.
    UniqueId([u8; 16]),
    /// The data write GUID of a VHDX file.
    DataWriteGuid(Guid),
}

impl Identity {
    /// Refuses an image that has to be `one_of` these and is not. Where there are none, any will do.
    pub(super) fn check(self, one_of: &[Self]) -> Result<(), Error> {
        if one_of.is_empty() || one_of.contains(&self) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::WrongParent, 0, self.term()))
    }

    const fn term(self) -> &'static str {
        match self {
            Self::None => "format",
            Self::Cid(_) => "content identity (CID)",
            Self::UniqueId(_) => "unique id",
            Self::DataWriteGuid(_) => "data write GUID",
        }
    }
}

/// The name of a VHD's parent. Where no locator has words that are understood, the header has it too.
pub(super) fn vhd_name<S: ReadAt>(map: &VhdMap<S>, parent: &Parent) -> Result<Vec<u8>, Error> {
    let locator = parent.locator(Platform::WindowsRelative);
    match locator.or_else(|| parent.locator(Platform::WindowsAbsolute)) {
        Some(locator) => name(&locator.read(map.source())?, u16::from_le_bytes, locator.offset()),
        None => name(parent.name(), u16::from_be_bytes, map.footer().data_offset()),
    }
}

/// The name of the parent of a VHDX file.
pub(super) fn vhdx_name(parent: &ParentLocator) -> Result<Vec<u8>, Error> {
    let at = parent.at();
    let path = parent.path().ok_or(Error::new(ErrorKind::Corrupt, at, "the parent locator has no path"))?;
    name(path, u16::from_le_bytes, at)
}

/// The name by which a host is asked for the file at `path`, a path of Windows in UTF-16, found at byte `at`.
fn name(path: &[u8], unit: fn([u8; 2]) -> u16, at: u64) -> Result<Vec<u8>, Error> {
    let (units, odd_byte) = path.as_chunks();
    let path: Result<String, _> = char::decode_utf16(units.iter().copied().map(unit)).collect();
    match path {
        Ok(path) if odd_byte.is_empty() => Ok(without_volume(&path.replace('\\', "/")).into()),
        _ => Err(Error::new(ErrorKind::Corrupt, at, "the name of the parent is not valid UTF-16")),
    }
}

/// The path, or the file's name alone where the path begins with a volume: a drive, a server, a device.
fn without_volume(path: &str) -> &str {
    let on_drive = matches!(path.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic());
    if on_drive || path.starts_with("//") { path.rsplit(['/', ':']).next().unwrap_or_default() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn named(path: &str, expected: &str) {
        let bytes: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(name(&bytes, u16::from_le_bytes, 7).as_deref(), Ok(expected.as_bytes()));
    }

    #[test]
    fn relative_paths_change_their_separators() {
        named("base.vhd", "base.vhd");
        named(".\\base.vhd", "./base.vhd");
        named("..\\a b\\base.vhd", "../a b/base.vhd");
        named("bäse \u{1f4be}.vhd", "bäse \u{1f4be}.vhd");
        named("", "");
    }

    #[test]
    fn of_a_path_on_a_volume_the_last_name_remains() {
        for path in [
            "C:\\vm\\base.vhd",
            "c:base.vhd",
            "\\\\server\\share\\base.vhd",
            "\\\\?\\d:\\base.vhd",
            "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\vm\\base.vhd",
        ] {
            named(path, "base.vhd");
        }
        named("C:\\vm\\", "");
    }

    #[test]
    fn other_paths_lead_where_they_say() {
        named("/vm/base.vhd", "/vm/base.vhd");
        named("\\vm\\base.vhd", "/vm/base.vhd");
        // A host takes this for a protocol, and refuses it.
        named("nbd:base.vhd", "nbd:base.vhd");
    }

    #[test]
    fn what_is_not_utf_16_is_refused() {
        let refused = Err(Error::new(ErrorKind::Corrupt, 7, "the name of the parent is not valid UTF-16"));
        for bytes in [&[0, 0xd8][..], &[0, 0xd8, b'a', 0], &[0, 0xdc], b"a\0b"] {
            assert_eq!(name(bytes, u16::from_le_bytes, 7), refused);
        }
        assert_eq!(name(&[0xd8, 0x3d, 0xdc, 0xbe], u16::from_be_bytes, 7), Ok("\u{1f4be}".into()));
    }

    #[test]
    fn an_image_is_known_by_one_of_its_identities() {
        let (one, two) = (Identity::Cid(1), Identity::Cid(2));
        assert_eq!(Identity::None.check(&[]), Ok(()));
        assert_eq!(two.check(&[one, two]), Ok(()));
        assert_eq!(two.check(&[one]).unwrap_err().kind, ErrorKind::WrongParent);
    }
}
