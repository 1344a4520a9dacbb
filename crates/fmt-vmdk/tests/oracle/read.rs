//! Images that `qemu-img` and `qemu-io` make.

use fmt_core::{DiskMap, Source};
use fmt_vmdk::{CreateType, ExtentKind};

use crate::common::{Lab, disk_bytes};

const SUBFORMATS: [CreateType; 5] = [
    CreateType::MonolithicSparse,
    CreateType::StreamOptimized,
    CreateType::MonolithicFlat,
    CreateType::TwoGbMaxExtentSparse,
    CreateType::TwoGbMaxExtentFlat,
];

/// The sizes are those of one sector, part of a grain, whole grains, a second grain table.
#[test]
fn every_subformat_is_read() {
    let Some(lab) = Lab::open() else { return };
    for (number, size) in [512, 1_000_448, 3 << 20, (33 << 20) + 1536].into_iter().enumerate() {
        lab.write("in.raw", disk_bytes(size, number as u64));
        for subformat in SUBFORMATS {
            let name = format!("{subformat}-{number}.vmdk");
            lab.run(&format!("qemu-img convert -f raw -O vmdk -o subformat={subformat} in.raw {name}"));
            lab.assert_same(&name);
            let (map, _) = lab.map(&name).unwrap();
            assert_eq!(map.create_type(), subformat);
            assert_eq!(map.virtual_size(), size as u64);
        }
    }
}

#[test]
fn every_other_option_is_read() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(5 << 20, 7));
    let options = [
        "zeroed_grain=on",
        "zeroed_grain=on,subformat=twoGbMaxExtentSparse",
        "adapter_type=lsilogic",
        "compat6=on",
        "hwversion=21,toolsversion=1",
        "adapter_type=buslogic,subformat=monolithicFlat",
    ];
    for (number, options) in options.into_iter().enumerate() {
        let name = format!("{number}.vmdk");
        lab.run(&format!("qemu-img convert -f raw -O vmdk -o {options} in.raw {name}"));
        lab.assert_same(&name);
    }
}

/// Grains that were written in part, overwritten, zeroed with and without a grain, and left out.
#[test]
fn grains_of_every_kind_are_read() {
    let Some(lab) = Lab::open() else { return };
    for options in ["zeroed_grain=on", "zeroed_grain=off", "zeroed_grain=on,subformat=twoGbMaxExtentSparse"] {
        lab.run(&format!("qemu-img create -f vmdk -o {options} grains.vmdk 40M"));
        lab.io(
            "grains.vmdk",
            &[
                "write -P 1 70000 3",
                "write -P 2 256k 200k",
                "write -P 3 33M 64k",
                "write -P 4 32M 64k",
                "write -z 256k 64k",
                "write -z 10M 1M",
                "write -P 5 41942528 512",
            ],
        );
        lab.assert_same("grains.vmdk");
        let zeroed = options.starts_with("zeroed_grain=on");
        let mut map = lab.map("grains.vmdk").unwrap().0;
        assert_eq!(map.extent_at(10 << 20).unwrap().source == Source::Zero, zeroed, "{options}");
        assert_eq!(map.extent_at(1 << 20).unwrap().source, Source::Unallocated, "{options}");
        // 33 MiB was written before 32 MiB, so the grains are neighbours on the disk only.
        assert_eq!(map.extent_at(32 << 20).unwrap().len, 65_536, "{options}");
    }
}

#[test]
fn a_parent_gives_what_its_child_leaves_out() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(2 << 20, 3));
    lab.run("qemu-img convert -f raw -O vmdk in.raw base.vmdk");
    lab.run("qemu-img create -f vmdk -b base.vmdk -F vmdk -o zeroed_grain=on middle.vmdk 3M");
    lab.io("middle.vmdk", &["write -P 7 100k 100k", "write -z 1M 64k", "write -P 8 2900k 10k"]);
    lab.run("qemu-img create -f vmdk -b middle.vmdk -F vmdk child.vmdk 3M");
    lab.io("child.vmdk", &["write -P 9 1000k 1000"]);
    lab.assert_same("child.vmdk");
    let (child, _) = lab.map("child.vmdk").unwrap();
    assert_eq!(child.identity().parent.as_deref(), Some(b"middle.vmdk".as_slice()));
    let info = lab.run("qemu-img info --output=json child.vmdk");
    assert!(info.contains(&format!("\"cid\": {}", child.identity().cid)), "{info}");
    assert!(info.contains(&format!("\"parent-cid\": {}", child.identity().parent_cid)), "{info}");
}

