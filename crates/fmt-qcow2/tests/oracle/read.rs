//! Images that qemu-img and qemu-io make, with every option that the format has, read as qemu-img reads them.

use crate::common::{self, Lab};
use fmt_core::{DiskMap, Source};
use fmt_qcow2::raw::{Compatible, Incompatible};
use fmt_qcow2::{Header, Qcow2Map};

/// Data here and there, zeros with and without a cluster, clusters that were given up: in units of 512 bytes.
fn scribble(lab: &Lab, image: &str) {
    let at = |command: &str, pattern: &str, start: u64, len: u64| {
        format!("{command} {pattern} {} {}", start * 512, len * 512)
    };
    let commands = [
        at("write", "-P 1", 0, 3),
        at("write", "-P 2", 500, 600),
        at("write", "-P 3", 1400, 1),
        at("write", "-z", 600, 200),
        at("write", "-z -u", 900, 50),
        at("write", "-z", 1500, 300),
        at("discard", "", 1024, 16),
        at("write", "-P 4", 5000, 7),
        at("write", "-P 5", 6143, 1),
    ];
    lab.qemu_io(image, &commands.iter().map(String::as_str).collect::<Vec<_>>());
}

/// 3 MiB: some of it noise, some of it compressible, some zeros.
fn disk() -> Vec<u8> {
    let mut disk = common::noise(3 << 20, 3);
    disk[200_000..900_000].fill(b'a');
    disk[1 << 20..2 << 20].fill(0);
    for at in (2 << 20..3 << 20).step_by(5) {
        disk[at] = b'b';
    }
    disk
}

fn with_scribbles(options: &[&str]) {
    let Some(lab) = Lab::open() else { return };
    for options in options {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        scribble(&lab, "image");
        lab.compare("image");
    }
}

#[test]
fn cluster_sizes() {
    with_scribbles(&[
        "cluster_size=512",
        "cluster_size=1k",
        "cluster_size=4k",
        "cluster_size=64k",
        "cluster_size=2M",
    ]);
}

#[test]
fn version_2() {
    with_scribbles(&["compat=0.10", "compat=0.10,cluster_size=512"]);
}

#[test]
fn refcount_widths() {
    for bits in ["1", "2", "4", "8", "32", "64"] {
        with_scribbles(&[&format!("refcount_bits={bits}")]);
    }
}

#[test]
fn extended_l2() {
    with_scribbles(&["extended_l2=on", "extended_l2=on,cluster_size=16k", "extended_l2=on,cluster_size=2M"]);
}

#[test]
fn preallocation() {
    with_scribbles(&["preallocation=metadata", "preallocation=falloc", "preallocation=full"]);
}

#[test]
fn lazy_refcounts() {
    let Some(lab) = Lab::open() else { return };
    lab.qemu_img("create -q -f qcow2 -o lazy_refcounts=on image 3M");
    scribble(&lab, "image");
    lab.compare("image");
    let header = Header::read(lab.read("image").as_slice()).unwrap();
    assert_eq!(header.compatible(), Compatible::LAZY_REFCOUNTS);
}

#[test]
fn compressed_deflate_and_zstd() {
    let Some(lab) = Lab::open() else { return };
    lab.write("disk", &disk());
    for codec in ["zlib", "zstd"] {
        for size in ["512", "1k", "4k", "64k", "2M"] {
            lab.qemu_img(&format!(
                "convert -c -f raw -O qcow2 -o compression_type={codec},cluster_size={size} disk image"
            ));
            lab.compare("image");
            // Compressed clusters among others.
            scribble(&lab, "image");
            lab.compare("image");
        }
    }
    lab.qemu_img("convert -c -f raw -O qcow2 -o extended_l2=on disk image");
    lab.compare("image");
    scribble(&lab, "image");
    lab.compare("image");
}

