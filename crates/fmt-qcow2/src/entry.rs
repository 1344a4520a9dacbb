//! What an L2 entry says about its cluster (section "L1 and L2 tables", "Extended L2 Entries").

use crate::geometry::{Geometry, SUBCLUSTERS};
use crate::header::{Header, Version};
use crate::raw::{COMPRESSED, COPIED, Incompatible, OFFSET_MASK, ZERO};

/// A cluster of the disk. Clusters are thirty-two subclusters here, also where entries are not extended: then all
/// thirty-two are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Compressed as a whole.
    Compressed {
        /// The byte offset in the file.
        offset: u64,
        /// How many bytes it takes there at most.
        len: u32,
    },
    /// One bit for each subcluster, the first lowest; none has both.
    Plain {
        /// The byte offset of the cluster in the file that has the data.
        offset: u64,
        /// The subclusters whose bytes are there.
        data: u32,
        /// The subclusters that read as zeros.
        zero: u32,
    },
}

/// What is needed of the header to understand an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) geometry: Geometry,
    version: Version,
    /// The disk's bytes lie in another file, at the offsets that they have on the disk.
    data_file: bool,
}

impl Rules {
    pub(crate) fn of(header: &Header) -> Self {
        let data_file = header.incompatible().contains(Incompatible::DATA_FILE);
        Self { geometry: header.geometry(), version: header.version(), data_file }
    }

    /// What the bytes of an entry say about the cluster that begins at byte `start` of the disk. The error says what
    /// is wrong with the entry.
    pub(crate) fn cluster(self, bytes: &[u8], start: u64) -> Result<Cluster, &'static str> {
        let (entry, rest) = bytes.split_first_chunk().ok_or("an L2 entry is cut short")?;
        let entry = u64::from_be_bytes(*entry);
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let offset = entry & OFFSET_MASK;
        // In an external data file, the first cluster of the disk lies at offset 0.
        let allocated = offset != 0 || (self.data_file && entry & COPIED != 0);
        let (data, zero) = if self.geometry.extended_l2() {
            subclusters(rest, allocated)?
        } else {
            self.whole(entry, allocated)?
        };
        // A cluster that only reads as zeros may have no place.
        if offset != 0 || (allocated && (data != 0 || self.geometry.extended_l2())) {
            self.check_offset(offset, start)?;
        }
        Ok(Cluster::Plain { offset, data, zero })
    }

    /// The subclusters of an entry that speaks of the whole cluster.
    fn whole(self, entry: u64, allocated: bool) -> Result<(u32, u32), &'static str> {
        match (entry & ZERO != 0, allocated) {
            (true, _) if self.version == Version::V2 => Err("a zero cluster in an image of version 2"),
            (true, _) => Ok((0, u32::MAX)),
            (false, true) => Ok((u32::MAX, 0)),
            (false, false) => Ok((0, 0)),
        }
    }

    fn compressed(self, entry: u64) -> Result<Cluster, &'static str> {
        if self.data_file {
            return Err("a compressed cluster in an image with an external data file");
        }
        // The offset takes what the number of sectors leaves below the flags: 61 to 49 bits.
        let offset_bits = 70 - self.geometry.cluster_bits();
        let offset = entry & ((1 << offset_bits) - 1);
        let more_sectors = (entry & !(COPIED | COMPRESSED)) >> offset_bits;
        // At most 8192 sectors: twice the largest cluster.
        let len = u32::try_from((more_sectors + 1) * 512 - offset % 512);
        let len = len.map_err(|_| "a compressed cluster is too long")?;
        Ok(Cluster::Compressed { offset, len })
    }

    fn check_offset(self, offset: u64, start: u64) -> Result<(), &'static str> {
        if !self.geometry.is_aligned(offset) {
            return Err("a data cluster's offset is not aligned to a cluster");
        }
        if self.data_file && offset != start {
            return Err("a data cluster's offset in the external data file is not its offset on the disk");
        }
        Ok(())
    }
}

