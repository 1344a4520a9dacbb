//! Files with holes, as inputs describe them: images have large holes, and what fuzzers change should not be zeros.

use fmt_core::testing::SparseFile;

/// How many pieces a file has at most, so that it is made in a moment.
pub const MAX_PIECES: u64 = 256;

/// The file that all of `input` describes; `None` where that has not even a length.
///
/// Its length (`u64`), and pieces: the byte offset (`u64`), the length (`u16`), the bytes. Numbers are little-endian. What
/// lies in no piece is zeros, and a later piece replaces an earlier one.
#[must_use]
pub fn file(input: &[u8]) -> Option<SparseFile> {
    let (len, pieces) = input.split_first_chunk()?;
    Some(with_pieces(u64::from_le_bytes(*len), MAX_PIECES, pieces).0)
}

/// A file of `len` bytes with so many pieces, as far as `input` goes; and what follows them.
pub(crate) fn with_pieces(len: u64, count: u64, input: &[u8]) -> (SparseFile, &[u8]) {
    let (mut file, mut rest) = (SparseFile::new(len), input);
    for _ in 0..count.min(MAX_PIECES) {
        let Some((at, behind)) = rest.split_first_chunk() else { break };
        let Some((len, behind)) = behind.split_first_chunk() else { break };
        let len = usize::from(u16::from_le_bytes(*len)).min(behind.len());
        let (bytes, behind) = behind.split_at(len);
        file.write(u64::from_le_bytes(*at), bytes);
        rest = behind;
    }
    (file, rest)
}
