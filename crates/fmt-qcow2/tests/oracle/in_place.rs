//! What is written in place, what is taken for it, and what is refused.

use fmt_core::{DiskPlan, ErrorKind, Source};
use fmt_qcow2::{Header, Qcow2Update};

use crate::common::live::{INPUT, LIVE, Live};
use crate::common::{self, Lab};
use crate::update::{data, verify, write, zero};

const MIB: u64 = 1 << 20;

fn len(lab: &Lab) -> u64 {
    lab.read("image").len() as u64
}

#[test]
fn what_has_a_place_is_written_there() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(3 << 20, 70);
    for options in [
        "preallocation=metadata",
        "preallocation=full",
        "preallocation=metadata,cluster_size=512",
        "preallocation=metadata,extended_l2=on",
        "preallocation=metadata,compat=0.10",
    ] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        let before = len(&lab);
        verify(&lab, &[data(1000, MIB), zero(MIB + 1000, 5000), data(2 * MIB, MIB)], &input, None);
        assert_eq!(len(&lab), before, "{options}");
    }
}

/// Zeros that are marked, and have a place: as qemu-io makes them.
#[test]
fn zeros_with_a_place_are_data_there_again() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(3 << 20, 71);
    for options in ["cluster_size=64k", "extended_l2=on"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        lab.qemu_io("image", &["write -P 1 0 3M", "write -z 0 2M"]);
        let before = len(&lab);
        verify(&lab, &[data(500, 100_000), zero(200_000, 200_000), data(MIB + 7, MIB)], &input, None);
        assert_eq!(len(&lab), before, "{options}");
    }
}

/// A disk that has all its clusters to itself costs as many reads as it has pieces of L2 tables, and no table is written.
#[test]
fn a_disk_that_is_all_there_gets_nothing_but_data() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(3 << 20, 72);
    lab.write("disk", &input);
    lab.qemu_img("convert -f raw -O qcow2 disk image");
    let before = lab.read("image");
    let live = Live::new(before.clone(), &input, 0);
    write(&live, &[data(0, MIB)], None).unwrap();
    // Two for the header, an L1 table, an L2 table, and one to wait for the data.
    assert_eq!((live.reads().len(), live.count() - live.reads().len()), (5, 16));
    assert!(live.bytes() == before, "the same data");
}

#[test]
fn nothing_to_do_is_no_step() {
    let Some(lab) = Lab::open() else { return };
    lab.qemu_img("create -q -f qcow2 image 64T");
    let before = lab.read("image");
    for extents in [vec![], vec![zero(0, 64 << 40)], vec![zero(5, 1000), zero(1 << 40, (5 << 40) + 1)]] {
        let live = Live::new(before.clone(), &[], 0);
        write(&live, &extents, None).unwrap();
        // The L1 table is looked at in pieces of 64 KiB.
        assert!(live.count() == live.reads().len() && live.count() < 30, "{}", live.count());
        assert!(live.bytes() == before);
    }
}

#[test]
fn zeros_give_up_what_was_there() {
    let Some(lab) = Lab::open() else { return };
    let below = common::noise(3 << 20, 73);
    lab.write("backing", &below);
    for options in ["compat=1.1", "compat=0.10", "extended_l2=on", "cluster_size=512"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        lab.qemu_io("image", &["write -P 1 0 3M"]);
        verify(&lab, &[zero(0, 3 * MIB)], &[], None);
        // The clusters are free for whoever writes next.
        let before = len(&lab);
        lab.qemu_io("image", &["write -P 1 0 3M"]);
        assert_eq!(len(&lab), before, "{options}");

        lab.qemu_img(&format!("create -q -f qcow2 -o {options} -b backing -F raw image 3M"));
        let before = len(&lab);
        verify(&lab, &[zero(MIB, MIB)], &[], Some(&below));
        assert_eq!(len(&lab) > before + MIB, options == "compat=0.10", "{options}: whether they are written");
    }
}

/// Extents that make one cluster of zeros only together.
#[test]
fn zeros_in_pieces_are_a_cluster_of_zeros() {
    let Some(lab) = Lab::open() else { return };
    lab.qemu_img("create -q -f qcow2 image 66048");
    lab.qemu_io("image", &["write -P 1 0 66048"]);
    let before = len(&lab);
    verify(&lab, &[zero(0, 1000), zero(1000, 64_536), zero(65_536, 512)], &[], None);
    assert_eq!(len(&lab), before);
    let extents = common::walk(&lab.read("image"), None, 0..66048).unwrap();
    assert!(extents.iter().all(|extent| extent.source == Source::Zero), "{extents:?}");
}

/// With clusters of 512 bytes, a cluster of the refcount table is full after eight or two MiB of the file.
#[test]
fn the_refcount_table_grows() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(20 << 20, 74);
    for options in ["cluster_size=512", "cluster_size=512,refcount_bits=64", "cluster_size=512,compat=0.10"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 24M"));
        let before = Header::read(lab.read("image").as_slice()).unwrap().refcounts();
        verify(&lab, &[data(0, 5 * MIB), data(6 * MIB, 14 * MIB)], &input, None);
        let after = Header::read(lab.read("image").as_slice()).unwrap().refcounts();
        assert!(after.entries > before.entries && after.offset != before.offset, "{options}");
        // Nothing was left out that qemu-img needs to go on.
        lab.qemu_io("image", &["write -P 3 0 24M"]);
        lab.check("image");
    }
}

