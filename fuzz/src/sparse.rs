//! Files with holes.

use fmt_core::{Error, ErrorKind, ReadAt};

/// How many pieces a file has at most, so that reading one takes no longer than a moment.
const MAX_PIECES: usize = 256;

/// A file of any length in a few bytes: images have large holes, and what fuzzers change should not be zeros.
///
/// Its length (`u64`), and pieces: the byte offset (`u64`), the length (`u16`), the bytes. Numbers are little-endian. What
/// lies in no piece is zeros, and a later piece replaces an earlier one.
#[derive(Clone, Debug)]
pub struct SparseFile<'b> {
    len: u64,
    pieces: Vec<(u64, &'b [u8])>,
}

impl<'b> SparseFile<'b> {
    /// The file that `input` describes; `None` where it has not even a length.
    #[must_use]
    pub fn new(input: &'b [u8]) -> Option<Self> {
        let (len, mut rest) = input.split_first_chunk()?;
        let mut file = Self { len: u64::from_le_bytes(*len), pieces: Vec::new() };
        while file.pieces.len() < MAX_PIECES
            && let Some((at, behind)) = rest.split_first_chunk()
            && let Some((len, behind)) = behind.split_first_chunk()
        {
            let len = usize::from(u16::from_le_bytes(*len)).min(behind.len());
            let (bytes, behind) = behind.split_at(len);
            file.pieces.push((u64::from_le_bytes(*at), bytes));
            rest = behind;
        }
        Some(file)
    }
}

impl ReadAt for SparseFile<'_> {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.len);
        let end = end.ok_or(Error::new(ErrorKind::Io, offset, "read past the end of the file"))?;
        buf.fill(0);
        for &(at, bytes) in &self.pieces {
            let (from, to) = (at.max(offset), at.saturating_add(bytes.len() as u64).min(end));
            if from < to {
                let len = index(to - from);
                buf[index(from - offset)..][..len].copy_from_slice(&bytes[index(from - at)..][..len]);
            }
        }
        Ok(())
    }
}

/// A place in a buffer.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("a buffer is no longer than memory")
}