/// `qemu-img` gives up on the parent when it is read, not when it is opened.
#[test]
fn a_parent_that_was_written_later_is_not_accepted() {
    let Some(lab) = Lab::open() else { return };
    lab.run("qemu-img create -f vmdk base.vmdk 1M");
    lab.run("qemu-img create -f vmdk -b base.vmdk -F vmdk child.vmdk");
    let accepts = || {
        let (child, base) = (lab.map("child.vmdk").unwrap().0, lab.map("base.vmdk").unwrap().0);
        child.identity().parent_cid == base.identity().cid
    };
    assert!(accepts() && lab.qemu_reads("child.vmdk").is_ok());
    lab.io("base.vmdk", &["write -P 1 0 512"]);
    assert!(!accepts() && lab.qemu_reads("child.vmdk").is_err());
}

/// Two extents and a little: places beyond 2^32 bytes, and beyond the first file.
#[test]
fn two_gigabyte_extents_are_read() {
    let Some(lab) = Lab::open() else { return };
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        lab.run(&format!("qemu-img create -f vmdk -o subformat={subformat} big.vmdk 4200M"));
        lab.io(
            "big.vmdk",
            &["write -P 1 2047M 2M", "write -P 2 4199M 512", "write -P 3 4096M 64k", "write -P 4 0 1"],
        );
        let (mut map, files) = lab.map("big.vmdk").unwrap();
        assert_eq!((files.len(), map.parts().len()), (4, 3));
        assert_eq!(map.virtual_size(), 4200 << 20);
        let mut found = Vec::new();
        for at in [0, 1, (2 << 30) - 1, 2 << 30, 4096 << 20, 4199 << 20] {
            let extent = map.extent_at(at).unwrap().clip(&(at..at + 1)).unwrap();
            let Source::Data { file, offset } = extent.source else { panic!("{extent:?}") };
            let mut byte = [0];
            std::os::unix::fs::FileExt::read_exact_at(&files[file.0 as usize], &mut byte, offset).unwrap();
            found.push((file.0, byte[0]));
        }
        assert_eq!(found, [(1, 4), (1, 0), (1, 1), (2, 1), (3, 3), (3, 2)], "{subformat}");
    }
}

/// What `qemu-img info` tells of an image's extents is what is told here.
#[test]
fn extents_are_told_as_qemu_img_tells_them() {
    let Some(lab) = Lab::open() else { return };
    for subformat in SUBFORMATS {
        lab.run(&format!("qemu-img create -f vmdk -o subformat={subformat} told.vmdk 5M"));
        let (map, _) = lab.map("told.vmdk").unwrap();
        let [part] = map.parts() else { panic!("{:?}", map.parts()) };
        let info = lab.run("qemu-img info --output=json told.vmdk");
        let told = [
            format!("\"create-type\": \"{subformat}\""),
            format!("\"virtual-size\": {}", part.len()),
            format!("\"format\": \"{}\"", part.kind().map_or("", ExtentKind::name)),
            part.sparse().map_or(String::new(), |extent| format!("\"cluster-size\": {}", extent.grain_len)),
        ];
        for told in told {
            assert!(info.contains(&told), "{told} in {info}");
        }
    }
}

/// A table that holds nothing is looked at once, not grain by grain.
#[test]
fn what_is_unallocated_is_told_in_long_extents() {
    let Some(lab) = Lab::open() else { return };
    lab.run("qemu-img create -f vmdk empty.vmdk 256G");
    let (mut map, _) = lab.map("empty.vmdk").unwrap();
    let count = map.extents(0..u64::MAX).inspect(|extent| assert!(extent.is_ok())).count();
    assert!(count <= 4096, "{count}");
}