#[test]
fn external_data_files() {
    let Some(lab) = Lab::open() else { return };
    for options in ["data_file=data,data_file_raw=on", "data_file=data", "data_file=data,extended_l2=on"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        scribble(&lab, "image");
        lab.compare("image");
        let bytes = lab.read("image");
        let mut map = Qcow2Map::new(bytes.as_slice(), common::IMAGE).unwrap();
        assert_eq!(map.needs_data_file(), Some(&b"data"[..]));
        assert!(map.extents(0..512).next().unwrap().is_err(), "it was not given");
        map.set_data_file(common::DATA, 512);
        assert_eq!(map.needs_data_file(), None);
        let extents: Vec<_> = map.extents(0..1024).map(Result::unwrap).collect();
        assert_eq!(extents[0].source, Source::Data { file: common::DATA, offset: 0 });
        assert_eq!(extents[1].source, Source::Zero, "the data file ends before");
    }
}

#[test]
fn backing_files_shorter_and_longer_than_the_overlay() {
    let Some(lab) = Lab::open() else { return };
    for (backing, format) in [("1000448", "raw"), ("2M", "qcow2"), ("5M", "qcow2")] {
        lab.qemu_img(&format!("create -q -f {format} backing {backing}"));
        if format == "raw" {
            lab.write("backing", &common::noise(1_000_448, 9));
        } else {
            lab.qemu_io("backing", &["write -P 9 0 1500000"]);
        }
        for options in ["compat=1.1", "compat=0.10", "extended_l2=on"] {
            lab.qemu_img(&format!("create -q -f qcow2 -b backing -F {format} -o {options} image 3M"));
            scribble(&lab, "image");
            lab.compare("image");
            let header = Header::read(lab.read("image").as_slice()).unwrap();
            let named = header.backing_file().unwrap();
            assert_eq!(
                (named.name.as_slice(), named.format.as_deref()),
                (&b"backing"[..], Some(format.as_bytes()))
            );
        }
    }
}

#[test]
fn snapshots_and_bitmaps_are_left_alone() {
    let Some(lab) = Lab::open() else { return };
    for options in ["compat=1.1", "compat=0.10"] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 3M"));
        scribble(&lab, "image");
        for name in ["one", "two", "a-longer-name"] {
            lab.qemu_img(&format!("snapshot -c {name} image"));
            lab.qemu_io("image", &["write -P 77 100000 70000"]);
        }
        if options == "compat=1.1" {
            lab.qemu_img("bitmap --add image map");
        }
        lab.compare("image");
        assert_eq!(Header::read(lab.read("image").as_slice()).unwrap().snapshots().entries, 3);
    }
}

#[test]
fn disks_that_are_no_whole_clusters() {
    let Some(lab) = Lab::open() else { return };
    for size in [0, 512, 65024, 66048, 1_048_576 + 1536] {
        lab.write("disk", &common::noise(size, 4));
        for arguments in ["convert -O qcow2", "convert -c -O qcow2"] {
            lab.qemu_img(&format!("{arguments} -f raw disk image"));
            lab.compare("image");
        }
    }
}

#[test]
fn the_header_says_what_info_says() {
    let Some(lab) = Lab::open() else { return };
    let options = "compression_type=zstd,refcount_bits=4,extended_l2=on,cluster_size=128k";
    lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 7M"));
    let header = Header::read(lab.read("image").as_slice()).unwrap();
    assert_eq!(header.refcount_bits(), 4);
    assert_eq!(header.geometry().cluster_size(), 128 << 10);
    assert_eq!(header.incompatible(), Incompatible::COMPRESSION | Incompatible::EXTENDED_L2);
    assert_eq!(header.codec(), fmt_core::Codec::Zstd);
    assert_eq!(header.virtual_size(), 7 << 20);
}

/// A large empty disk is answered in as many pieces as its L1 table has windows.
#[test]
fn a_sparse_disk_of_64_tib_is_a_few_extents() {
    let Some(lab) = Lab::open() else { return };
    lab.qemu_img("create -q -f qcow2 image 64T");
    lab.qemu_io("image", &["write -P 1 35184372088832 512"]);
    let extents = common::walk(&lab.read("image"), None, 0..u64::MAX).unwrap();
    assert!(extents.len() < 40, "{}", extents.len());
    let data: Vec<_> = extents.iter().filter(|extent| matches!(extent.source, Source::Data { .. })).collect();
    assert_eq!(data.len(), 1);
    assert_eq!((data[0].start, data[0].len), (32 << 40, 65536));
}
