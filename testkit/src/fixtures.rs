//! The inputs of the recorded cases, byte for byte where instar's tests make them, and disk for disk where QEMU does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::disk::{Disk, GIB, KIB, MIB};
use crate::outcome::Content;
use crate::qemu::Qemu;
use crate::scene;

/// An image whose other half is another fixture.
const OVERLAY: &str = "ovl.qcow2";
const OVERLAY_BASE: &str = "rodd.raw";

/// Images with identities, dates or compressed data, which have other bytes each time, and how they are made.
const VARYING: &[(&str, &str)] = &[
    ("r1m.vmdk", "qemu-img convert -O vmdk r1m.raw r1m.vmdk"),
    ("r1m.vpc", "qemu-img convert -O vpc r1m.raw r1m.vpc"),
    ("r1m.vhdx", "qemu-img convert -O vhdx r1m.raw r1m.vhdx"),
    ("packed.qcow2", "qemu-img convert -c -O qcow2 r64m.raw packed.qcow2"),
    (
        "snapshots.qcow2",
        "qemu-img create -q -f qcow2 snapshots.qcow2 1M
        for number in 1 2; do
            qemu-io -f qcow2 -c \"write -P $number ${number}00k 300k\" snapshots.qcow2 >/dev/null
            qemu-img snapshot -c state$number snapshots.qcow2
        done
        qemu-io -f qcow2 -c 'write -P 3 0 1M' snapshots.qcow2 >/dev/null",
    ),
];

/// The files that recorded cases read, or find where their output goes, by name.
pub struct Fixtures {
    raw: BTreeMap<&'static str, Disk>,
    images: Option<Images>,
}

/// Images that QEMU made, in a directory from which they are copied.
struct Images {
    dir: TempDir,
    /// Of those that have the same bytes each time.
    contents: BTreeMap<&'static str, Content>,
}

/// Whether QEMU has to be there for what `arg` names.
pub fn is_made_by_qemu(arg: &str) -> bool {
    arg.contains(".qcow2") || VARYING.iter().any(|(name, _)| arg.contains(name))
}

impl Fixtures {
    /// Those that need QEMU are there with `qemu`, and not without.
    pub fn generate(qemu: Option<&Qemu>) -> Self {
        let images = qemu.map(|_| Images::make().expect("QEMU makes images"));
        Self { raw: raw_disks(), images }
    }

    /// What the fixtures hold, by name: all but those that hold something else each time.
    pub fn contents(&self) -> BTreeMap<&'static str, Content> {
        let raw = self.raw.iter().map(|(&name, disk)| (name, disk.content()));
        let images = self.images.iter().flat_map(|images| images.contents.clone());
        raw.chain(images).collect()
    }

    /// Writes the fixture `name` to `path`.
    pub fn write(&self, name: &str, path: &Path) -> io::Result<()> {
        if let Some(disk) = self.raw.get(name) {
            return disk.write(path);
        }
        let images = self.images.as_ref().filter(|images| images.names().any(|known| known == name));
        let images = images.unwrap_or_else(|| panic!("no fixture is named {name:?}"));
        fs::copy(images.dir.path().join(name), path).map(drop)
    }

    /// Writes each fixture that some argument names into `dir`, and what such a fixture needs.
    pub fn write_named_in(&self, args: &[String], dir: &Path) -> io::Result<()> {
        let named = |name: &str| args.iter().any(|arg| arg.contains(name));
        let needed = |name: &str| named(name) || name == OVERLAY_BASE && named(OVERLAY);
        let images = self.images.iter().flat_map(Images::names);
        let names = self.raw.keys().copied().chain(images).filter(|name| needed(name));
        names.into_iter().try_for_each(|name| self.write(name, &dir.join(name)))
    }
}

impl Images {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.contents.keys().copied().chain(VARYING.iter().map(|(name, _)| *name))
    }

    fn make() -> io::Result<Self> {
        let dir = scene::temporary_dir()?;
        let mut contents = BTreeMap::new();
        for (name, disk) in qcow2_disks() {
            Qemu::make_qcow2(dir.path(), name, &disk)?;
            contents.insert(name, scene::content_of(&dir.path().join(name))?);
        }
        raw_disks()[OVERLAY_BASE].write(&dir.path().join(OVERLAY_BASE))?;
        let create = format!("qemu-img create -q -f qcow2 -F raw -b {OVERLAY_BASE} {OVERLAY} {MIB}");
        Qemu::script(dir.path(), &create, &[])?;
        contents.insert(OVERLAY, scene::content_of(&dir.path().join(OVERLAY))?);
        for name in ["r1m.raw", "r64m.raw"] {
            raw_disks()[name].write(&dir.path().join(name))?;
        }
        VARYING.iter().try_for_each(|(_, script)| Qemu::script(dir.path(), script, &[]))?;
        Ok(Self { dir, contents })
    }
}

fn raw_disks() -> BTreeMap<&'static str, Disk> {
    BTreeMap::from([
        ("empty.raw", Disk::hole(0)),
        ("hole.raw", Disk::hole(2 * MIB)),
        ("previous.raw", Disk::solid("pre", 4 * KIB)),
        ("r1m.raw", head_and_tail("1m", MIB)),
        ("r3g.raw", scattered("3g", 3 * GIB)),
        ("r64m.raw", scattered("64m", 64 * MIB)),
        ("rodd.raw", head_and_tail("odd", ODD)),
        ("tiny.raw", Disk::solid("t", 100)),
        ("unaligned.raw", Disk::solid("u", 1_000_003)),
    ])
}

/// What is in the images that stand on no other.
fn qcow2_disks() -> BTreeMap<&'static str, Disk> {
    BTreeMap::from([
        ("blank.qcow2", Disk::hole(MIB)),
        ("q1m.qcow2", head_and_tail("1m", MIB)),
        ("q3g.qcow2", scattered("3g", 3 * GIB)),
        ("q64m.qcow2", scattered("64m", 64 * MIB)),
        ("qodd.qcow2", head_and_tail("odd", ODD)),
        ("self.qcow2", head_and_tail("self", MIB)),
    ])
}

/// A multiple of 512 and of nothing larger.
const ODD: u64 = 1_000_448;

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
