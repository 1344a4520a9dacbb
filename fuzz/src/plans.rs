//! What any writer must write, whatever the disk.

use fmt_core::testing::{Piece, PlannedFile, extents, magnitude};
use fmt_core::{DiskMap, DiskPlan, Error, Extent};
use zerocopy::FromBytes;

/// A disk to write.
///
/// An input is a number that chooses the options, the disk's size (as a [`magnitude`]), then the pieces of the disk, three
/// numbers each: the numbers are `u64`, little-endian.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What chooses the options, a byte for each.
    pub choice: [u8; 8],
    /// In bytes.
    pub size: u64,
    pieces: Vec<Piece>,
}

/// How many pieces a disk has at most.
const MAX_PIECES: usize = 32;

impl Disk {
    /// The disk that `input` describes, of `max_size` bytes at most; `None` where it has not even a size.
    #[must_use]
    pub fn new(input: &[u8], max_size: u64) -> Option<Self> {
        let (choice, rest) = input.split_first_chunk()?;
        let (size, mut rest) = rest.split_first_chunk()?;
        let mut pieces = Vec::new();
        while pieces.len() < MAX_PIECES
            && let Ok((piece, behind)) = <[u64; 3]>::read_from_prefix(rest)
        {
            pieces.push(Piece::from(piece.map(u64::from_le)));
            rest = behind;
        }
        let size = magnitude(u64::from_le_bytes(*size)).min(max_size);
        Some(Self { choice: *choice, size, pieces })
    }

    /// The extents of the disk, of `budget` bytes at most.
    #[must_use]
    pub fn extents(&self, budget: u64) -> Vec<Extent> {
        extents(self.size, budget, self.pieces.iter().copied())
    }
}

/// Writes `extents` to `file` with `plan`, and holds what `open` reads from it against them.
///
/// A plan that refuses the disk must do so before its first step.
pub fn check<M: DiskMap>(
    file: &PlannedFile,
    plan: Result<impl DiskPlan, Error>,
    extents: &[Extent],
    open: impl FnOnce() -> Result<M, Error>,
) {
    if let Err(refusal) = &plan {
        assert_eq!(file.output().file_len(), None, "{refusal:?}");
        return;
    }
    PlannedFile::write(plan, extents).expect("what was begun can be ended");
    let mut map = open().expect("what was written can be read");
    file.check_disk(&mut map, extents).expect("all of what was written can be read");
}
