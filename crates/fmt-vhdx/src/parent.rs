//! The parent locator of a differencing file: which file has what this one has not.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, ReadAt};
use zerocopy::FromBytes;

use crate::raw::{self, Guid, ParentLocatorEntry, VHDX_PARENT};
use crate::region::Region;

/// How long a parent locator can be here, in bytes: room for all keys of the specification with the longest paths.
pub const MAX_PARENT_LOCATOR_LEN: u64 = 512 << 10;

/// The parent's names (MS-VHDX section 2.6.2.6): keys and values in UTF-16LE, as they lie in the file.
///
/// The specification's keys are `parent_linkage` and `parent_linkage2`, of [`linkage`](Self::linkage); `relative_path`,
/// `volume_path` and `absolute_win32_path`, of [`path`](Self::path). They are claims of whoever made the file: nothing is
/// opened here.
#[derive(Clone, Debug)]
pub struct ParentLocator {
    at: u64,
    bytes: Vec<u8>,
    /// Where in the bytes each key and value is.
    entries: Vec<[Place; 2]>,
}

/// A range of the item: offset and length.
type Place = (usize, usize);

impl ParentLocator {
    /// Reads the locator `item` of `source`, whose log must have been replayed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more than [`MAX_PARENT_LOCATOR_LEN`], [`ErrorKind::UnsupportedFeature`] for a parent
    /// that is not a VHDX file, [`ErrorKind::Corrupt`] for entries outside the item.
    pub fn read<S: ReadAt + ?Sized>(source: &S, item: Region) -> Result<Self, Error> {
        let corrupt = |what| Error::new(ErrorKind::Corrupt, item.at, what);
        if item.len > MAX_PARENT_LOCATOR_LEN {
            return Err(Error::new(ErrorKind::TooLarge, item.at, "the parent locator"));
        }
        let len = usize::try_from(item.len).unwrap_or(usize::MAX);
        if source.file_len().saturating_sub(item.at) < item.len {
            return Err(corrupt("the parent locator lies beyond the end of the file"));
        }
        let mut bytes = vec![0; len];
        source.read_exact_at(item.at, &mut bytes)?;
        Self::parse(bytes, item.at)
    }

    fn parse(bytes: Vec<u8>, at: u64) -> Result<Self, Error> {
        let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
        let (head, rest) = raw::ParentLocator::read_from_prefix(&bytes)
            .map_err(|_| corrupt("the parent locator ends early"))?;
        if head.locator_type != VHDX_PARENT {
            return Err(Error::new(ErrorKind::UnsupportedFeature, at, "a parent that is not a VHDX file"));
        }
        let count = usize::from(head.key_value_count.get());
        let (raw, _) = <[ParentLocatorEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| corrupt("the parent locator ends early"))?;
        let places = raw.iter().map(|entry| {
            let key = place(entry.key_offset.get(), entry.key_length.get(), bytes.len())?;
            Some([key, place(entry.value_offset.get(), entry.value_length.get(), bytes.len())?])
        });
        let entries =
            places.collect::<Option<_>>().ok_or(corrupt("the parent locator points outside itself"))?;
        Ok(Self { at, bytes, entries })
    }

    /// The byte offset of the item in the file, once the log has been replayed.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// What the parent's [`data_write_guid`](crate::Header::data_write_guid) is, one of these.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] without `parent_linkage`, and for a linkage that is not a GUID in braces.
    pub fn linkage(&self) -> Result<Vec<Guid>, Error> {
        let corrupt = |what| Error::new(ErrorKind::Corrupt, self.at, what);
        let first = self.get("parent_linkage").ok_or(corrupt("the parent locator has no parent_linkage"))?;
        let linkage = [first].into_iter().chain(self.get("parent_linkage2"));
        let guids: Option<_> = linkage.map(guid).collect();
        guids.ok_or(corrupt("the linkage of the parent locator is not a GUID in braces"))
    }

    /// The path of the parent that comes first in the order in which the specification has them tried.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        ["relative_path", "volume_path", "absolute_win32_path"].into_iter().find_map(|key| self.get(key))
    }

    /// The keys and values, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|&[key, value]| (self.bytes_of(key), self.bytes_of(value)))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let is_key = |bytes: &[u8]| bytes.iter().copied().eq(key.encode_utf16().flat_map(u16::to_le_bytes));
        self.entries().find(|(bytes, _)| is_key(bytes)).map(|(_, value)| value)
    }

    fn bytes_of(&self, (offset, len): Place) -> &[u8] {
        self.bytes.get(offset..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
    }
}

