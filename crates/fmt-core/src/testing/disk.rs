//! Disks made up from a few numbers.

use alloc::vec::Vec;

use super::INPUT;
use crate::{Codec, Compressed, Extent, Source};

/// The longest extent of compressed data, in bytes: a cluster has no more.
const MAX_UNIT_LEN: u64 = 2 << 20;

/// What is in a piece of a made-up disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// [`Source::Unallocated`].
    Unallocated,
    /// [`Source::Zero`].
    Zero,
    /// [`Source::Data`].
    Data,
    /// [`Source::Compressed`].
    Compressed,
}

impl Content {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Unallocated, Self::Zero, Self::Data, Self::Compressed];
}

/// A piece of a made-up disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes before it no extent covers.
    pub gap: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What is in it.
    pub content: Content,
}

/// The extents of a disk of `size` bytes that consists of `pieces`, one behind the other, as far as there is room.
///
/// No two bytes come from the same place, so none can be taken for another.
pub fn extents(size: u64, pieces: impl IntoIterator<Item = Piece>) -> Vec<Extent> {
    let (mut extents, mut end) = (Vec::new(), 0_u64);
    for Piece { gap, len, content } in pieces {
        let start = end.saturating_add(gap).min(size);
        let len = len.min(size - start);
        let len = if content == Content::Compressed { len.min(MAX_UNIT_LEN) } else { len };
        if len > 0 {
            extents.push(Extent { start, len, source: source(content, start, len, extents.len()) });
        }
        end = start + len;
    }
    extents
}

/// Where piece `number` is, of `len` bytes from byte `start` of the disk.
fn source(content: Content, start: u64, len: u64, number: usize) -> Source {
    // Further apart than on the disk, so that neighbours do not continue one another.
    let offset = start.saturating_add(number as u64 + 1);
    match content {
        Content::Unallocated => Source::Unallocated,
        Content::Zero => Source::Zero,
        Content::Data => Source::Data { file: INPUT, offset },
        Content::Compressed => {
            let unit_len = u32::try_from(len).unwrap_or(u32::MAX);
            let unit = Compressed { file: INPUT, offset, len: 1, unit_len, codec: Codec::Deflate };
            Source::Compressed { unit, skip: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_one_another_and_end_with_the_disk() {
        let piece = |gap, len, content| Piece { gap, len, content };
        let found = extents(
            100,
            [
                piece(10, 20, Content::Data),
                piece(0, 0, Content::Zero),
                piece(0, 30, Content::Data),
                piece(20, u64::MAX, Content::Zero),
                piece(u64::MAX, 1, Content::Data),
            ],
        );
        let data = |offset| Source::Data { file: INPUT, offset };
        assert_eq!(
            found,
            [
                Extent { start: 10, len: 20, source: data(11) },
                Extent { start: 30, len: 30, source: data(32) },
                Extent { start: 80, len: 20, source: Source::Zero },
            ]
        );
    }
}
