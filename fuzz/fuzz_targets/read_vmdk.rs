//! A VMDK from any bytes: what its reader answers, and how much it reads for that.
//!
//! An input is an [`Image`]. Where it is a descriptor that names files, each of them is itself.

#![no_main]

use fmt_core::testing::INPUT;
use fmt_core::{Error, FileId};
use fmt_vmdk::VmdkMap;
use instar_fuzz::lookups::{Bounds, File, Image};
use libfuzzer_sys::fuzz_target;

const EXTENT_FILE: FileId = FileId(7);

/// A descriptor, and the header of each file that it names; then windows of the grain directory and of grain tables, for
/// as many tables as make up one extent.
const BOUNDS: Bounds = Bounds { open: 256 << 20, lookup: 512 << 10 };

fuzz_target!(|input: &[u8]| {
    let Some(image) = Image::new(input) else { return };
    image.check(BOUNDS, || open(image.file()));
});

fn open(file: File<'_>) -> Result<VmdkMap<File<'_>>, Error> {
    VmdkMap::open_with(file, INPUT, |_| Ok((file, EXTENT_FILE)))
}
