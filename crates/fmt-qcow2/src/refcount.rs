//! Refcounts of a new image: every cluster of the file is used once (section "Host cluster management").

use fmt_core::{Error, ErrorKind, StepSink};

use crate::geometry::Geometry;
use crate::limits::MAX_REFCOUNT_TABLE_LEN;
use crate::output::{Output, PIECE_LEN, Table};

/// The refcounts that are written have 16 bits, which is order 4.
pub(crate) const REFCOUNT_ORDER: u32 = 4;
const REFCOUNT_LEN: u64 = 2;
const TABLE_ENTRY_LEN: u64 = 8;

/// The clusters at the end of the file that hold the refcounts of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refcounts {
    geometry: Geometry,
    /// The number of the first refcount block's cluster: how many clusters come before.
    first: u64,
    /// How many refcount blocks there are, one cluster each.
    blocks: u64,
    /// How many clusters the refcount table takes, after the blocks.
    table_clusters: u64,
}

impl Refcounts {
    /// The refcounts of a file that has `first` clusters besides them. `None` where its numbers do not fit 64 bits.
    pub(crate) fn after(geometry: Geometry, first: u64) -> Option<Self> {
        let per_block = geometry.cluster_size() / REFCOUNT_LEN;
        let per_table_cluster = geometry.cluster_size() / TABLE_ENTRY_LEN;
        let mut found = Self { geometry, first, blocks: 0, table_clusters: 1 };
        // Refcounts count themselves, too. Each round adds less than a hundredth of what the last one added.
        loop {
            let blocks = found.clusters()?.div_ceil(per_block);
            let table_clusters = blocks.div_ceil(per_table_cluster);
            if (blocks, table_clusters) == (found.blocks, found.table_clusters) {
                return Some(found);
            }
            found = Self { blocks, table_clusters, ..found };
        }
    }

    /// How many clusters the whole file has.
    pub(crate) fn clusters(&self) -> Option<u64> {
        self.first.checked_add(self.blocks)?.checked_add(self.table_clusters)
    }

    /// The length of the whole file in bytes.
    pub(crate) fn file_len(&self) -> Option<u64> {
        self.clusters()?.checked_mul(self.geometry.cluster_size())
    }

    /// Where the refcount table is in the file, in bytes.
    pub(crate) fn table_offset(&self) -> u64 {
        (self.first + self.blocks) * self.geometry.cluster_size()
    }

    /// How many clusters the refcount table takes.
    pub(crate) fn table_clusters(&self) -> u64 {
        self.table_clusters
    }

    /// Whether the refcount table is no longer than a reader allows.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.table_clusters * self.geometry.cluster_size() > MAX_REFCOUNT_TABLE_LEN {
            return Err(Error::new(ErrorKind::TooLarge, 0, "what is allocated, for clusters of this size"));
        }
        Ok(())
    }

    /// Writes blocks and table.
    pub(crate) fn write<S: StepSink>(&self, output: &Output<'_, S>) -> Result<(), Error> {
        let size = self.geometry.cluster_size();
        let blocks_at = self.first * size;
        let ones = (self.first + self.blocks + self.table_clusters) * REFCOUNT_LEN;
        write_ones(output, blocks_at, ones)?;
        output.zero(blocks_at + ones, self.blocks * size - ones)?;
        let mut table = Table::new(self.table_offset(), self.table_clusters * size);
        for block in 0..self.blocks {
            table.push(output, 0, blocks_at + block * size)?;
        }
        table.finish(output)
    }
}

/// Writes refcounts of one: `len` bytes of them, from byte `at` of the file on.
fn write_ones<S: StepSink>(output: &Output<'_, S>, at: u64, len: u64) -> Result<(), Error> {
    let ones = 1_u16.to_be_bytes().repeat(PIECE_LEN / 2);
    let mut written = 0;
    while written < len {
        let piece = usize::try_from(len - written).ok().and_then(|left| ones.get(..left)).unwrap_or(&ones);
        output.write(at + written, piece)?;
        written += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_count_themselves() {
        for bits in [9, 16, 21] {
            let geometry = Geometry::new(bits, false).unwrap();
            let per_block = geometry.cluster_size() / 2;
            for first in [1, 2, per_block - 3, per_block - 2, per_block - 1, per_block, 1_000_000, 1 << 40] {
                let found = Refcounts::after(geometry, first).unwrap();
                let clusters = found.clusters().unwrap();
                assert!(found.blocks * per_block >= clusters && (found.blocks - 1) * per_block < clusters);
                assert!(found.table_clusters * geometry.cluster_size() >= found.blocks * 8);
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        let geometry = Geometry::new(9, false).unwrap();
        assert_eq!(Refcounts::after(geometry, u64::MAX), None);
        assert_eq!(Refcounts::after(geometry, 1 << 60).and_then(|found| found.file_len()), None);
    }
}
