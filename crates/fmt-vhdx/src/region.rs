//! The regions of the file: where the BAT and the metadata lie, and what no payload block may touch.

use alloc::vec;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, ReadAt};
use zerocopy::FromBytes;

use crate::checksum::Crc32c;
use crate::raw::{self, Guid, HEADER_SECTION, MIB, REGION_TABLES_AT, RegionEntry, RegionFlags, TABLE_LEN};

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The byte offset of its first byte.
    pub at: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Region {
    /// The first byte after it, or `None` where that does not fit 64 bits.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.at.checked_add(self.len)
    }
}

/// The regions of a file (MS-VHDX section 2.2.3), checked: they lie at whole MiBs, behind the headers, and apart.
#[derive(Clone, Debug)]
pub struct Regions {
    /// The block allocation table.
    pub bat: Region,
    /// The metadata table and its items.
    pub metadata: Region,
    /// What is taken, in ascending order: headers, log, and all regions, unknown ones too.
    taken: Vec<Region>,
}

impl Regions {
    /// Reads the regions of `source`, whose log must have been replayed. The second table counts where the first is
    /// damaged.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] when neither table has the right checksum, and those of [`parse`](Self::parse).
    pub fn read<S: ReadAt + ?Sized>(source: &S, log: Region) -> Result<Self, Error> {
        let mut bytes = vec![0; TABLE_LEN];
        for at in REGION_TABLES_AT {
            if source.read_up_to(at, &mut bytes)?.len() == TABLE_LEN && is_sound(&bytes) {
                return Self::parse(&bytes, at, log);
            }
        }
        Err(Error::new(ErrorKind::Corrupt, REGION_TABLES_AT[0], "neither region table is valid"))
    }

    /// The meaning of the region table `bytes`, found at byte `at` of a file that has its log at `log`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for an unknown region that is required; [`ErrorKind::Corrupt`] for too many
    /// entries, for regions that are missing, there twice, misaligned, or overlap.
    pub fn parse(bytes: &[u8], at: u64, log: Region) -> Result<Self, Error> {
        let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
        let short = |_| corrupt("the region table ends early");
        let (table, rest) = raw::RegionTable::read_from_prefix(bytes).map_err(short)?;
        let count = usize::try_from(table.entry_count.get()).unwrap_or(usize::MAX);
        if count > raw::MAX_TABLE_ENTRIES {
            return Err(corrupt("a region table has more than 2047 entries"));
        }
        let (entries, _) = <[RegionEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| corrupt("the region table ends early"))?;
        let mut found = Found::default();
        let mut taken = vec![Region { at: 0, len: HEADER_SECTION }, log];
        for entry in entries {
            let region = checked(entry, at)?;
            found.keep(entry, region, at)?;
            taken.push(region);
        }
        Ok(Self {
            bat: found.bat.ok_or(corrupt("the BAT region is missing"))?,
            metadata: found.metadata.ok_or(corrupt("the metadata region is missing"))?,
            taken: apart(taken, at)?,
        })
    }

    /// Where the last of headers, log and regions ends.
    pub(crate) fn end(&self) -> u64 {
        // They lie apart in ascending order, and the ends of all have been computed.
        self.taken.last().map_or(HEADER_SECTION, |last| last.at.saturating_add(last.len))
    }

    /// Whether the `len` bytes at byte `at` touch headers, the log, or a region.
    #[must_use]
    pub fn touches(&self, at: u64, len: u64) -> bool {
        let end = at.saturating_add(len);
        // They lie apart in ascending order, so the last one that begins before the end is the one that reaches farthest.
        let before = self.taken.partition_point(|region| region.at < end);
        let last = before.checked_sub(1).and_then(|index| self.taken.get(index));
        last.is_some_and(|region| region.at.saturating_add(region.len) > at)
    }
}

/// The regions that are known.
#[derive(Default)]
struct Found {
    bat: Option<Region>,
    metadata: Option<Region>,
}

impl Found {
    fn keep(&mut self, entry: &RegionEntry, region: Region, at: u64) -> Result<(), Error> {
        let place = match entry.guid {
            raw::BAT_REGION => &mut self.bat,
            raw::METADATA_REGION => &mut self.metadata,
            Guid(_) if RegionFlags::from_bits_retain(entry.flags.get()).contains(RegionFlags::REQUIRED) => {
                return Err(Error::new(
                    ErrorKind::UnsupportedFeature,
                    at,
                    "an unknown region that is required",
                ));
            }
            Guid(_) => return Ok(()),
        };
        match place.replace(region) {
            Some(_) => Err(Error::new(ErrorKind::Corrupt, at, "a region is there twice")),
            None => Ok(()),
        }
    }
}

fn is_sound(table: &[u8]) -> bool {
    raw::RegionTable::ref_from_prefix(table).is_ok_and(|(head, _)| {
        head.signature == raw::RegionTable::SIGNATURE
            && Crc32c::new().structure(table).is(head.checksum.get())
    })
}

