//! Random disks in every subformat, read back by `qemu-img` and here.

use std::fs;

use fmt_core::{Extent, Zeros};
use fmt_vmdk::{Options, Parent, Subformat};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::common::Lab;
use crate::scene::{Scene, data, zero};

/// Extents of every length, with and without gaps, on a disk of up to two grain tables.
fn scenes() -> impl Strategy<Value = Scene> {
    let lens = || prop_oneof![1..2000_u64, Just(512), Just(65_536), 1..300_000_u64];
    let pieces = prop::collection::vec((0..3_u8, prop_oneof![Just(0), lens()], lens()), 0..12);
    (pieces, prop_oneof![Just(0), 1..100_000_u64, 0..(36_u64 << 20)], any::<u8>()).prop_map(
        |(pieces, rest, seed)| {
            let mut extents: Vec<Extent> = Vec::new();
            let mut at = 0;
            for (kind, gap, len) in pieces {
                at += gap;
                extents.push(if kind == 0 { zero(at, len) } else { data(at, len, u64::from(seed)) });
                at += len;
            }
            let data = (0..310_000_u32).map(|at| (at / 3 % 251).to_le_bytes()[0] ^ seed).collect();
            Scene { size: (at + rest).max(1), extents, data }
        },
    )
}

/// The same disk, without anything that is left to a parent.
fn covered(scene: &Scene) -> Scene {
    let mut extents = Vec::new();
    let mut at = 0;
    for &extent in &scene.extents {
        extents.extend((extent.start > at).then(|| zero(at, extent.start - at)));
        extents.push(extent);
        at = extent.end();
    }
    extents.extend((scene.size > at).then(|| zero(at, scene.size - at)));
    Scene { extents, ..scene.clone() }
}

fn subformats() -> impl Strategy<Value = Subformat> {
    prop::sample::select(vec![
        Subformat::MonolithicSparse,
        Subformat::MonolithicFlat,
        Subformat::TwoGbMaxExtentSparse,
        Subformat::TwoGbMaxExtentFlat,
        Subformat::StreamOptimized,
    ])
}

#[test]
fn what_is_written_is_read() {
    let Some(lab) = Lab::open() else { return };
    lab.write("base.raw", vec![0xee; 40 << 20]);
    lab.run("qemu-img convert -f raw -O vmdk base.raw base.vmdk");
    let parent = Parent { cid: lab.map("base.vmdk").unwrap().0.identity().cid, name: b"base.vmdk" };
    let cases = (scenes(), subformats(), any::<[bool; 3]>());
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    let test = |(mut scene, subformat, [absent, zeroed_grain, above]): (Scene, Subformat, [bool; 3])| {
        let dir = lab.path("case");
        let _absent_at_first = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let mut options = Options::new(7, b"x.vmdk");
        options.subformat = subformat;
        options.zeros = if absent { Zeros::Absent } else { Zeros::Written };
        if !matches!(subformat, Subformat::MonolithicFlat | Subformat::TwoGbMaxExtentFlat) {
            options.zeroed_grain = zeroed_grain;
            options.parent = above.then_some(parent);
        }
        if options.parent.is_some() {
            fs::hard_link(lab.path("base.vmdk"), dir.join("base.vmdk")).unwrap();
            scene = covered(&scene);
        }
        scene.write(&dir, &options).unwrap();
        scene.write_raw(&lab.path("in.raw"));
        let mut expected = lab.bytes("in.raw");
        expected.resize(expected.len().next_multiple_of(512), 0);
        lab.run("qemu-img check -f vmdk case/x.vmdk");
        let (qemu, we) = (lab.qemu_reads("case/x.vmdk").unwrap(), lab.we_read_in("case", "x.vmdk").unwrap());
        prop_assert!(qemu == we && qemu == expected);
        Ok(())
    };
    TestRunner::new(config).run(&cases, test).unwrap();
}
