//! Where the bytes of a virtual disk are.

use core::iter::FusedIterator;
use core::ops::Range;

use crate::{Error, FileId};

/// Where an extent's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nowhere: they read as zeros.
    Zero,
    /// Not in this image: what its backing image has there, or zeros where it has none.
    Unallocated,
    /// They lie as they are in a file.
    Data {
        /// The file that holds them.
        file: FileId,
        /// The byte offset of the extent's first byte in that file.
        offset: u64,
    },
    /// They lie in a file, compressed.
    Compressed {
        /// Where, and how to get them.
        unit: Compressed,
        /// How many decompressed bytes of the unit come before the extent's first byte.
        skip: u32,
    },
}

/// A compressed piece of a disk: it can only be decompressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compressed {
    /// The file that holds it.
    pub file: FileId,
    /// The byte offset in that file.
    pub offset: u64,
    /// How many bytes it takes there at most. What follows its end is not part of it.
    pub len: u32,
    /// How many bytes it becomes.
    pub unit_len: u32,
    /// How it is compressed.
    pub codec: Codec,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// A deflate stream without a wrapper (RFC 1951).
    Deflate,
    /// A deflate stream with zlib's header and checksum (RFC 1950).
    Zlib,
    /// A Zstandard frame (RFC 8878).
    Zstd,
}

impl Source {
    /// The source of what lies `len` bytes into the extent, which must be no more than the extent has.
    #[must_use]
    pub const fn after(self, len: u64) -> Self {
        match self {
            Self::Zero | Self::Unallocated => self,
            // The extent's end in the file is a place in the file, so this is one too.
            Self::Data { file, offset } => Self::Data { file, offset: offset.saturating_add(len) },
            // A unit's length fits 32 bits, so a place in it does.
            #[expect(clippy::cast_possible_truncation, reason = "no more than the unit's length")]
            Self::Compressed { unit, skip } => {
                Self::Compressed { unit, skip: skip.saturating_add(len as u32) }
            }
        }
    }
}

/// A range of the virtual disk whose bytes come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The first byte on the virtual disk.
    pub start: u64,
    /// The length in bytes, never 0. `start + len` is at most the disk's size.
    pub len: u64,
    /// Where the bytes come from.
    pub source: Source,
}

impl Extent {
    /// The first byte after the extent.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// The part of the extent that lies in `range`, or `None` where they share no byte.
    #[must_use]
    pub fn clip(&self, range: &Range<u64>) -> Option<Self> {
        let start = self.start.max(range.start);
        let end = self.end().min(range.end);
        let len = end.checked_sub(start).filter(|&len| len > 0)?;
        Some(Self { start, len, source: self.source.after(start - self.start) })
    }
}

/// A virtual disk that can be asked where its bytes are: what every format's reader is.
pub trait DiskMap {
    /// The disk's size in bytes.
    fn virtual_size(&self) -> u64;

    /// The extent that holds byte `at`, which must be less than [`virtual_size`](Self::virtual_size).
    ///
    /// A reader may return as little of a long run as it finds in one look; the next question continues it.
    ///
    /// # Errors
    ///
    /// Those of reading the image's tables, and of what is found there.
    fn extent_at(&mut self, at: u64) -> Result<Extent, Error>;

    /// The extents that cover `range`, in order, the first and last clipped to it.
    ///
    /// The part of `range` beyond the disk's end is left out.
    fn extents(&mut self, range: Range<u64>) -> Extents<'_, Self>
    where
        Self: Sized,
    {
        let end = range.end.min(self.virtual_size());
        Extents { map: self, range: range.start..end }
    }
}

/// The iterator that [`DiskMap::extents`] returns. It ends after the first error.
#[derive(Debug)]
pub struct Extents<'m, M> {
    map: &'m mut M,
    /// What is still to be covered.
    range: Range<u64>,
}

impl<M: DiskMap> Extents<'_, M> {
    fn step(&mut self) -> Result<Option<Extent>, Error> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let extent = self.map.extent_at(self.range.start)?.clip(&self.range);
        self.range.start = extent.map_or(self.range.end, |extent| extent.end());
        Ok(extent)
    }
}

impl<M: DiskMap> Iterator for Extents<'_, M> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if matches!(item, Some(Err(_))) {
            self.range.start = self.range.end;
        }
        item
    }
}

impl<M: DiskMap> FusedIterator for Extents<'_, M> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const FILE: FileId = FileId(3);

    /// Ten bytes of data, then zeros, in a disk of 30 bytes that cannot be read from byte 25.
    struct Disk;

    impl DiskMap for Disk {
        fn virtual_size(&self) -> u64 {
            30
        }

        fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
            match at {
                0..10 => Ok(Extent { start: 0, len: 10, source: Source::Data { file: FILE, offset: 100 } }),
                10..25 => Ok(Extent { start: 10, len: 15, source: Source::Zero }),
                _ => Err(Error::new(ErrorKind::Corrupt, at, "table")),
            }
        }
    }

    #[test]
    fn extents_are_clipped_to_the_range() {
        let found: Result<std::vec::Vec<_>, _> = Disk.extents(4..12).collect();
        let data = Extent { start: 4, len: 6, source: Source::Data { file: FILE, offset: 104 } };
        let zero = Extent { start: 10, len: 2, source: Source::Zero };
        assert_eq!(found.unwrap(), [data, zero]);
    }

    #[test]
    fn an_empty_range_has_no_extents() {
        assert_eq!(Disk.extents(7..7).count(), 0);
        assert_eq!(Disk.extents(30..90).count(), 0);
    }

    #[test]
    fn the_stream_ends_after_an_error() {
        let mut disk = Disk;
        let mut extents = disk.extents(20..30);
        assert!(extents.next().unwrap().is_ok());
        assert!(extents.next().unwrap().is_err());
        assert!(extents.next().is_none());
    }

    #[test]
    fn clipping_outside_leaves_nothing() {
        let extent = Extent { start: 10, len: 5, source: Source::Zero };
        assert_eq!(extent.clip(&(15..20)), None);
        assert_eq!(extent.clip(&(0..10)), None);
        assert_eq!(extent.clip(&(0..u64::MAX)), Some(extent));
    }
}
