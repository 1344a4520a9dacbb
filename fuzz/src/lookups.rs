//! What any reader must answer, whatever the image.

use fmt_core::testing::{Counted, SparseFile, extent_at};
use fmt_core::{DiskMap, Error, Extent, ReadAt};

use crate::sparse;

/// At how many places a disk is looked at.
const PLACES: usize = 4;

/// How many extents are asked for at each of them, one behind the other.
const IN_A_ROW: usize = 3;

/// The file of an image, as its reader gets it.
pub type File<'f> = &'f Counted<SparseFile>;

/// An image, and where to look at its disk.
///
/// An input is the places (four `u64`, to be taken modulo the disk's size), then a [sparse file](sparse::file).
#[derive(Debug)]
pub struct Image {
    places: [u64; PLACES],
    file: Counted<SparseFile>,
}

/// What a reader may read of a file, in bytes, whatever the image says.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// To be opened.
    pub open: u64,
    /// To answer one question.
    pub lookup: u64,
}

impl Image {
    /// The image that `input` describes; `None` where that is too short.
    #[must_use]
    pub fn new(mut input: &[u8]) -> Option<Self> {
        let mut places = [0; PLACES];
        for place in &mut places {
            let (number, rest) = input.split_first_chunk()?;
            (*place, input) = (u64::from_le_bytes(*number), rest);
        }
        sparse::file(input).map(|file| Self { places, file: Counted::new(file) })
    }

    /// The image's file.
    #[must_use]
    pub const fn file(&self) -> File<'_> {
        &self.file
    }

    /// Opens the image's disk with `open` and asks for extents here and there.
    ///
    /// The disk's data may lie in any file, each as long as the image. What has been asked before must not change an
    /// answer.
    pub fn check<M: DiskMap>(&self, bounds: Bounds, open: impl Fn() -> Result<M, Error>) {
        let opened = open();
        self.check_read(bounds.open, "to open the image");
        let Ok(mut map) = opened else { return };
        let size = map.virtual_size();
        let places = self.places.into_iter().filter_map(|place| place.checked_rem(size));
        for place in places.chain(size.checked_sub(1)) {
            let answer = self.walk(&mut map, place, bounds);
            let fresh = open().and_then(|mut map| self.extent(&mut map, place));
            assert_eq!(answer, fresh, "byte {place} depends on what was asked before");
        }
    }

    /// Asks for the extent at byte `place`, which is returned, and for those behind it.
    fn walk<M: DiskMap>(&self, map: &mut M, place: u64, bounds: Bounds) -> Result<Extent, Error> {
        self.file.take_bytes();
        let first = self.extent(map, place)?;
        let (size, mut at) = (map.virtual_size(), place);
        for _ in 0..IN_A_ROW {
            self.check_read(bounds.lookup, "to find one extent");
            if at >= size {
                break;
            }
            let Ok(extent) = self.extent(map, at) else { break };
            at = extent.end();
        }
        Ok(first)
    }

    fn extent<M: DiskMap>(&self, map: &mut M, at: u64) -> Result<Extent, Error> {
        extent_at(map, at, |_| Some(self.file.file_len()))
    }

    fn check_read(&self, bound: u64, what: &str) {
        let read = self.file.take_bytes();
        assert!(read <= bound, "{read} bytes were read {what}, {bound} are the most");
    }
}