/// L2 tables of 2 MiB, of which pieces are held, among them one that a snapshot shares.
#[test]
fn tables_longer_than_a_page() {
    const GIB: u64 = 1 << 30;
    let Some(lab) = Lab::open() else { return };
    let input = [b'x'; 1 << 20];
    let piece = |start| fmt_core::Extent { start, len: MIB, source: Source::Data { file: INPUT, offset: 0 } };
    for options in ["cluster_size=2M", "cluster_size=2M,extended_l2=on"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 2T"));
        lab.qemu_io("image", &["write -P 1 0 4M", &format!("write -P 2 {} 4M", 300 * GIB)]);
        lab.qemu_img("snapshot -c s0 image");
        let places =
            [MIB, 2 * MIB, 100 * GIB, 300 * GIB + MIB, 500 * GIB, 511 * GIB, 512 * GIB, 1025 * GIB + 5];
        let live = Live::new(lab.read("image"), &input, 0);
        write(&live, &places.map(piece), None).unwrap();
        lab.write("image", &live.bytes());
        lab.check("image");
        for place in places {
            lab.qemu_io("image", &[&format!("read -P 120 {place} 1M")]);
        }
        lab.qemu_io("image", &["read -P 1 0 1M", "read -P 1 3M 1M", &format!("read -P 2 {} 1M", 300 * GIB)]);
        lab.qemu_img("snapshot -a s0 image");
        lab.qemu_io("image", &["read -P 1 0 4M", &format!("read -P 2 {} 4M", 300 * GIB)]);
        lab.check("image");
    }
}

/// An image that is empty becomes as long as qemu-img makes it.
#[test]
fn as_long_as_convert_makes_it() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise((3 << 20) + 512, 76);
    let size = input.len() as u64;
    lab.write("disk", &input);
    for options in ["cluster_size=64k", "cluster_size=4k", "cluster_size=2M", "extended_l2=on", "compat=0.10"]
    {
        for name in ["image", "theirs"] {
            lab.qemu_img(&format!("create -q -f qcow2 -o {options} {name} {size}"));
        }
        verify(&lab, &[data(0, size)], &input, None);
        lab.qemu_img("convert -n -f raw -O qcow2 disk theirs");
        let theirs = lab.read("theirs");
        let clusters =
            |len: u64| len.div_ceil(Header::read(theirs.as_slice()).unwrap().geometry().cluster_size());
        assert_eq!(clusters(len(&lab)), clusters(theirs.len() as u64), "{options}");
    }
}

#[test]
fn a_part_of_a_cluster_that_only_the_backing_image_has_is_refused() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(3 << 20, 77);
    lab.write("backing", &input);
    for (options, block) in [("compat=1.1", 65536), ("compat=0.10", 65536), ("extended_l2=on", 2048)] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} -b backing -F raw image 3M"));
        let before = lab.read("image");
        for extents in
            [vec![data(512, 512)], vec![data(0, block - 512)], vec![data(0, 512), data(block, block)]]
        {
            let live = Live::new(before.clone(), &input, 0);
            let error = write(&live, &extents, None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::UnsupportedFeature, "{options}: {extents:?}");
            lab.write("image", &live.bytes());
            lab.check_leaks("image");
            assert!(lab.oracle("image").unwrap() == input, "{options}: {extents:?}");
        }
        // Blocks as a whole, in pieces.
        lab.write("image", &before);
        let live = Live::new(before.clone(), &input, 0);
        write(&live, &[data(block, 512), data(block + 512, block - 512), zero(2 * block, block)], None)
            .unwrap();
        lab.write("image", &live.bytes());
        lab.check("image");
    }
}

#[test]
fn images_that_would_lose_something_are_refused() {
    let Some(lab) = Lab::open() else { return };
    let refused = |what: &str| {
        let live = Live::new(lab.read("image"), &[], 0);
        let error = write(&live, &[], None).unwrap_err();
        assert!(error.kind == ErrorKind::UnsupportedFeature && error.what.contains(what), "{error}");
    };
    lab.qemu_img("create -q -f qcow2 -o data_file=data image 3M");
    refused("external data file");
    lab.qemu_img("create -q -f qcow2 image 3M");
    lab.qemu_img("bitmap --add image map");
    refused("bitmaps");
    lab.qemu_img("create -q -f qcow2 image 3M");
    let image = lab.read("image");
    for (at, bit, what) in [(79, 1, "dirty"), (79, 2, "corrupt"), (95, 128, "autoclear")] {
        let mut image = image.clone();
        image[at] |= bit;
        lab.write("image", &image);
        refused(what);
    }
}

#[test]
fn extents_that_are_out_of_place() {
    let Some(lab) = Lab::open() else { return };
    lab.qemu_img("create -q -f qcow2 image 1M");
    let live = Live::new(lab.read("image"), &[], 0);
    let mut update = Qcow2Update::open(&live, &live, LIVE).unwrap();
    assert_eq!((update.virtual_size(), update.block_len()), (MIB, 65536));
    let mut kind = |start, len| update.extent(zero(start, len)).map_err(|error| error.kind);
    assert_eq!(kind(MIB - 5, 6), Err(ErrorKind::TooLarge));
    assert_eq!(kind(u64::MAX, 1), Err(ErrorKind::TooLarge));
    assert_eq!(kind(600, 10), Ok(()));
    assert_eq!(kind(605, 10), Err(ErrorKind::Corrupt));
    assert_eq!(kind(0, 10), Err(ErrorKind::Corrupt));
}
