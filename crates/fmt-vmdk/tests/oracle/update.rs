//! Disks that are there and written to: `qemu-img` reads what they should have become, and QEMU goes on with them.

use fmt_core::testing::{OUTPUT, PlannedFile, UpdatedFile};
use fmt_core::{Error, ErrorKind, Extent, FileId, Source};
use fmt_vmdk::VmdkUpdate;

use crate::common::{Lab, Random};

const CID: u32 = 0xabc_def0;

/// Writes `extents` into `name`; returns what the disk should have become.
fn update(lab: &Lab, name: &str, disk: &[u8], extents: &[Extent], seed: u64) -> Result<Vec<u8>, Error> {
    let file = UpdatedFile::new(lab.bytes(name), seed);
    PlannedFile::write(VmdkUpdate::open(&file, &file, OUTPUT, CID), extents)?;
    lab.write(name, &*file.bytes());
    Ok(file.wanted(disk, extents))
}

fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: FileId(0), offset: 0 } }
}

/// Extents on a disk of `size` bytes, of every kind and in pieces of up to `most` bytes.
fn some_extents(random: &mut Random, size: usize, most: usize) -> Vec<Extent> {
    let (mut extents, mut start) = (Vec::new(), random.below(most));
    while start < size {
        let len = (random.below(most) + 1).min(size - start);
        let data = Source::Data { file: FileId(0), offset: random.below(1 << 20) as u64 };
        let source = [Source::Zero, Source::Unallocated, data, data][random.below(4)];
        extents.push(Extent { start: start as u64, len: len as u64, source });
        start += len + [0, random.below(most)][random.below(2)];
    }
    extents
}

#[test]
fn a_disk_that_is_written_to_is_read_by_qemu() {
    let Some(lab) = Lab::open() else { return };
    let mut random = Random(12);
    for options in ["zeroed_grain=off", "zeroed_grain=on", "compat6=on"] {
        lab.run(&format!("qemu-img create -q -f vmdk -o {options} t.vmdk 34000384"));
        let told = |lab: &Lab| {
            // The file's own size changes.
            let info = lab.info("t.vmdk");
            info.into_iter().filter(|line| !line.contains("virtual-size")).collect::<Vec<_>>()
        };
        let info = told(&lab);
        for (round, most) in [2 << 20, 50_000, 1 << 20, 300_000].into_iter().enumerate() {
            let before = lab.qemu_reads("t.vmdk").unwrap();
            let extents = some_extents(&mut random, before.len(), most);
            let wanted = update(&lab, "t.vmdk", &before, &extents, round as u64).unwrap();
            lab.run("qemu-img check -q -f vmdk t.vmdk");
            assert!(lab.qemu_reads("t.vmdk").unwrap() == wanted, "{options}, round {round}");
            assert!(lab.run("qemu-img info t.vmdk").contains(&format!("cid: {CID}")));
            lab.io("t.vmdk", &["write -P 7 4M 70k", "write -z 5M 128k"]);
        }
        assert_eq!(told(&lab), info);
    }
}

/// Where data comes alone, every byte but those of the identity is as `qemu-img convert -n` writes it; where a whole grain of
/// zeros can be marked, too.
#[test]
fn a_disk_becomes_what_qemu_makes_of_it() {
    let Some(lab) = Lab::open() else { return };
    for options in ["zeroed_grain=off", "zeroed_grain=on"] {
        lab.run(&format!("qemu-img create -q -f vmdk -o {options} t.vmdk 36000256"));
        lab.io("t.vmdk", &["write -P 7 5M 1k", "write -P 7 1M 1k", "write -P 8 34M 200k"]);
        if options == "zeroed_grain=on" {
            lab.io("t.vmdk", &["write -z 2M 128k"]);
        }
        lab.write("qemu.vmdk", lab.bytes("t.vmdk"));
        let before = lab.qemu_reads("t.vmdk").unwrap();
        // What the disk has behind the input is left alone, in the middle of a grain.
        let len = (33 << 20) + 512;
        let mut extents = vec![data(0, len)];
        if options == "zeroed_grain=on" {
            extents.push(Extent { start: 34 << 20, len: 128 << 10, source: Source::Zero });
        }
        let wanted = update(&lab, "t.vmdk", &before, &extents, 3).unwrap();
        lab.write("in.raw", &wanted[..usize::try_from(len).unwrap()]);
        lab.run("qemu-img convert -n -f raw -O vmdk in.raw qemu.vmdk");
        if options == "zeroed_grain=on" {
            lab.io("qemu.vmdk", &["write -z 34M 128k"]);
        }
        let text = |name: &str| {
            let bytes = lab.bytes(name);
            let text = bytes[512..].split(|&byte| byte == 0).next().unwrap();
            let lines = String::from_utf8(text.to_vec()).unwrap();
            let kept = lines.lines().filter(|line| !line.starts_with("CID="));
            kept.collect::<Vec<_>>().join("\n").replace(name, "NAME")
        };
        assert_eq!(text("t.vmdk"), text("qemu.vmdk").replace("t.vmdk", "NAME"));
        let (we, qemu) = (lab.bytes("t.vmdk"), lab.bytes("qemu.vmdk"));
        assert!(we[..512] == qemu[..512] && we[21 * 512..] == qemu[21 * 512..], "another file for {options}");
    }
}

/// Identities of other lengths, and what a text can have besides.
#[test]
fn an_identity_is_put_where_qemu_finds_it() {
    let Some(lab) = Lab::open() else { return };
    for cid in ["CID=1", "CID=  0xab", "CID=ffffffff\r"] {
        lab.run("qemu-img create -q -f vmdk t.vmdk 1M");
        let mut image = lab.bytes("t.vmdk");
        let text: Vec<u8> = image[512..21 * 512].iter().copied().take_while(|&byte| byte != 0).collect();
        let text = String::from_utf8(text).unwrap();
        let old = text.lines().find(|line| line.starts_with("CID=")).unwrap();
        let text = text.replacen(old, cid, 1);
        image[512..21 * 512].fill(0);
        image[512..512 + text.len()].copy_from_slice(text.as_bytes());
        lab.write("t.vmdk", image);
        update(&lab, "t.vmdk", &[0; 1 << 20], &[data(5, 5)], 1).unwrap();
        let info = lab.run("qemu-img info t.vmdk");
        assert!(info.contains(&format!("cid: {CID}")) && info.contains("parent cid: 4294967295"), "{info}");
        lab.assert_same("t.vmdk");
    }
}

/// `qemu-img` writes into some of these.
#[test]
fn other_disks_are_refused_by_name() {
    let Some(lab) = Lab::open() else { return };
    lab.run("qemu-img create -q -f vmdk base.vmdk 1M");
    for (options, what) in [
        ("-o subformat=streamOptimized", "streamOptimized"),
        ("-o subformat=monolithicFlat", "several files"),
        ("-o subformat=twoGbMaxExtentSparse", "several files"),
        ("-b base.vmdk -F vmdk", "parent"),
    ] {
        lab.run(&format!("qemu-img create -q -f vmdk {options} t.vmdk 1M"));
        let before = lab.bytes("t.vmdk");
        let error = update(&lab, "t.vmdk", &[0; 1 << 20], &[data(5, 5)], 1).unwrap_err();
        assert!(error.kind == ErrorKind::UnsupportedFeature && error.what.contains(what), "{error}");
        assert!(lab.bytes("t.vmdk") == before);
        std::fs::remove_file(lab.path("t.vmdk")).unwrap();
    }
}
