//! A qcow2 from any bytes: what its reader answers, and how much it reads for that.
//!
//! An input is an [`Image`]. Where it wants an external data file, it gets itself.

#![no_main]

use fmt_core::testing::INPUT;
use fmt_core::{Error, FileId, ReadAt};
use fmt_qcow2::Qcow2Map;
use instar_fuzz::lookups::{Bounds, File, Image};
use libfuzzer_sys::fuzz_target;

const DATA_FILE: FileId = FileId(7);

/// The longest snapshot table; then a window of the L1 table, and one of an L2 table.
const BOUNDS: Bounds = Bounds { open: 256 << 20, lookup: 128 << 10 };

fuzz_target!(|input: &[u8]| {
    let Some(image) = Image::new(input) else { return };
    image.check(BOUNDS, || open(image.file()));
});

fn open(file: File<'_>) -> Result<Qcow2Map<File<'_>>, Error> {
    let mut map = Qcow2Map::new(file, INPUT)?;
    if map.needs_data_file().is_some() {
        map.set_data_file(DATA_FILE, file.file_len());
    }
    Ok(map)
}
