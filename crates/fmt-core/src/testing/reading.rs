//! Answers of readers, checked.

use core::cell::Cell;

use crate::{DiskMap, Error, Extent, FileId, ReadAt, Source};

/// The extent that holds byte `at` of `map`, which must be less than its size.
///
/// `file_len` tells the length in bytes of each file that an extent may lie in.
///
/// # Errors
///
/// Those of the reader.
///
/// # Panics
///
/// When the extent does not hold `at`, or reaches beyond the disk; when its bytes do not lie inside a file, or are not
/// all in the compressed piece that should have them.
pub fn extent_at<M: DiskMap>(
    map: &mut M,
    at: u64,
    file_len: impl Fn(FileId) -> Option<u64>,
) -> Result<Extent, Error> {
    let (extent, size) = (map.extent_at(at)?, map.virtual_size());
    let Extent { start, len, source } = extent;
    let end = start.checked_add(len).filter(|&end| end <= size);
    assert!(
        start <= at && end.is_some_and(|end| at < end),
        "{extent:?} for byte {at} of a disk of {size} bytes"
    );
    let lies_in = |file, offset: u64, len: u64| {
        let file_len = file_len(file).unwrap_or_else(|| panic!("{extent:?} lies in an unknown file"));
        let inside = offset.checked_add(len).is_some_and(|end| end <= file_len);
        assert!(inside, "{extent:?} does not lie inside the {file_len} bytes of its file");
    };
    match source {
        Source::Zero | Source::Unallocated => {}
        Source::Data { file, offset } => lies_in(file, offset, len),
        Source::Compressed { unit, skip } => {
            lies_in(unit.file, unit.offset, unit.len.into());
            assert!(unit.len > 0, "{extent:?} is compressed to nothing");
            assert!(u64::from(skip) + len <= unit.unit_len.into(), "{extent:?} is more than its unit");
        }
    }
    Ok(extent)
}

/// A file that counts how much is read of it.
#[derive(Debug)]
pub struct Counted<S> {
    source: S,
    bytes: Cell<u64>,
}

impl<S> Counted<S> {
    /// `source`, of which nothing has been read.
    pub const fn new(source: S) -> Self {
        Self { source, bytes: Cell::new(0) }
    }

    /// How many bytes have been read since this was asked last.
    pub fn take_bytes(&self) -> u64 {
        self.bytes.take()
    }
}

impl<S: ReadAt> ReadAt for Counted<S> {
    fn file_len(&self) -> u64 {
        self.source.file_len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.bytes.set(self.bytes.get() + buf.len() as u64);
        self.source.read_exact_at(offset, buf)
    }
}

#[cfg(test)]
mod tests {
    use core::panic::AssertUnwindSafe;
    use std::panic::catch_unwind;

    use super::*;
    use crate::testing::INPUT;
    use crate::{Codec, Compressed};

    /// A disk of 100 bytes that answers whatever it was told to.
    struct Answers(Extent);

    impl DiskMap for Answers {
        fn virtual_size(&self) -> u64 {
            100
        }

        fn extent_at(&mut self, _at: u64) -> Result<Extent, Error> {
            Ok(self.0)
        }
    }

    /// Whether byte 50 may be in an extent of so many bytes from `start`, where the file has 1000 bytes.
    fn is_accepted(start: u64, len: u64, source: Source) -> bool {
        let mut map = Answers(Extent { start, len, source });
        let answer = AssertUnwindSafe(|| extent_at(&mut map, 50, |file| (file == INPUT).then_some(1000)));
        catch_unwind(answer).is_ok()
    }

    #[test]
    fn an_extent_holds_the_byte_and_lies_on_the_disk() {
        assert!(is_accepted(0, 100, Source::Zero));
        assert!(is_accepted(50, 1, Source::Unallocated));
        assert!(!is_accepted(51, 1, Source::Zero), "behind the byte");
        assert!(!is_accepted(0, 50, Source::Zero), "before the byte");
        assert!(!is_accepted(50, 0, Source::Zero), "nothing");
        assert!(!is_accepted(50, 51, Source::Zero), "beyond the disk");
        assert!(!is_accepted(1, u64::MAX, Source::Zero), "overflows");
    }

    #[test]
    fn data_lies_inside_its_file() {
        let data = |file, offset| is_accepted(50, 10, Source::Data { file, offset });
        assert!(data(INPUT, 990));
        assert!(!data(INPUT, 991));
        assert!(!data(INPUT, u64::MAX));
        assert!(!data(FileId(7), 0));
    }

    #[test]
    fn a_compressed_piece_holds_the_extent() {
        let compressed = |offset, len, unit_len, skip| {
            let unit = Compressed { file: INPUT, offset, len, unit_len, codec: Codec::Zlib };
            is_accepted(50, 10, Source::Compressed { unit, skip })
        };
        assert!(compressed(900, 100, 30, 20));
        assert!(!compressed(900, 101, 30, 20), "beyond the file");
        assert!(!compressed(900, 0, 30, 20), "nothing");
        assert!(!compressed(900, 100, 30, 21), "beyond the piece");
    }
}
