//! A qcow2 of any disk: what is written is read as the same disk.
//!
//! An input is a [`Disk`].

#![no_main]

use fmt_core::testing::{OUTPUT, PlannedFile};
use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan};
use instar_fuzz::plans::{self, Disk};
use libfuzzer_sys::fuzz_target;

/// More than is possible.
const MAX_SIZE: u64 = u64::MAX;

/// How many clusters are written at most.
const BUDGET: u64 = 100;

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Disk::new(input, MAX_SIZE) else { return };
    let cluster_size = 512 << (disk.choice[0] % 13);
    let options = Options::default().cluster_size(cluster_size);
    let file = PlannedFile::new(options.max_len(disk.size).unwrap_or(0));
    let plan = Qcow2Plan::begin(&file, OUTPUT, disk.size, &options);
    plans::check(&file, plan, &disk.extents(BUDGET * cluster_size), || Qcow2Map::new(&file, OUTPUT));
});
