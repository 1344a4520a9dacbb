//! Where a raw disk's bytes are.

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, Source, round_up_to_sector};

/// A raw disk: the file's bytes, then zeros to the end of the last sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMap {
    file: FileId,
    /// The file's length in bytes.
    file_len: u64,
    /// The disk's size in bytes: `file_len` in whole sectors.
    size: u64,
}

impl RawMap {
    /// The disk that `file`, of `file_len` bytes, holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when the length in whole sectors does not fit 64 bits.
    pub const fn new(file: FileId, file_len: u64) -> Result<Self, Error> {
        match round_up_to_sector(file_len) {
            Some(size) => Ok(Self { file, file_len, size }),
            None => Err(Error::new(ErrorKind::TooLarge, file_len, "the length of the file")),
        }
    }
}

impl DiskMap for RawMap {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        Ok(if at < self.file_len {
            Extent { start: 0, len: self.file_len, source: Source::Data { file: self.file, offset: 0 } }
        } else {
            Extent {
                start: self.file_len,
                len: self.size.saturating_sub(self.file_len),
                source: Source::Zero,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(7);

    #[test]
    fn whole_sectors_are_one_extent() {
        let mut disk = RawMap::new(FILE, 4096).unwrap();
        let data = Source::Data { file: FILE, offset: 512 };
        let mut extents = disk.extents(512..9999);
        assert_eq!(extents.next(), Some(Ok(Extent { start: 512, len: 3584, source: data })));
        assert_eq!(extents.next(), None);
    }

    #[test]
    fn an_empty_file_is_an_empty_disk() {
        let mut disk = RawMap::new(FILE, 0).unwrap();
        assert_eq!(disk.virtual_size(), 0);
        assert_eq!(disk.extents(0..u64::MAX).count(), 0);
    }

    #[test]
    fn the_longest_file_is_refused_where_its_sectors_overflow() {
        assert_eq!(RawMap::new(FILE, u64::MAX).unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(RawMap::new(FILE, u64::MAX - 511).unwrap().virtual_size(), u64::MAX - 511);
    }
}
