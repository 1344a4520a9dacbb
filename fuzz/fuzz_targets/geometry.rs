//! The geometries of VHDs, for a disk of any size.
//!
//! An input is a number of sectors, a little-endian `u64`.

#![no_main]

use fmt_vhd::Geometry;
use libfuzzer_sys::fuzz_target;

/// The sectors of a cylinder, at most.
const CYLINDER: u64 = 16 * 255;

fuzz_target!(|input: &[u8]| {
    let Some(sectors) = input.first_chunk() else { return };
    let sectors = u64::from_le_bytes(*sectors);
    check_specified(sectors);
    check_rounded(sectors);
});

/// The specification's geometry loses less than a cylinder.
fn check_specified(sectors: u64) {
    let geometry = Geometry::of(sectors);
    let held = sectors.min(Geometry::MAX.sectors());
    assert!(geometry.sectors() <= held, "{geometry:?}");
    let cylinder = u64::from(geometry.heads) * u64::from(geometry.sectors_per_track);
    assert!(held - geometry.sectors() < cylinder, "{geometry:?}");
    assert!((4..=16).contains(&geometry.heads), "{geometry:?}");
    assert!([17, 31, 63, 255].contains(&geometry.sectors_per_track), "{geometry:?}");
}

/// The geometry that a disk is given holds it, and little more.
fn check_rounded(sectors: u64) {
    let geometry = Geometry::at_least(sectors);
    if sectors >= Geometry::MAX.sectors() {
        assert_eq!(geometry, Geometry::MAX);
        return;
    }
    let held = geometry.sectors();
    assert!((sectors..sectors + 2 * CYLINDER).contains(&held), "{geometry:?}");
    assert_eq!(Geometry::at_least(held).sectors(), held, "it is that of the disk which it makes");
    assert!(Geometry::at_least(sectors + 1).sectors() >= held, "a larger disk is smaller");
}
