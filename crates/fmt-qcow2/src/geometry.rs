//! Sizes that follow from the header: of clusters, of tables, and of what a table describes.

use crate::raw::L1_ENTRY_LEN;

/// Clusters, and the L2 tables that describe them. All sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    cluster_bits: u32,
    extended_l2: bool,
}

/// The binary logarithms of the cluster sizes that there are: 512 bytes to 2 MiB.
pub const CLUSTER_BITS: core::ops::RangeInclusive<u32> = 9..=21;

/// How many subclusters a cluster has where L2 entries are extended.
pub const SUBCLUSTERS: u32 = 32;

impl Geometry {
    /// Clusters of 2<sup>`cluster_bits`</sup> bytes. `None` where there are no such clusters, or where they are
    /// too small for extended L2 entries: a subcluster has at least 512 bytes.
    #[must_use]
    pub const fn new(cluster_bits: u32, extended_l2: bool) -> Option<Self> {
        let min =
            if extended_l2 { *CLUSTER_BITS.start() + SUBCLUSTERS.ilog2() } else { *CLUSTER_BITS.start() };
        if cluster_bits < min || cluster_bits > *CLUSTER_BITS.end() {
            return None;
        }
        Some(Self { cluster_bits, extended_l2 })
    }

    /// The size of a cluster in bytes.
    #[must_use]
    pub const fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    /// The binary logarithm of the cluster size.
    #[must_use]
    pub const fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    /// Whether L2 entries are extended, and tell subclusters apart.
    #[must_use]
    pub const fn extended_l2(self) -> bool {
        self.extended_l2
    }

    /// A thirty-second of a cluster in bytes: a subcluster, where L2 entries are extended.
    #[must_use]
    pub const fn subcluster_size(self) -> u64 {
        self.cluster_size() / SUBCLUSTERS as u64
    }

    /// The length of an L2 entry in bytes.
    #[must_use]
    pub const fn l2_entry_len(self) -> usize {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// How many entries an L2 table has: it fills a cluster.
    #[must_use]
    pub const fn l2_entries(self) -> u64 {
        self.cluster_size() / self.l2_entry_len() as u64
    }

    /// How many bytes of the disk one L2 table describes: at most 2<sup>39</sup>.
    #[must_use]
    pub const fn l2_reach(self) -> u64 {
        self.cluster_size() * self.l2_entries()
    }

    /// How many L1 entries a disk of `size` bytes needs.
    #[must_use]
    pub const fn l1_entries(self, size: u64) -> u64 {
        size.div_ceil(self.l2_reach())
    }

    /// How many clusters the L1 table of a disk of `size` bytes takes.
    pub(crate) const fn l1_clusters(self, size: u64) -> u64 {
        (self.l1_entries(size) * L1_ENTRY_LEN).div_ceil(self.cluster_size())
    }

    /// The bytes that are allocated together: a subcluster, where L2 entries are extended, or a cluster.
    pub(crate) const fn block_len(self) -> u64 {
        if self.extended_l2 { self.subcluster_size() } else { self.cluster_size() }
    }

    /// Whether `offset` is where a cluster can begin.
    #[must_use]
    pub const fn is_aligned(self, offset: u64) -> bool {
        offset.is_multiple_of(self.cluster_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_clusters() {
        let usual = Geometry::new(16, false).unwrap();
        assert_eq!((usual.cluster_size(), usual.l2_entries(), usual.l2_reach()), (65536, 8192, 1 << 29));
        assert_eq!([0, 1, 1 << 29, (1 << 29) + 1].map(|size| usual.l1_entries(size)), [0, 1, 1, 2]);

        let extended = Geometry::new(16, true).unwrap();
        assert_eq!((extended.l2_entries(), extended.subcluster_size()), (4096, 2048));

        let largest = Geometry::new(21, false).unwrap();
        assert_eq!((largest.l2_reach(), largest.l1_entries(u64::MAX)), (1 << 39, 1 << 25));
    }

    #[test]
    fn clusters_have_bounds() {
        let exists = |bits, extended| Geometry::new(bits, extended).is_some();
        assert_eq!(
            [0, 8, 9, 21, 22, u32::MAX].map(|bits| exists(bits, false)),
            [false, false, true, true, false, false]
        );
        assert_eq!([13, 14].map(|bits| exists(bits, true)), [false, true]);
    }
}
