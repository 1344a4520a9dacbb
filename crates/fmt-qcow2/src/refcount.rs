//! Refcounts of a new image: how often each cluster of the file is used (section "Host cluster management").
//!
//! Nearly all are one. Only a cluster that has compressed data is used once for each piece of it, and how often is known
//! when the next is taken. So that these counts need not be kept, refcount blocks lie among the other clusters from the
//! first compressed data on. All others lie at the end of the file, where the last counts are known.

use alloc::vec::Vec;
use core::ops::Range;

use fmt_core::{Error, ErrorKind, Output, StepSink};

use crate::geometry::Geometry;
use crate::limits::MAX_REFCOUNT_TABLE_LEN;
use crate::output::{PIECE_LEN, Table};
use crate::raw::REFCOUNT_TABLE_ENTRY_LEN;

/// How wide a refcount is, and how many a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width {
    geometry: Geometry,
    /// The binary logarithm of the width in bits: 0 to 6.
    order: u32,
}

impl Width {
    pub(crate) fn new(geometry: Geometry, bits: u32) -> Option<Self> {
        (bits.is_power_of_two() && bits <= 64).then(|| Self { geometry, order: bits.ilog2() })
    }

    pub(crate) fn geometry(self) -> Geometry {
        self.geometry
    }

    pub(crate) fn order(self) -> u32 {
        self.order
    }

    /// How many refcounts a refcount block has: at least 64.
    pub(crate) fn per_block(self) -> u64 {
        (self.geometry.cluster_size() * 8) >> self.order
    }

    /// Whether `cluster` is the first that a refcount block counts.
    pub(crate) fn begins_block(self, cluster: u64) -> bool {
        cluster.is_multiple_of(self.per_block())
    }

    /// The greatest refcount.
    pub(crate) fn max(self) -> u64 {
        u64::MAX >> (64 - (1 << self.order))
    }

    /// The bytes of a block that hold the refcount number `entry`: where they begin, and how many they are.
    pub(crate) fn bytes(self, entry: u64) -> (u64, usize) {
        ((entry << self.order) / 8, (1_usize << self.order).div_ceil(8))
    }

    /// The refcount number `entry` in its bytes.
    pub(crate) fn get(self, bytes: &[u8], entry: u64) -> u64 {
        let word = bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        (word >> self.shift(entry)) & self.max()
    }

    /// Puts the refcount number `entry` into its bytes.
    pub(crate) fn put(self, bytes: &mut [u8], entry: u64, count: u64) {
        let (field, value) = (self.max() << self.shift(entry), count << self.shift(entry));
        for (byte, place) in bytes.iter_mut().rev().zip(0..) {
            let of_byte = |word: u64| word.to_le_bytes().get(place).copied().unwrap_or(0);
            *byte = *byte & !of_byte(field) | of_byte(value);
        }
    }

    /// Refcounts narrower than a byte fill it from its lowest bits on; wider ones are big-endian.
    fn shift(self, entry: u64) -> u64 {
        if self.order < 3 { (entry << self.order) % 8 } else { 0 }
    }
}

/// Refcount blocks that lie among the other clusters: from the first of these on, all but those at the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inline {
    width: Width,
    /// The number of the first.
    first: u64,
    /// The cluster of the first. All others lie in the first of the clusters that they count.
    cluster: u64,
}

impl Inline {
    /// The block that counts `cluster`, in this very cluster, and those that follow.
    pub(crate) fn new(width: Width, cluster: u64) -> Self {
        Self { width, first: cluster / width.per_block(), cluster }
    }

    /// The refcounts that go into these blocks, none of them put yet.
    pub(crate) fn counts(&self) -> Counts {
        Counts::new(self.width, self.first * self.width.per_block())
    }

    /// The cluster of `block`, which is one of these.
    pub(crate) fn cluster_of(&self, block: u64) -> u64 {
        if block == self.first { self.cluster } else { block * self.width.per_block() }
    }
}

/// Where the refcounts are in a file that is otherwise complete: blocks at its end, behind them the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refcounts {
    width: Width,
    inline: Option<Inline>,
    /// How many clusters come before the blocks at the end.
    first: u64,
    /// How many refcount blocks there are in all, one cluster each.
    blocks: u64,
    /// How many clusters the refcount table takes.
    table_clusters: u64,
}