fn checked(entry: &RegionEntry, at: u64) -> Result<Region, Error> {
    let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
    let region = Region { at: entry.file_offset.get(), len: u64::from(entry.length.get()) };
    if !region.at.is_multiple_of(MIB) || !region.len.is_multiple_of(MIB) {
        return Err(corrupt("a region does not lie at whole MiBs"));
    }
    region.end().ok_or(corrupt("a region's end overflows"))?;
    Ok(region)
}

/// `regions` in ascending order, without empty ones, or an error if two of them overlap.
fn apart(mut regions: Vec<Region>, at: u64) -> Result<Vec<Region>, Error> {
    regions.retain(|region| region.len > 0);
    regions.sort_unstable();
    let overlap = |pair: &[Region]| matches!(pair, [a, b] if a.end().is_none_or(|end| end > b.at));
    if regions.windows(2).any(overlap) {
        return Err(Error::new(ErrorKind::Corrupt, at, "regions overlap each other, the log or the headers"));
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = REGION_TABLES_AT[0];
    const LOG: Region = Region { at: MIB, len: MIB };

    /// A table of regions as (GUID, first MiB, length in MiBs, flags).
    fn table(regions: &[(Guid, u64, u32, u32)]) -> Vec<u8> {
        let mut bytes = b"regi\0\0\0\0".to_vec();
        bytes.extend(u32::try_from(regions.len()).unwrap().to_le_bytes());
        bytes.extend([0; 4]);
        for (guid, at, len, flags) in regions {
            bytes.extend(guid.0);
            bytes.extend((at * MIB).to_le_bytes());
            bytes.extend((len << 20).to_le_bytes());
            bytes.extend(flags.to_le_bytes());
        }
        bytes.resize(TABLE_LEN, 0);
        bytes
    }

    const BAT: (Guid, u64, u32, u32) = (raw::BAT_REGION, 2, 3, 1);
    const METADATA: (Guid, u64, u32, u32) = (raw::METADATA_REGION, 7, 1, 1);

    #[track_caller]
    fn refused(regions: &[(Guid, u64, u32, u32)], kind: ErrorKind, what: &str) {
        let error = Regions::parse(&table(regions), AT, LOG).unwrap_err();
        assert_eq!((error.kind, error.what), (kind, what));
    }

    #[test]
    fn regions_are_found_and_taken() {
        let unknown = (Guid([9; 16]), 20, 1, 0);
        let regions = Regions::parse(&table(&[METADATA, BAT, unknown]), AT, LOG).unwrap();
        assert_eq!(regions.bat, Region { at: 2 * MIB, len: 3 * MIB });
        assert_eq!(regions.metadata, Region { at: 7 * MIB, len: MIB });
        for (mib, len, taken) in [
            (0, 1, true),
            (4, 1, true),
            (5, 2, false),
            (5, 3, true),
            (8, 12, false),
            (8, 13, true),
            (21, 9, false),
        ] {
            assert_eq!(regions.touches(mib * MIB, len * MIB), taken, "{mib} {len}");
        }
        assert!(regions.touches(0, u64::MAX) && !regions.touches(u64::MAX - 5, 20));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use ErrorKind::{Corrupt, UnsupportedFeature};
        refused(&[BAT], Corrupt, "the metadata region is missing");
        refused(&[METADATA], Corrupt, "the BAT region is missing");
        refused(&[BAT, METADATA, BAT], Corrupt, "a region is there twice");
        let required = (Guid([9; 16]), 20, 1, 1);
        refused(&[BAT, METADATA, required], UnsupportedFeature, "an unknown region that is required");
        let overlap = "regions overlap each other, the log or the headers";
        refused(&[BAT, (raw::METADATA_REGION, 4, 1, 1)], Corrupt, overlap);
        refused(&[BAT, (raw::METADATA_REGION, 1, 1, 1)], Corrupt, overlap);
        refused(&[BAT, (raw::METADATA_REGION, 0, 1, 1)], Corrupt, overlap);
        refused(&[BAT, METADATA, (Guid([9; 16]), 7, 1, 0)], Corrupt, overlap);
    }

    #[test]
    fn extreme_fields_are_refused() {
        let good = table(&[BAT, METADATA]);
        for (field, bytes) in [(32, [0xff; 8]), (40, [1, 0, 0, 0, 0, 0, 0, 0]), (8, [0xff; 8])] {
            let mut bad = good.clone();
            bad[field..field + 8].copy_from_slice(&bytes);
            assert!(Regions::parse(&bad, AT, LOG).is_err(), "{field}");
        }
        for len in [0, 15, 16, 47, 79] {
            assert!(Regions::parse(&good[..len], AT, LOG).is_err(), "{len}");
        }
    }
}
