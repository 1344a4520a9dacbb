//! A VHD of any disk: what is written is read as the same disk.
//!
//! An input is a [`Disk`].

#![no_main]

use fmt_core::testing::{OUTPUT, PlannedFile};
use fmt_vhd::{Options, Subformat, VhdMap, VhdPlan, plan::max_len};
use instar_fuzz::plans::{self, Disk};
use libfuzzer_sys::fuzz_target;

/// More than is possible.
const MAX_SIZE: u64 = 1 << 42;

/// How many bytes are written at most.
const BUDGET: u64 = 20 << 21;

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Disk::new(input, MAX_SIZE) else { return };
    let options = Options {
        subformat: if disk.choice[0] & 1 == 1 { Subformat::Fixed } else { Subformat::Dynamic },
        force_size: disk.choice[0] & 2 == 2,
        ..Options::default()
    };
    let file = PlannedFile::new(max_len(disk.size, &options).unwrap_or(0));
    let plan = VhdPlan::begin(&file, OUTPUT, disk.size, &options);
    plans::check(&file, plan, &disk.extents(BUDGET), || VhdMap::open(&file, OUTPUT));
});