impl Refcounts {
    /// The refcounts of a file that has `first` clusters besides those at its end. `None` where its numbers do not fit
    /// 64 bits.
    pub(crate) fn after(width: Width, inline: Option<Inline>, first: u64) -> Option<Self> {
        let per_table_cluster = width.geometry.cluster_size() / REFCOUNT_TABLE_ENTRY_LEN;
        let mut found = Self { width, inline, first, blocks: 0, table_clusters: 1 };
        found.blocks = found.inline_blocks().end;
        // Refcounts count themselves, too. Each round adds less than a thirtieth of what the last one added.
        loop {
            let blocks = found.clusters()?.div_ceil(width.per_block());
            let table_clusters = blocks.div_ceil(per_table_cluster);
            if (blocks, table_clusters) == (found.blocks, found.table_clusters) {
                return Some(found);
            }
            found = Self { blocks, table_clusters, ..found };
        }
    }

    /// The numbers of the blocks that lie among the other clusters.
    fn inline_blocks(&self) -> Range<u64> {
        self.inline.map_or(0..0, |inline| inline.first..self.first.div_ceil(self.width.per_block()))
    }

    /// How many blocks are at the end.
    fn at_end(&self) -> u64 {
        let Range { start, end } = self.inline_blocks();
        self.blocks - (end - start)
    }

    /// How many clusters the whole file has.
    fn clusters(&self) -> Option<u64> {
        self.first.checked_add(self.at_end())?.checked_add(self.table_clusters)
    }

    /// The length of the whole file in bytes.
    pub(crate) fn file_len(&self) -> Option<u64> {
        self.clusters()?.checked_mul(self.width.geometry.cluster_size())
    }

    /// Where the refcount table is in the file, in bytes.
    pub(crate) fn table_offset(&self) -> u64 {
        (self.first + self.at_end()) * self.width.geometry.cluster_size()
    }

    /// How many clusters the refcount table takes.
    pub(crate) fn table_clusters(&self) -> u64 {
        self.table_clusters
    }

    /// Whether the refcount table is no longer than a reader allows.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.table_clusters * self.width.geometry.cluster_size() > MAX_REFCOUNT_TABLE_LEN {
            return Err(Error::new(ErrorKind::TooLarge, 0, "what is allocated, for clusters of this size"));
        }
        Ok(())
    }

    fn cluster_of(&self, block: u64) -> u64 {
        let Range { start, end } = self.inline_blocks();
        match self.inline {
            Some(inline) if (start..end).contains(&block) => inline.cluster_of(block),
            _ if block < start => self.first + block,
            _ => self.first + start + (block - end),
        }
    }

    /// Writes what is not written yet: the rest of `counts`, which are those of the blocks among the other clusters; the
    /// blocks before; the table.
    pub(crate) fn write<S: StepSink>(
        &self,
        output: &Output<'_, S>,
        counts: Option<Counts>,
    ) -> Result<(), Error> {
        let clusters = self.first + self.at_end() + self.table_clusters;
        let before = self.inline_blocks().start * self.width.per_block();
        let place = |block| self.cluster_of(block);
        let mut first = Counts::new(self.width, 0);
        let mut last = counts.unwrap_or(Counts::new(self.width, before));
        for (counts, end) in [(&mut first, before), (&mut last, clusters)] {
            counts.ones(output, place, end)?;
            counts.finish(output)?;
        }
        let size = self.width.geometry.cluster_size();
        let mut table = Table::new(self.table_offset(), self.table_clusters * size);
        for block in 0..self.blocks {
            table.push(output, 0, self.cluster_of(block) * size)?;
        }
        table.finish(output)
    }
}

/// Refcounts on their way into their blocks, in ascending order, through a piece of bounded size.
#[derive(Debug)]
pub(crate) struct Counts {
    width: Width,
    /// The cluster whose refcount comes next.
    next: u64,
    /// The byte offset in the file of what has not been written yet.
    at: u64,
    /// What is to be written there.
    piece: Vec<u8>,
}

impl Counts {
    /// The refcounts from that of `cluster` on, the first of a block.
    fn new(width: Width, cluster: u64) -> Self {
        Self { width, next: cluster, at: 0, piece: Vec::new() }
    }

