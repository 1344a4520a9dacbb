//! A VHD from any bytes: what its reader answers, and how much it reads for that.
//!
//! An input is an [`Image`].

#![no_main]

use fmt_core::testing::INPUT;
use fmt_vhd::VhdMap;
use instar_fuzz::lookups::{Bounds, Image};
use libfuzzer_sys::fuzz_target;

/// The longest allocation table, which is checked as a whole; then a window of it, and one of a bitmap.
const BOUNDS: Bounds = Bounds { open: 4 << 30, lookup: 128 << 10 };

fuzz_target!(|input: &[u8]| {
    let Some(image) = Image::new(input) else { return };
    image.check(BOUNDS, || VhdMap::open(image.file(), INPUT));
});
