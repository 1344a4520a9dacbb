//! Cylinders, heads and sectors: the size of a disk, as old programs see it.

use crate::raw;

/// A geometry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads, which are tracks per cylinder.
    pub heads: u8,
    /// Sectors per track.
    pub sectors_per_track: u8,
}

impl Geometry {
    /// The largest geometry. A disk that has it is of any size from here on, so it says nothing about the size.
    pub const MAX: Self = Self { cylinders: 65535, heads: 16, sectors_per_track: 255 };

    /// How many sectors it has.
    #[must_use]
    pub fn sectors(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors_per_track)
    }

    /// The geometry that the specification computes for a disk of `sectors` (its appendix "CHS Calculation").
    ///
    /// It has up to a cylinder's worth of sectors less, and no more than [`MAX`](Self::MAX) has.
    #[must_use]
    pub fn of(sectors: u64) -> Self {
        let sectors = sectors.min(Self::MAX.sectors());
        if sectors >= 65535 * 16 * 63 {
            return Self::with_tracks(sectors, 16, 255);
        }
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads * 1024 {
            return Self::with_tracks(sectors, heads, 17);
        }
        let per_track = if sectors / 31 < 16 * 1024 { 31 } else { 63 };
        Self::with_tracks(sectors, 16, per_track)
    }

    /// The geometry that a disk of at least `sectors` is given: the first that has as many, when ever larger disks
    /// are put to [`of`](Self::of). That search, and no shorter way, is what gives the sizes that QEMU gives.
    ///
    /// From [`MAX`](Self::MAX) on it is always that, and no sectors have the geometry of zeros.
    #[must_use]
    pub fn at_least(sectors: u64) -> Self {
        if sectors == 0 {
            return Self::default();
        }
        // Fewer turns than a cylinder has sectors, 4080: each loses less than one to rounding.
        (sectors..Self::MAX.sectors())
            .map(Self::of)
            .find(|geometry| geometry.sectors() >= sectors)
            .unwrap_or(Self::MAX)
    }

    fn with_tracks(sectors: u64, heads: u64, sectors_per_track: u8) -> Self {
        let cylinders = sectors / u64::from(sectors_per_track) / heads;
        Self {
            // `of` bounds the sectors so that both fit; `MAX` would be the answer to anything larger.
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads: u8::try_from(heads).unwrap_or(u8::MAX),
            sectors_per_track,
        }
    }
}

impl From<raw::Geometry> for Geometry {
    fn from(raw: raw::Geometry) -> Self {
        let raw::Geometry { cylinders, heads, sectors_per_track } = raw;
        Self { cylinders: cylinders.get(), heads, sectors_per_track }
    }
}

impl From<Geometry> for raw::Geometry {
    fn from(geometry: Geometry) -> Self {
        let Geometry { cylinders, heads, sectors_per_track } = geometry;
        Self { cylinders: cylinders.into(), heads, sectors_per_track }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn chs(cylinders: u16, heads: u8, sectors_per_track: u8) -> Geometry {
        Geometry { cylinders, heads, sectors_per_track }
    }

    const K: u64 = 2;
    const M: u64 = 1024 * K;
    const G: u64 = 1024 * M;

    /// Wanted sectors, and the geometry that `qemu-img create -f vpc` writes.
    const RECORDED: [(u64, Geometry); 36] = [
        (0, chs(0, 0, 0)),
        (1, chs(1, 4, 17)),
        (68, chs(1, 4, 17)),
        (69, chs(2, 4, 17)),
        (64 * K, chs(2, 4, 17)),
        (100 * K, chs(3, 4, 17)),
        (681, chs(11, 4, 17)),
        (M, chs(31, 4, 17)),
        (2 * M, chs(61, 4, 17)),
        (4 * M, chs(121, 4, 17)),
        (10 * M, chs(302, 4, 17)),
        (16 * M, chs(482, 4, 17)),
        (32 * M, chs(964, 4, 17)),
        (64 * M, chs(964, 8, 17)),
        (100 * M, chs(1004, 12, 17)),
        (128 * M, chs(964, 16, 17)),
        (256 * M, chs(521, 16, 63)),
        (504 * M, chs(1024, 16, 63)),
        (512 * M, chs(1041, 16, 63)),
        (G - 1, chs(2081, 16, 63)),
        (G, chs(2081, 16, 63)),
        (2 * G, chs(4162, 16, 63)),
        (4 * G, chs(8323, 16, 63)),
        (8 * G, chs(16645, 16, 63)),
        (10 * G, chs(20806, 16, 63)),
        (16 * G, chs(33289, 16, 63)),
        (31 * G, chs(64496, 16, 63)),
        (66_059_279, chs(16191, 16, 255)),
        (66_059_280, chs(16191, 16, 255)),
        (66_059_281, chs(16192, 16, 255)),
        (32 * G, chs(16449, 16, 255)),
        (64 * G, chs(32897, 16, 255)),
        (100 * G, chs(51401, 16, 255)),
        (127 * G, chs(65279, 16, 255)),
        (267_382_799, chs(65535, 16, 255)),
        (267_382_800, chs(65535, 16, 255)),
    ];

    #[test]
    fn geometries_are_those_that_qemu_writes() {
        for (sectors, geometry) in RECORDED {
            assert_eq!(Geometry::at_least(sectors), geometry, "{sectors} sectors");
            assert!(geometry.sectors() >= sectors);
        }
    }

    #[test]
    fn nothing_is_larger_than_the_largest() {
        for sectors in [Geometry::MAX.sectors() + 1, 1 << 40, u64::MAX] {
            assert_eq!(Geometry::at_least(sectors), Geometry::MAX);
            assert_eq!(Geometry::of(sectors), Geometry::MAX);
        }
    }

    #[test]
    fn the_specification_s_geometry_never_has_more_sectors_than_the_disk() {
        for sectors in (0..300_000_000).step_by(99_991) {
            let geometry = Geometry::of(sectors);
            assert!(geometry.sectors() <= sectors, "{sectors}");
            let cylinder = u64::from(geometry.heads) * u64::from(geometry.sectors_per_track);
            assert!(sectors.min(Geometry::MAX.sectors()) - geometry.sectors() < cylinder, "{sectors}");
        }
    }
}
