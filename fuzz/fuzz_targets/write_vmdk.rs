//! A VMDK of any disk: what is written is read as the same disk.
//!
//! An input is a [`Disk`].

#![no_main]

use fmt_core::testing::{OUTPUT, PlannedFile};
use fmt_vmdk::{Options, VmdkMap, VmdkPlan};
use instar_fuzz::plans::{self, Disk};
use libfuzzer_sys::fuzz_target;

/// Tables are written whole, and those of a larger disk take longer than a moment.
const MAX_SIZE: u64 = 1 << 32;

/// How many bytes are written at most.
const BUDGET: u64 = 100 << 16;

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Disk::new(input, MAX_SIZE) else { return };
    let options = Options::new(0x1234_5678, &disk.choice[1..]);
    let file = PlannedFile::new(u64::MAX);
    let plan = VmdkPlan::begin(&file, OUTPUT, disk.size, &options);
    plans::check(&file, plan, &disk.extents(BUDGET), || VmdkMap::open(&file, OUTPUT));
});