    /// Puts refcounts of one, up to that of cluster `end`. `place` says in which cluster a block is.
    pub(crate) fn ones<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        place: impl Fn(u64) -> u64,
        end: u64,
    ) -> Result<(), Error> {
        while self.next < end {
            self.push(output, &place, 1)?;
        }
        Ok(())
    }

    /// Puts the next refcount.
    pub(crate) fn push<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        place: impl Fn(u64) -> u64,
        count: u64,
    ) -> Result<(), Error> {
        let (block, entry) = (self.next / self.width.per_block(), self.next % self.width.per_block());
        if entry == 0 {
            self.at = place(block) * self.width.geometry.cluster_size();
        }
        self.encode(entry, count);
        self.next += 1;
        if entry + 1 == self.width.per_block() || (self.piece.len() >= PIECE_LEN && self.is_whole()) {
            self.flush(output)?;
        }
        Ok(())
    }

    /// Refcounts narrower than a byte fill it from its lowest bits on; wider ones are big-endian.
    fn encode(&mut self, entry: u64, count: u64) {
        match self.width.order.checked_sub(3) {
            Some(order) => {
                let bytes = count.to_be_bytes();
                let (_, low) = bytes.split_at(bytes.len() - (1 << order));
                self.piece.extend_from_slice(low);
            }
            None => {
                let shift = (entry << self.width.order) % 8;
                if shift == 0 {
                    self.piece.push(0);
                }
                if let (Some(last), [.., low]) = (self.piece.last_mut(), (count << shift).to_be_bytes()) {
                    *last |= low;
                }
            }
        }
    }

    /// Whether the next refcount begins a byte.
    fn is_whole(&self) -> bool {
        (self.next << self.width.order).is_multiple_of(8)
    }

    fn flush<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        if !self.piece.is_empty() {
            output.write(self.at, &self.piece)?;
            self.at += self.piece.len() as u64;
            self.piece.clear();
        }
        Ok(())
    }

    /// Writes what is left of the last block.
    fn finish<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        self.flush(output)?;
        // Behind the last entry of a block nothing is left of it.
        let end = self.at.next_multiple_of(self.width.geometry.cluster_size());
        output.zero(self.at, end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(cluster_bits: u32, refcount_bits: u32) -> Width {
        Width::new(Geometry::new(cluster_bits, false).unwrap(), refcount_bits).unwrap()
    }

    #[test]
    fn refcounts_count_themselves() {
        for (cluster_bits, bits) in [(9, 16), (16, 16), (21, 16), (9, 64), (9, 1), (21, 64)] {
            let width = width(cluster_bits, bits);
            let per_block = width.per_block();
            for first in [1, 2, per_block - 3, per_block - 2, per_block - 1, per_block, 1_000_000, 1 << 40] {
                let found = Refcounts::after(width, None, first).unwrap();
                let clusters = found.clusters().unwrap();
                assert!(found.blocks * per_block >= clusters && (found.blocks - 1) * per_block < clusters);
                assert!(found.table_clusters * width.geometry.cluster_size() >= found.blocks * 8);
            }
        }
    }

    #[test]
    fn blocks_among_the_clusters_do_not_make_the_file_longer() {
        let width = width(9, 64);
        for cluster in [2, 63, 64, 65, 1000] {
            let inline = Inline::new(width, cluster);
            for next in cluster + 1..5000 {
                // What comes next is a block, or is behind one.
                if width.begins_block(next - 1) && next - 1 != cluster {
                    continue;
                }
                let found = Refcounts::after(width, Some(inline), next).unwrap();
                // Without them, as many blocks would be at the end.
                let Range { start, end } = found.inline_blocks();
                let without = Refcounts::after(width, None, next - (end - start)).unwrap();
                assert_eq!(found.file_len(), without.file_len(), "{cluster} {next}");
                let places: alloc::collections::BTreeSet<_> =
                    (0..found.blocks).map(|block| found.cluster_of(block)).collect();
                assert_eq!(places.len() as u64, found.blocks, "one place for each");
            }
        }
    }

    #[test]
    fn refcounts_are_changed_where_they_are() {
        let mut block = [0xff; 16];
        let mut put = |bits, entry, count| {
            let width = width(9, bits);
            let (at, len) = width.bytes(entry);
            let bytes = &mut block[usize::try_from(at).unwrap()..][..len];
            let before = width.get(bytes, entry);
            width.put(bytes, entry, count);
            assert_eq!((before, width.get(bytes, entry)), (width.max(), count), "{bits} bits");
        };
        put(1, 3, 0);
        put(2, 5, 2);
        put(4, 4, 9);
        put(8, 3, 0x12);
        put(16, 2, 0x1234);
        put(64, 1, 0x0123_4567_89ab_cdef);
        let expected =
            [0xf7, 0xfb, 0xf9, 0x12, 0x12, 0x34, 0xff, 0xff, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        assert_eq!(block, expected);
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        let width = width(9, 16);
        assert_eq!(Refcounts::after(width, None, u64::MAX), None);
        assert_eq!(Refcounts::after(width, None, 1 << 60).and_then(|found| found.file_len()), None);
    }

    #[test]
    fn the_greatest_refcount_fills_its_bits() {
        assert_eq!([1, 2, 16, 64].map(|bits| width(16, bits).max()), [1, 3, 0xffff, u64::MAX]);
    }
}
