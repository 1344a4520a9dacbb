//! A VHDX of any disk: what is written is read as the same disk.
//!
//! An input is a [`Disk`].

#![no_main]

use fmt_core::testing::{OUTPUT, PlannedFile};
use fmt_vhdx::{Guid, Options, Subformat, VhdxMap, VhdxPlan};
use instar_fuzz::plans::{self, Disk};
use libfuzzer_sys::fuzz_target;

/// A fixed disk has all of its blocks in the file, and those of a larger one take longer than a moment.
const MAX_SIZE: u64 = 1 << 31;

/// How many blocks are written at most.
const BUDGET: u64 = 10;

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Disk::new(input, MAX_SIZE) else { return };
    let [block_bits, log_mib, subformat, ..] = disk.choice;
    let block_size = 1 << (20 + block_bits % 9);
    let options = Options {
        block_size: Some(block_size),
        log_size: u32::from(log_mib) << 20,
        subformat: if subformat & 1 == 1 { Subformat::Fixed } else { Subformat::Dynamic },
        ..Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]))
    };
    let file = PlannedFile::new(options.max_len(disk.size).unwrap_or(0));
    let plan = VhdxPlan::begin(&file, OUTPUT, disk.size, &options);
    let extents = disk.extents(BUDGET * u64::from(block_size));
    plans::check(&file, plan, &extents, || VhdxMap::open(&file, OUTPUT));
});
