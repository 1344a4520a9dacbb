//! Disks made up from a few numbers.

use alloc::collections::BTreeSet;
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

/// Any three numbers are a piece: one of gap, length and content each.
impl From<[u64; 3]> for Piece {
    fn from([gap, len, content]: [u64; 3]) -> Self {
        let [kind, alignment, ..] = content.to_le_bytes();
        // Many pieces begin and end with a block, of whatever size.
        let aligned = |number: u64| number & (u64::MAX << (alignment % 24));
        Self {
            gap: aligned(magnitude(gap)),
            len: aligned(magnitude(len)),
            content: Content::ALL[usize::from(kind) % Content::ALL.len()],
        }
    }
}

impl Piece {
    /// The same kind of piece on a small disk: neither gap nor length are `most` bytes or more.
    #[must_use]
    pub const fn below(self, most: u64) -> Self {
        Self { gap: self.gap % most, len: self.len % most, content: self.content }
    }
}

/// A number below 2<sup>58</sup>, of any number of digits as likely as of any other if `bits` are random.
#[must_use]
pub const fn magnitude(bits: u64) -> u64 {
    (bits >> 6) >> (bits % 58)
}

/// The extents of a disk of `size` bytes that consists of `pieces`, one behind the other, as far as there is room, and as
/// long as they allocate no more than `budget` bytes.
///
/// No two bytes come from the same place, so none can be taken for another.
pub fn extents(size: u64, budget: u64, pieces: impl IntoIterator<Item = Piece>) -> Vec<Extent> {
    let (mut extents, mut end, mut budget) = (Vec::new(), 0_u64, budget);
    for Piece { gap, len, content } in pieces {
        let start = end.saturating_add(gap).min(size);
        let most = match content {
            Content::Unallocated => u64::MAX,
            Content::Compressed => budget.min(MAX_UNIT_LEN),
            Content::Zero | Content::Data => budget,
        };
        let len = len.min(size - start).min(most);
        if len > 0 {
            extents.push(Extent { start, len, source: source(content, start, len, extents.len()) });
        }
        if content != Content::Unallocated {
            budget -= len;
        }
        end = start + len;
    }
    extents
}

/// The numbers of the blocks, of `block_len` bytes each, that `extents` allocate something of.
pub fn blocks(extents: &[Extent], block_len: u64) -> BTreeSet<u64> {
    let allocated = extents.iter().filter(|extent| extent.source != Source::Unallocated);
    allocated.flat_map(|extent| extent.start / block_len..=(extent.end() - 1) / block_len).collect()
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
            70,
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
        assert_eq!(Vec::from_iter(blocks(&found, 25)), [0, 1, 2, 3]);
        assert_eq!(Vec::from_iter(blocks(&found, 10)), [1, 2, 3, 4, 5, 8, 9]);
    }
}
