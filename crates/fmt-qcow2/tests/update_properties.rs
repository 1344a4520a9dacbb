//! What must hold for whatever is written to any disk, by the words of the specification.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod common;

use std::collections::BTreeMap;

use common::live::{INPUT, LIVE, Live};
use common::{noise, read_disk};
use fmt_core::{DiskPlan, Extent, Source, Zeros};
use fmt_qcow2::raw::{COPIED, OFFSET_MASK};
use fmt_qcow2::{Header, Options, Qcow2Plan, Qcow2Update};
use proptest::prelude::*;

const SIZE: usize = 300 * 1024 + 512;

/// Three numbers for each piece of a disk: how far it is behind the last one, its length, and what it is.
type Pieces = Vec<(u16, u16, u8)>;

fn extents(pieces: &Pieces, shift: usize) -> Vec<Extent> {
    let (mut at, mut found) = (0, Vec::new());
    for &(gap, len, kind) in pieces {
        // Half of all pieces consist of sectors.
        let align = if kind & 1 == 0 { 512 } else { 1 };
        let start = (at + usize::from(gap)).next_multiple_of(align);
        let end = (start + usize::from(len)).next_multiple_of(align).min(SIZE);
        if start >= end {
            continue;
        }
        let source = match kind / 2 % 4 {
            0 => Source::Unallocated,
            1 => Source::Zero,
            _ => Source::Data { file: INPUT, offset: (start + shift) as u64 },
        };
        found.push(Extent { start: start as u64, len: (end - start) as u64, source });
        at = end;
    }
    found
}

/// Does to the plain disk what the plan does to the image.
fn write(disk: &mut [u8], input: &[u8], extents: &[Extent]) {
    for extent in extents {
        let place = &mut disk[extent.start.try_into().unwrap()..extent.end().try_into().unwrap()];
        match extent.source {
            Source::Zero => place.fill(0),
            Source::Data { offset, .. } => {
                let offset = usize::try_from(offset).unwrap();
                place.copy_from_slice(&input[offset..offset + place.len()]);
            }
            _ => {}
        }
    }
}

fn pieces() -> impl Strategy<Value = Pieces> {
    prop::collection::vec((0..40_000_u16, 0..40_000_u16, any::<u8>()), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_disk_is_read_as_it_was_written(
        first in pieces(),
        rounds in prop::collection::vec(pieces(), 1..4),
        (cluster_bits, extended) in prop_oneof![(9..18_u32, Just(false)), (14..18_u32, Just(true))],
        refcount_order in 0..7_u32,
    ) {
        let input = noise(SIZE + 8, 90);
        let options = Options::default()
            .cluster_size(1 << cluster_bits)
            .extended_l2(extended)
            .refcount_bits(1 << refcount_order)
            .zeros(Zeros::Absent);
        let live = Live::new(Vec::new(), &input, 0);
        let mut disk = vec![0; SIZE];
        let mut plan = Qcow2Plan::begin(&live, LIVE, SIZE as u64, &options).unwrap();
        let written = extents(&first, 0);
        written.iter().for_each(|&extent| plan.extent(extent).unwrap());
        plan.finish().unwrap();
        write(&mut disk, &input, &written);
        for (pieces, shift) in rounds.iter().zip(1..) {
            let written = extents(pieces, shift);
            let mut update = Qcow2Update::open(&live, &live, LIVE).unwrap();
            written.iter().for_each(|&extent| update.extent(extent).unwrap());
            update.finish().unwrap();
            write(&mut disk, &input, &written);
        }
        let bytes = live.bytes();
        prop_assert!(read_disk(&bytes, None, None).unwrap() == disk);
        let image = Image { header: Header::read(bytes.as_slice()).unwrap(), bytes: &bytes };
        prop_assert_eq!(image.refcounts(), image.references());
    }
}

/// An image without snapshots and compressed clusters: sections "Header", "Host cluster management", "Cluster mapping".
struct Image<'b> {
    header: Header,
    bytes: &'b [u8],
}

impl Image<'_> {
    fn cluster_size(&self) -> u64 {
        self.header.geometry().cluster_size()
    }

    /// How often something refers to each cluster of the file.
    fn references(&self) -> BTreeMap<u64, u64> {
        let (size, header) = (self.cluster_size(), &self.header);
        let mut found = BTreeMap::new();
        let mut refer = |at: u64, len: u64| {
            assert!(at.is_multiple_of(size), "{at}");
            (at / size..(at + len).div_ceil(size))
                .for_each(|cluster| *found.entry(cluster).or_insert(0) += 1);
        };
        refer(0, size);
        refer(header.l1().offset, u64::from(header.l1().entries) * 8);
        refer(header.refcounts().offset, u64::from(header.refcounts().entries) * 8);
        self.words(header.refcounts().offset, header.refcounts().entries.into(), 8)
            .for_each(|block| refer(block, size));
        for table in self.words(header.l1().offset, header.l1().entries.into(), 8) {
            assert_ne!(table & COPIED, 0, "a table that is used once says so");
            refer(table & OFFSET_MASK, size);
            let geometry = header.geometry();
            for entry in self.words(table & OFFSET_MASK, geometry.l2_entries(), geometry.l2_entry_len()) {
                if entry & OFFSET_MASK != 0 {
                    assert_ne!(entry & COPIED, 0, "a cluster that is used once says so");
                    refer(entry & OFFSET_MASK, size);
                }
            }
        }
        found
    }

    /// The refcounts that are not 0.
    fn refcounts(&self) -> BTreeMap<u64, u64> {
        let bits = u64::from(self.header.refcount_bits());
        let per_block = self.cluster_size() * 8 / bits;
        let table = self.header.refcounts();
        let mut found = BTreeMap::new();
        for index in 0..table.entries.into() {
            let block = self.word(table.offset + index * 8);
            if block == 0 {
                continue;
            }
            for entry in 0..per_block {
                let at = block + entry * bits / 8;
                let count = match bits {
                    8.. => (0..bits / 8).fold(0, |count, byte| count << 8 | u64::from(self.byte(at + byte))),
                    _ => u64::from(self.byte(at)) >> (entry * bits % 8) & ((1 << bits) - 1),
                };
                if count != 0 {
                    found.insert(index * per_block + entry, count);
                }
            }
        }
        found
    }

    /// The first words of a table's entries that are not 0.
    fn words(&self, at: u64, entries: u64, len: usize) -> impl Iterator<Item = u64> {
        (0..entries).map(move |entry| self.word(at + entry * len as u64)).filter(|&word| word != 0)
    }

    fn word(&self, at: u64) -> u64 {
        (0..8).fold(0, |word, byte| word << 8 | u64::from(self.byte(at + byte)))
    }

    /// The last cluster of the file need not be whole.
    fn byte(&self, at: u64) -> u8 {
        self.bytes.get(usize::try_from(at).unwrap()).copied().unwrap_or(0)
    }
}