/// The GUID that `value` writes in UTF-16LE.
fn guid(value: &[u8]) -> Option<Guid> {
    let (units, rest) = value.as_chunks();
    let text = char::decode_utf16(units.iter().copied().map(u16::from_le_bytes));
    let text = text.collect::<Result<String, _>>().ok()?;
    Guid::from_braced(&text).filter(|_| rest.is_empty())
}

fn place(offset: u32, len: u16, item_len: usize) -> Option<Place> {
    let (offset, len) = (usize::try_from(offset).ok()?, usize::from(len));
    (offset.checked_add(len)? <= item_len).then_some((offset, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    /// A locator with one entry whose offsets and lengths are given as (key offset, value offset, key len, value len).
    fn locator(offsets: (u32, u32, u16, u16)) -> Vec<u8> {
        let mut bytes = VHDX_PARENT.0.to_vec();
        bytes.extend([0, 0, 1, 0]);
        bytes.extend(offsets.0.to_le_bytes());
        bytes.extend(offsets.1.to_le_bytes());
        bytes.extend(offsets.2.to_le_bytes());
        bytes.extend(offsets.3.to_le_bytes());
        bytes.extend(utf16("relative_path"));
        bytes.extend(utf16("..\\base.vhdx"));
        bytes
    }

    /// A locator of these keys and values, found at byte 7.
    fn of(entries: &[(&str, &str)]) -> ParentLocator {
        let mut bytes = Vec::new();
        let mut put = |text: &str| {
            let words = utf16(text);
            bytes.extend(&words);
            (bytes.len() - words.len(), words.len())
        };
        let entries = entries.iter().map(|&(key, value)| [put(key), put(value)]).collect();
        ParentLocator { at: 7, bytes, entries }
    }

    #[test]
    fn keys_and_values_come_back_as_bytes() {
        let bytes = locator((32, 58, 26, 24));
        let locator = ParentLocator::parse(bytes, 0).unwrap();
        assert_eq!(locator.get("relative_path"), Some(&*utf16("..\\base.vhdx")));
        assert_eq!(locator.get("volume_path"), None);
        assert_eq!(locator.entries().count(), 1);
    }

    #[test]
    fn the_relative_path_comes_first() {
        let absolute = ("absolute_win32_path", "C:\\a");
        let (volume, relative) = (("volume_path", "\\\\?\\v"), ("relative_path", ".\\r"));
        assert_eq!(of(&[absolute, volume, relative]).path(), Some(&*utf16(".\\r")));
        assert_eq!(of(&[absolute, volume]).path(), Some(&*utf16("\\\\?\\v")));
        assert_eq!(of(&[absolute]).path(), Some(&*utf16("C:\\a")));
        assert_eq!(of(&[("path", "p")]).path(), None);
    }

    #[test]
    fn linkages_are_guids() {
        let (one, two) = ("{00000001-0002-0003-0405-060708090a0B}", "{00000000-0000-0000-0000-000000000002}");
        let guid = Guid::new(1, 2, 3, [4, 5, 6, 7, 8, 9, 10, 11]);
        let (first, second) = (("parent_linkage", one), ("parent_linkage2", two));
        assert_eq!(of(&[first]).linkage(), Ok(Vec::from([guid])));
        let other = Guid::new(0, 0, 0, [0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(of(&[second, first]).linkage(), Ok(Vec::from([guid, other])));
        let refused = |entries: &[_], what| {
            assert_eq!(of(entries).linkage(), Err(Error::new(ErrorKind::Corrupt, 7, what)));
        };
        refused(&[second], "the parent locator has no parent_linkage");
        let no_guid = "the linkage of the parent locator is not a GUID in braces";
        refused(&[first, ("parent_linkage2", "")], no_guid);
        refused(&[("parent_linkage", &one[1..])], no_guid);
    }

    #[test]
    fn what_points_outside_is_refused() {
        for offsets in [(32, 58, 26, 25), (83, 58, 0, 1), (u32::MAX, 0, 1, 1), (0, 0, u16::MAX, 0)] {
            assert_eq!(
                ParentLocator::parse(locator(offsets), 7).unwrap_err(),
                Error::new(ErrorKind::Corrupt, 7, "the parent locator points outside itself")
            );
        }
        let mut other = locator((32, 58, 26, 24));
        other[0] ^= 1;
        assert_eq!(ParentLocator::parse(other, 0).unwrap_err().kind, ErrorKind::UnsupportedFeature);
        for len in [0, 19, 20, 31] {
            assert!(ParentLocator::parse(locator((32, 58, 26, 24))[..len].to_vec(), 0).is_err());
        }
    }
}
