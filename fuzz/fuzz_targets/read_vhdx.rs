//! A VHDX from any bytes: what its reader answers, and how much it reads for that.
//!
//! An input is an [`Image`].

#![no_main]

use fmt_core::testing::INPUT;
use fmt_vhdx::VhdxMap;
use instar_fuzz::lookups::{Bounds, Image};
use libfuzzer_sys::fuzz_target;

/// The longest log, a few times over; then a window of the BAT for a block and one for its sector bitmap, and one of that.
const BOUNDS: Bounds = Bounds { open: 1 << 30, lookup: 192 << 10 };

fuzz_target!(|input: &[u8]| {
    let Some(image) = Image::new(input) else { return };
    image.check(BOUNDS, || VhdxMap::open(image.file(), INPUT));
});
