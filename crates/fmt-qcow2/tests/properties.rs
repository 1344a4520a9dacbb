//! What must hold for any disk that is written.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeMap;

use fmt_core::testing::{OUTPUT, Piece, PlannedFile, blocks, extents, magnitude};
use fmt_core::{DiskMap, ErrorKind, Extent, ReadAt, round_up_to_sector};
use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan};
use proptest::prelude::*;

/// How many clusters a disk allocates at most, so that a case takes no longer than a moment.
const BUDGET: u64 = 1000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_disk_is_read_as_it_was_written(
        size in any::<u64>().prop_map(magnitude),
        pieces in prop::collection::vec(any::<[u64; 3]>().prop_map(Piece::from), 0..12),
        cluster_bits in 9..22_u32,
    ) {
        let options = Options::default().cluster_size(1 << cluster_bits);
        let extents = extents(size, BUDGET << cluster_bits, pieces);
        let max_len = options.max_len(size);
        let file = PlannedFile::new(max_len.unwrap_or(0));
        let written = PlannedFile::write(Qcow2Plan::begin(&file, OUTPUT, size, &options), &extents);

        if let Err(error) = max_len {
            prop_assert_eq!(error.kind, ErrorKind::TooLarge);
            prop_assert_eq!(written, Err(error));
            prop_assert_eq!(file.output().file_len(), None);
        } else {
            written.unwrap();
            let mut map = Qcow2Map::new(&file, OUTPUT).unwrap();
            prop_assert_eq!(map.virtual_size(), round_up_to_sector(size).unwrap());
            prop_assert_eq!(file.output().holes(), [], "whatever was in the file before");
            check_refcounts(&file, &map, &extents);
            file.check_disk(&mut map, &extents).unwrap();
        }
    }
}

/// Each cluster of the disk that an extent touches is in the file, and no other is; and the refcount of each cluster of
/// the file is the number of references to it.
fn check_refcounts(file: &PlannedFile, map: &Qcow2Map<&PlannedFile>, extents: &[Extent]) {
    let cluster_size = map.header().geometry().cluster_size();
    let image = Image { file, cluster_size };
    let references = image.references();
    let clusters = file.file_len() / cluster_size;
    assert_eq!(file.file_len() % cluster_size, 0, "ends with a cluster");
    assert_eq!(references.len() as u64, clusters, "no cluster of the file is left out");

    let data = references.values().filter(|(_, what)| *what == What::Data).count();
    assert_eq!(data, blocks(extents, cluster_size).len());
    assert_eq!(image.refcounts(), references.into_iter().map(|(at, (count, _))| (at, count)).collect());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Metadata,
    Data,
}

/// A file, read by the words of the specification: sections "Header", "Host cluster management", "Cluster mapping".
struct Image<'f> {
    file: &'f PlannedFile,
    cluster_size: u64,
}

impl Image<'_> {
    /// For each cluster of the file to which something refers, by its byte offset, how often, and what is in it.
    fn references(&self) -> BTreeMap<u64, (u64, What)> {
        let mut found = BTreeMap::new();
        let mut refer = |at: u64, what: What| {
            assert!(at.is_multiple_of(self.cluster_size), "{what:?} at {at}");
            let (count, before) = found.entry(at).or_insert((0, what));
            *count += 1;
            assert_eq!(*before, what, "at {at}");
        };
        let clusters = |at: u64, len: u64| (at..at + len).step_by(self.cluster_size.try_into().unwrap());
        let (l1_at, l1_len) = (self.u64(40), u64::from(self.u32(36)) * 8);
        let (refcounts_at, refcounts_len) = self.refcount_table();

        refer(0, What::Metadata);
        clusters(l1_at, l1_len).for_each(|at| refer(at, What::Metadata));
        clusters(refcounts_at, refcounts_len).for_each(|at| refer(at, What::Metadata));
        self.entries(refcounts_at, refcounts_len).for_each(|(_, block)| refer(block, What::Metadata));
        for (_, entry) in self.entries(l1_at, l1_len) {
            let table = entry & !(1 << 63);
            refer(table, What::Metadata);
            for (_, entry) in self.entries(table, self.cluster_size) {
                assert_ne!(entry >> 63, 0, "a cluster that is used once says so");
                refer(entry & !(1 << 63), What::Data);
            }
        }
        found
    }

    /// The refcount of each cluster of the file, by its byte offset, where it is not 0.
    fn refcounts(&self) -> BTreeMap<u64, u64> {
        let (table_at, table_len) = self.refcount_table();
        let per_block = self.cluster_size / 2;
        let mut found = BTreeMap::new();
        for (index, block) in self.entries(table_at, table_len) {
            let counts = self.bytes(block, self.cluster_size);
            for (cluster, count) in (index * per_block..).zip(counts.as_chunks().0) {
                let count = u16::from_be_bytes(*count);
                if count != 0 {
                    found.insert(cluster * self.cluster_size, count.into());
                }
            }
        }
        found
    }

    /// Where the refcount table is, and its length in bytes.
    fn refcount_table(&self) -> (u64, u64) {
        (self.u64(48), u64::from(self.u32(56)) * self.cluster_size)
    }

    /// The entries of a table that are not 0, with their numbers.
    fn entries(&self, at: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
        let bytes = self.bytes(at, len);
        let entries: Vec<_> = bytes.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect();
        (0..).zip(entries).filter(|&(_, entry)| entry != 0)
    }

    fn u64(&self, at: u64) -> u64 {
        u64::from_be_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    fn u32(&self, at: u64) -> u32 {
        u32::from_be_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    fn bytes(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len.try_into().unwrap()];
        self.file.read_exact_at(at, &mut bytes).unwrap();
        bytes
    }
}