/// The subclusters of an extended entry, whose second half is the bits of the zeros, then those of the data.
fn subclusters(bits: &[u8], allocated: bool) -> Result<(u32, u32), &'static str> {
    let (zero, rest) = bits.split_first_chunk().ok_or("an L2 entry is cut short")?;
    let data = rest.first_chunk().ok_or("an L2 entry is cut short")?;
    let (data, zero) = (u32::from_be_bytes(*data), u32::from_be_bytes(*zero));
    if data & zero != 0 {
        return Err("a subcluster is both allocated and zero");
    }
    if !allocated && data != 0 {
        return Err("a subcluster is allocated in a cluster that is not");
    }
    Ok((data, zero))
}

/// What the bytes of a subcluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Zero,
    Unallocated,
}

/// What subcluster `first` of a plain cluster is, and how many from there on are the same.
pub(crate) fn alike(data: u32, zero: u32, first: u32) -> (Kind, u32) {
    let run = |bits: u32| bits.unbounded_shr(first).trailing_ones();
    let (data_run, zero_run) = (run(data), run(zero));
    if data_run > 0 {
        (Kind::Data, data_run)
    } else if zero_run > 0 {
        (Kind::Zero, zero_run)
    } else {
        (Kind::Unallocated, run(!(data | zero)).max(1))
    }
}

const _: () = assert!(SUBCLUSTERS == u32::BITS);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(cluster_bits: u32, extended: bool) -> Rules {
        let geometry = Geometry::new(cluster_bits, extended).unwrap();
        Rules { geometry, version: Version::V3, data_file: false }
    }

    #[test]
    fn compressed_descriptors_divide_their_bits_by_the_cluster_size() {
        let read = |bits, entry: u64| rules(bits, false).cluster(&entry.to_be_bytes(), 0);
        let all = u64::MAX;
        // 512 bytes: one bit of sectors, 61 of offset.
        assert_eq!(read(9, COMPRESSED | 0x345), Ok(Cluster::Compressed { offset: 0x345, len: 512 - 0x145 }));
        assert_eq!(read(9, all), Ok(Cluster::Compressed { offset: (1 << 61) - 1, len: 1024 - 511 }));
        // 2 MiB: 13 bits of sectors, 49 of offset.
        assert_eq!(read(21, all), Ok(Cluster::Compressed { offset: (1 << 49) - 1, len: (4 << 20) - 511 }));
        assert_eq!(
            read(16, COMPRESSED | 2 << 54 | 1),
            Ok(Cluster::Compressed { offset: 1, len: 3 * 512 - 1 }),
        );
    }

    #[test]
    fn the_zero_flag_means_nothing_in_an_extended_entry() {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&(0x50000 | COPIED | ZERO).to_be_bytes());
        entry[8..].copy_from_slice(&0x0000_0002_0000_0001u64.to_be_bytes());
        let found = rules(16, true).cluster(&entry, 0);
        assert_eq!(found, Ok(Cluster::Plain { offset: 0x50000, data: 1, zero: 2 }));
    }

    #[test]
    fn runs_of_subclusters_end_where_the_kind_changes() {
        assert_eq!(alike(u32::MAX, 0, 0), (Kind::Data, 32));
        assert_eq!(alike(0, u32::MAX, 31), (Kind::Zero, 1));
        assert_eq!(alike(0, 0, 5), (Kind::Unallocated, 27));
        assert_eq!(alike(0b0011, 0b1000, 0), (Kind::Data, 2));
        assert_eq!(alike(0b0011, 0b1000, 2), (Kind::Unallocated, 1));
        assert_eq!(alike(0b0011, 0b1000, 3), (Kind::Zero, 1));
        assert_eq!(alike(0b0011, 0b1000, 4), (Kind::Unallocated, 28));
    }
}
