//! A table of any size, through a piece of bounded size.

use alloc::vec::Vec;
use core::fmt;

use crate::{Error, ErrorKind, ReadAt};

/// The part of a file that was looked at last. What an image claims about the size of its tables costs nothing: no more
/// is kept, or read at a time, than the window holds.
pub struct Window {
    /// The byte offset of the window in the file: a multiple of its size.
    start: u64,
    bytes: Vec<u8>,
    /// How many bytes the window holds at most.
    size: usize,
}

impl Window {
    /// A window of `size` bytes, which must be a power of two. It takes no memory until it is looked through.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        assert!(size.is_power_of_two(), "windows are aligned to their size");
        Self { start: 0, bytes: Vec::new(), size }
    }

    /// The bytes of `source` from byte `at` to the end of the window around it: at least `len` of them.
    ///
    /// `at` must be a multiple of `len`, and `len` a power of two no larger than the window, so that what is asked for
    /// never straddles two windows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] when the file ends before, and those of reading it.
    pub fn look<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64, len: usize) -> Result<&[u8], Error> {
        debug_assert!(
            len.is_power_of_two() && len <= self.size && at.is_multiple_of(len as u64),
            "straddles"
        );
        if !self.shows(at) {
            self.load(source, at)?;
        }
        let bytes = usize::try_from(at - self.start).ok().and_then(|from| self.bytes.get(from..));
        let beyond = Error::new(ErrorKind::Corrupt, at, "a table reaches beyond the end of the file");
        bytes.filter(|bytes| bytes.len() >= len).ok_or(beyond)
    }

    /// The big-endian 64-bit number at byte `at` of `source`, which must be a multiple of eight.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    pub fn be_u64<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<u64, Error> {
        self.array(source, at).map(u64::from_be_bytes)
    }

    /// The little-endian 64-bit number at byte `at` of `source`, which must be a multiple of eight.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    pub fn le_u64<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<u64, Error> {
        self.array(source, at).map(u64::from_le_bytes)
    }

    /// The big-endian 32-bit number at byte `at` of `source`, which must be a multiple of four.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    pub fn be_u32<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<u32, Error> {
        self.array(source, at).map(u32::from_be_bytes)
    }

    /// The little-endian 32-bit number at byte `at` of `source`, which must be a multiple of four.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    pub fn le_u32<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<u32, Error> {
        self.array(source, at).map(u32::from_le_bytes)
    }

    fn array<S: ReadAt + ?Sized, const N: usize>(&mut self, source: &S, at: u64) -> Result<[u8; N], Error> {
        let bytes = self.look(source, at, N)?.first_chunk();
        bytes.copied().ok_or(Error::new(ErrorKind::Corrupt, at, "a table ends early"))
    }

    /// Whether the window shows byte `at` of the file, or would if the file were long enough.
    pub(crate) const fn shows(&self, at: u64) -> bool {
        !self.bytes.is_empty() && self.start == at - at % self.size as u64
    }

    /// The byte offset of the window in the file, and what it shows.
    pub(crate) const fn shown(&mut self) -> (u64, &mut Vec<u8>) {
        (self.start, &mut self.bytes)
    }

    /// Shows what is around byte `at` of the file, read anew.
    pub(crate) fn load<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<(), Error> {
        let start = at - at % self.size as u64;
        self.bytes.resize(self.size, 0);
        let len = match source.read_up_to(start, &mut self.bytes) {
            Ok(read) => read.len(),
            Err(error) => {
                self.bytes.clear();
                return Err(error);
            }
        };
        self.bytes.truncate(len);
        self.start = start;
        Ok(())
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({} bytes at {})", self.bytes.len(), self.start)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// Counts how often it is read, and never more than a window at a time.
    struct Counted<'b>(&'b [u8], Cell<u32>);

    impl ReadAt for Counted<'_> {
        fn file_len(&self) -> u64 {
            self.0.file_len()
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
            assert!(buf.len() <= 16);
            self.1.set(self.1.get() + 1);
            self.0.read_exact_at(offset, buf)
        }
    }

    #[test]
    fn neighbours_are_read_once() {
        let bytes: Vec<u8> = (0..40).collect();
        let file = Counted(&bytes, Cell::new(0));
        let mut window = Window::new(16);
        assert_eq!(window.be_u64(&file, 0), Ok(0x0001_0203_0405_0607));
        assert_eq!(window.le_u64(&file, 8), Ok(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(file.1.get(), 1);
        assert_eq!(window.be_u32(&file, 20), Ok(0x1415_1617));
        assert_eq!(window.le_u32(&file, 16), Ok(0x1312_1110));
        assert_eq!(file.1.get(), 2);
    }

    #[test]
    fn the_end_of_the_file_is_told() {
        let bytes: Vec<u8> = (0..42).collect();
        let mut window = Window::new(16);
        assert_eq!(window.be_u64(bytes.as_slice(), 32), Ok(0x2021_2223_2425_2627));
        for at in [40, 48, 1 << 40, u64::MAX - 7] {
            assert_eq!(window.be_u64(bytes.as_slice(), at).unwrap_err().kind, ErrorKind::Corrupt, "{at}");
        }
        assert_eq!(window.be_u64(bytes.as_slice(), 0), Ok(0x0001_0203_0405_0607));
    }
}
