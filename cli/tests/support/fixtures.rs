//! The inputs of the recorded cases, byte for byte.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::disk::{Disk, GIB, KIB, MIB};

/// The files that recorded cases read, or find where their output goes, by name.
pub(crate) struct Fixtures(BTreeMap<&'static str, Disk>);

impl Fixtures {
    pub(crate) fn generate() -> Self {
        Self(BTreeMap::from([
            ("empty.raw", Disk::hole(0)),
            ("previous.raw", Disk::solid("pre", 4 * KIB)),
            ("r1m.raw", head_and_tail("1m", MIB)),
            ("r3g.raw", scattered("3g", 3 * GIB)),
            ("r64m.raw", scattered("64m", 64 * MIB)),
            // A multiple of 512 and of nothing larger.
            ("rodd.raw", head_and_tail("odd", 1_000_448)),
            ("tiny.raw", Disk::solid("t", 100)),
            ("unaligned.raw", Disk::solid("u", 1_000_003)),
        ]))
    }

    pub(crate) fn get(&self, name: &str) -> &Disk {
        self.0.get(name).unwrap_or_else(|| panic!("no fixture is named {name:?}"))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Writes each fixture that some argument names, as `if=NAME` or with a prefix, into `dir`.
    pub(crate) fn write_named_in(&self, args: &[String], dir: &Path) -> io::Result<()> {
        let named = |name: &str| args.iter().any(|arg| arg.ends_with(name));
        self.0.iter().filter(|(name, _)| named(name)).try_for_each(|(name, disk)| disk.write(&dir.join(name)))
    }
}

/// Data at both ends, a hole between.
fn head_and_tail(tag: &str, size: u64) -> Disk {
    Disk::hole(size).with(0, &format!("{tag}a"), 300_000).with(size - 400_000, &format!("{tag}b"), 400_000)
}

/// Four extents of data, some across block boundaries, in mostly holes.
fn scattered(tag: &str, size: u64) -> Disk {
    Disk::hole(size)
        .with(0, &format!("{tag}a"), 70_000)
        .with(3 * MIB - 1000, &format!("{tag}b"), 200_000)
        .with(size / 2 + 512, &format!("{tag}c"), 4 * KIB)
        .with(size - 8 * KIB, &format!("{tag}d"), 8 * KIB)
}
