//! Files, as numbers and as bytes.

use crate::Error;

/// The number of a file that takes part in a command: an image, one of its extents, a backing file, an output.
///
/// Whoever opens the files hands the numbers out; a format crate only passes them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// Bytes at offsets: what a reader needs of a file.
pub trait ReadAt {
    /// The file's length in bytes.
    fn file_len(&self) -> u64;

    /// Fills `buf` with the bytes that start at byte `offset`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the range does not lie inside the file or reading fails.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error>;

    /// Fills `buf` from `offset` as far as the file reaches, and returns the part that was filled.
    ///
    /// # Errors
    ///
    /// As [`read_exact_at`](Self::read_exact_at), for a range that does lie inside the file.
    fn read_up_to<'b>(&self, offset: u64, buf: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let rest = self.file_len().saturating_sub(offset);
        let len = usize::try_from(rest).map_or(buf.len(), |rest| rest.min(buf.len()));
        let (head, _) = buf.split_at_mut(len);
        if !head.is_empty() {
            self.read_exact_at(offset, head)?;
        }
        Ok(head)
    }
}

impl ReadAt for [u8] {
    fn file_len(&self) -> u64 {
        // A slice is never longer than the address space, which fits.
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(buf.len())?));
        let bytes = range.and_then(|range| self.get(range)).ok_or(past_end(offset))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn file_len(&self) -> u64 {
        (**self).file_len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        (**self).read_exact_at(offset, buf)
    }
}

const fn past_end(offset: u64) -> Error {
    Error::new(crate::ErrorKind::Io, offset, "read past the end of the file")
}

/// A file of the operating system, with the length it had when it was taken.
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct StdFile {
    file: std::fs::File,
    len: u64,
}

#[cfg(feature = "std")]
impl StdFile {
    /// Takes `file`, a regular file or a block device, and asks for its length.
    ///
    /// # Errors
    ///
    /// Those of the operating system when it is asked for the length.
    pub fn new(mut file: std::fs::File) -> std::io::Result<Self> {
        // Seeking, unlike metadata, also tells a block device's length.
        let len = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        Ok(Self { file, len })
    }
}

#[cfg(all(feature = "std", unix))]
impl ReadAt for StdFile {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
            .map_err(|_| Error::new(crate::ErrorKind::Io, offset, "the file cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_reads_inside_and_refuses_outside() {
        let bytes: &[u8] = b"0123456789";
        let mut buf = [0; 4];
        bytes.read_exact_at(6, &mut buf).unwrap();
        assert_eq!(&buf, b"6789");
        assert!(bytes.read_exact_at(7, &mut buf).is_err());
        assert!(bytes.read_exact_at(u64::MAX, &mut buf).is_err());
        bytes.read_exact_at(10, &mut []).unwrap();
    }

    #[test]
    fn reading_up_to_stops_at_the_end() {
        let bytes: &[u8] = b"0123456789";
        assert_eq!(bytes.read_up_to(8, &mut [0; 4]).unwrap(), b"89");
        assert_eq!(bytes.read_up_to(10, &mut [0; 4]).unwrap(), b"");
        assert_eq!(bytes.read_up_to(11, &mut [0; 4]).unwrap(), b"");
    }

    #[cfg(all(feature = "std", unix))]
    #[test]
    fn a_file_reads_like_a_slice() {
        let file = StdFile::new(std::fs::File::open("src/file.rs").unwrap()).unwrap();
        let mut buf = [0; 3];
        file.read_exact_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"//!");
        assert!(file.read_exact_at(file.file_len(), &mut buf).is_err());
    }
}
