//! What a differencing image says about its parent. Nothing here opens it.

use alloc::vec;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, ReadAt};

use crate::raw;

/// The longest words of a locator in bytes: Windows' longest path in UTF-16.
pub const MAX_LOCATOR_LEN: u32 = 64 << 10;

/// The image that a differencing image is a difference to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    unique_id: [u8; 16],
    time_stamp: u32,
    name: [u8; 512],
    locators: [Locator; raw::LOCATORS],
}

/// Where the parent is, in the words of one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Which system's.
    pub platform: Platform,
    /// The byte offset of the words in the file.
    offset: u64,
    /// Their length in bytes.
    len: u32,
}

/// Whose words a locator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Platform {
    /// `W2ru`: a path relative to the child, in UTF-16 (little-endian), with backslashes.
    WindowsRelative,
    /// `W2ku`: an absolute path, in UTF-16 (little-endian), with backslashes.
    WindowsAbsolute,
    /// `MacX`: a file URL in UTF-8.
    MacUrl,
    /// Any other code, for example the deprecated `Wi2r`, `Wi2k` and `Mac `.
    Other([u8; 4]),
}

impl Parent {
    pub(crate) fn new(header: &raw::DynamicHeader) -> Self {
        Self {
            unique_id: header.parent_unique_id,
            time_stamp: header.parent_time_stamp.get(),
            name: header.parent_unicode_name,
            locators: header.parent_locators.map(Locator::new),
        }
    }

    /// The unique id that the parent's footer has, if it is the parent.
    #[must_use]
    pub const fn unique_id(&self) -> [u8; 16] {
        self.unique_id
    }

    /// When the parent was last written, in seconds since 2000-01-01 00:00:00 UTC. Programs take it from the parent's file
    /// system, so that it says nothing about a copy.
    #[must_use]
    pub const fn time_stamp(&self) -> u32 {
        self.time_stamp
    }

    /// The parent's file name in UTF-16 (big-endian), as bytes: what comes before the first zero character.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let chars = self.name.chunks_exact(2).take_while(|char| *char != [0, 0]).count();
        self.name.get(..2 * chars).unwrap_or_default()
    }

    /// Where the parent is in the words of `platform`.
    pub fn locator(&self, platform: Platform) -> Option<&Locator> {
        self.locators().find(|locator| locator.platform == platform)
    }

    /// Where the parent is, in the order of the file.
    pub fn locators(&self) -> impl Iterator<Item = &Locator> {
        self.locators.iter().filter(|locator| locator.platform != Platform::Other([0; 4]))
    }
}

impl Locator {
    /// The byte offset of the words in the file.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn new(raw: raw::ParentLocator) -> Self {
        let platform = match &raw.platform_code {
            b"W2ru" => Platform::WindowsRelative,
            b"W2ku" => Platform::WindowsAbsolute,
            b"MacX" => Platform::MacUrl,
            other => Platform::Other(*other),
        };
        Self { platform, offset: raw.platform_data_offset.get(), len: raw.platform_data_length.get() }
    }

    /// The words, from the image `source` that holds the locator.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when they are longer than [`MAX_LOCATOR_LEN`], [`ErrorKind::Corrupt`] when they
    /// reach beyond the end of the file, and those of reading.
    pub fn read<S: ReadAt + ?Sized>(&self, source: &S) -> Result<Vec<u8>, Error> {
        let error = |kind, what| Err(Error::new(kind, self.offset, what));
        if self.len > MAX_LOCATOR_LEN {
            return error(ErrorKind::TooLarge, "a parent locator of more than 64 KiB");
        }
        let end = self.offset.checked_add(u64::from(self.len));
        if end.is_none_or(|end| end > source.file_len()) {
            return error(ErrorKind::Corrupt, "a parent locator reaches beyond the end of the file");
        }
        // 64 KiB fit any address space.
        let mut words = vec![0; self.len as usize];
        source.read_exact_at(self.offset, &mut words)?;
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn locator(offset: u64, len: u32) -> Locator {
        Locator { platform: Platform::WindowsRelative, offset, len }
    }

    #[test]
    fn a_name_ends_at_its_first_zero_character() {
        let mut header = raw::DynamicHeader::new_zeroed();
        assert_eq!(Parent::new(&header).name(), b"");
        // The zero byte of one character and that of the next are not a zero character.
        header.parent_unicode_name[..8].copy_from_slice(b"\x01\0\0a\0\0\0b");
        assert_eq!(Parent::new(&header).name(), b"\x01\0\0a");
        header.parent_unicode_name = [b'x'; 512];
        assert_eq!(Parent::new(&header).name(), [b'x'; 512]);
    }

    #[test]
    fn unused_locators_are_left_out() {
        let mut header = raw::DynamicHeader::new_zeroed();
        header.parent_locators[2].platform_code = *b"W2ku";
        header.parent_locators[7].platform_code = *b"Wi2r";
        let parent = Parent::new(&header);
        let platforms: Vec<_> = parent.locators().map(|locator| locator.platform).collect();
        assert_eq!(platforms, [Platform::WindowsAbsolute, Platform::Other(*b"Wi2r")]);
        assert_eq!(parent.locator(Platform::WindowsAbsolute), parent.locators().next());
        assert_eq!(parent.locator(Platform::WindowsRelative), None);
    }

    #[test]
    fn locators_are_read_inside_the_file_only() {
        let file: &[u8] = b"0123456789";
        assert_eq!(locator(2, 3).read(file).unwrap(), b"234");
        assert_eq!(locator(10, 0).read(file).unwrap(), b"");
        let kind = |offset, len| locator(offset, len).read(file).unwrap_err().kind;
        assert_eq!(kind(8, 3), ErrorKind::Corrupt);
        assert_eq!(kind(u64::MAX, 3), ErrorKind::Corrupt);
        assert_eq!(kind(0, u32::MAX), ErrorKind::TooLarge);
    }
}
