//! Every option: what it comes to is what qemu-img makes of it.

use std::process::Command;

use fmt_core::{DiskPlan, Error, ErrorKind, Extent, Source, Step, StepSink, Zeros};
use fmt_qcow2::{Header, Options, Qcow2Plan};
use serde_json::Value;

use crate::common::sink::OUTPUT;
use crate::common::{self, Lab};
use crate::spec::{self, options};
use crate::write::{INPUT, data, verify, zero};

/// The size of the disk: no whole cluster of any size above 512 bytes.
const SIZE: u64 = (3 << 20) + 512;

/// Options of images without a backing file.
const COMBINATIONS: [&str; 48] = [
    "compat=1.1",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=1k",
    "cluster_size=4k",
    "cluster_size=32k",
    "cluster_size=2M",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=2M",
    "compat=0.10,refcount_bits=16",
    "compat=0.10,compression_type=zlib",
    "refcount_bits=1",
    "refcount_bits=2",
    "refcount_bits=4",
    "refcount_bits=8",
    "refcount_bits=32",
    "refcount_bits=64",
    "refcount_bits=1,cluster_size=512",
    "refcount_bits=64,cluster_size=512",
    "refcount_bits=2,cluster_size=2M",
    "lazy_refcounts=on",
    "lazy_refcounts=on,refcount_bits=8,cluster_size=4k",
    "compression_type=zlib",
    "compression_type=zstd",
    "compression_type=zstd,lazy_refcounts=on,cluster_size=512",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=2M",
    "extended_l2=on,compression_type=zstd,refcount_bits=1,lazy_refcounts=on",
    "preallocation=off",
    "preallocation=metadata",
    "preallocation=falloc",
    "preallocation=full",
    "preallocation=metadata,cluster_size=512,refcount_bits=64",
    "preallocation=metadata,compat=0.10",
    "preallocation=full,compat=0.10,cluster_size=4k",
    "preallocation=metadata,extended_l2=on",
    "preallocation=full,extended_l2=on,cluster_size=16k",
    "data_file=data",
    "data_file=data,data_file_raw=on",
    "data_file=data,cluster_size=512",
    "data_file=data,extended_l2=on",
    "data_file=data,extended_l2=on,data_file_raw=on",
    "data_file=data,preallocation=metadata",
    "data_file=data,preallocation=full,extended_l2=on",
    "data_file=data,data_file_raw=on,preallocation=full",
    "data_file=data,compression_type=zstd,refcount_bits=4,lazy_refcounts=on",
    "data_file=data,data_file_raw=on,cluster_size=2M",
];

/// Options of images with one.
const OVERLAYS: [&str; 12] = [
    "compat=1.1",
    "compat=0.10",
    "cluster_size=2k",
    "cluster_size=2M",
    "compat=0.10,cluster_size=4k",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=2M",
    "extended_l2=on,preallocation=metadata",
    "extended_l2=on,preallocation=full",
    "data_file=data",
    "data_file=data,extended_l2=on,lazy_refcounts=on,compression_type=zstd",
];

/// What `info` says of the image itself.
fn info(lab: &Lab, image: &str) -> Value {
    let text = lab.qemu_img(&format!("info -f qcow2 --output=json {image}"));
    let mut info: Value = serde_json::from_str(&text).unwrap();
    for other in ["filename", "actual-size", "children"] {
        info.as_object_mut().unwrap().remove(other).unwrap();
    }
    info
}

/// Checks that `image` says of itself what an image says that qemu-img makes with the same options.
fn verify_info(lab: &Lab, text: &str) {
    let ours = info(lab, "image");
    lab.qemu_img(&format!("create -q -f qcow2 -o {text} theirs {SIZE}"));
    assert_eq!(ours, info(lab, "theirs"), "{text}");
}

/// Data, zeros, and neither, in pieces of every size; each begins and ends at a multiple of `unit`.
pub(crate) fn pieces(unit: u64, seed: u64) -> Vec<Extent> {
    let mut random = common::Random(seed);
    let (mut at, mut extents) = (0, Vec::new());
    while at < SIZE {
        let most = 1 << (6 + random.below(14));
        let len = (1 + random.below(most) as u64).next_multiple_of(unit).min(SIZE - at);
        match random.below(5) {
            0 => extents.push(Extent { start: at, len, source: Source::Unallocated }),
            1 => {}
            2 => extents.push(zero(at, len)),
            _ => extents.push(data(at, len)),
        }
        at += len;
    }
    extents
}

/// The disk that extents of `input` make above `backing`.
pub(crate) fn disk(extents: &[Extent], input: &[u8], backing: &[u8]) -> Vec<u8> {
    let mut disk = backing.to_vec();
    for extent in extents {
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        match extent.source {
            Source::Zero => disk[range].fill(0),
            Source::Data { .. } => disk[range.clone()].copy_from_slice(&input[range]),
            _ => {}
        }
    }
    disk
}

#[test]
fn what_info_says() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(usize::try_from(SIZE).unwrap(), 11);
    for (seed, text) in (0..).zip(COMBINATIONS) {
        let extents = pieces(1, seed);
        let len = spec::write(&lab, SIZE, &options(text), &input, &extents).unwrap();
        assert!(len <= options(text).max_len(SIZE).unwrap());
        let disk = disk(&extents, &input, &vec![0; input.len()]);
        verify(&lab, &disk);
        if text.contains("data_file=") {
            assert_eq!(lab.read("data").len(), disk.len());
        }
        if text.contains("data_file_raw=on") {
            assert!(lab.read("data") == disk, "{text}");
        }
        verify_info(&lab, text);
    }
}

#[test]
fn what_info_says_of_overlays() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(usize::try_from(SIZE).unwrap(), 12);
    let backing = common::noise(usize::try_from(SIZE).unwrap(), 13);
    lab.write("backing", &backing);
    for (seed, text) in (100..).zip(OVERLAYS) {
        let text = format!("{text},backing_file=backing,backing_fmt=raw");
        let options = options(&text);
        let extents = pieces(options.block_len().unwrap(), seed);
        spec::write(&lab, SIZE, &options, &input, &extents).unwrap();
        verify(&lab, &disk(&extents, &input, &backing));
        verify_info(&lab, &text);
    }
}

#[test]
fn sparse_images_are_as_long_as_those_of_convert() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(usize::try_from(SIZE).unwrap(), 21);
    for (seed, text) in
        (200..).zip(["compat=1.1", "compat=0.10", "extended_l2=on", "cluster_size=4k", "cluster_size=2M"])
    {
        // Zeros that convert finds by itself: it looks at 4 KiB at a time.
        let extents = pieces(4096, seed);
        let disk = disk(&extents, &input, &vec![0; input.len()]);
        lab.write("disk", &disk);
        let len = spec::write(&lab, SIZE, &options(text), &input, &extents).unwrap();
        lab.qemu_img(&format!("convert -f raw -O qcow2 -o {text} disk theirs"));
        let theirs = lab.read("theirs");
        let cluster_size = Header::read(theirs.as_slice()).unwrap().geometry().cluster_size();
        // The last cluster need not be whole there.
        assert_eq!(len, (theirs.len() as u64).next_multiple_of(cluster_size), "{text}");
    }
}

/// Extents of an overlay, and what cluster or subcluster they come to.
#[test]
fn zeros_above_a_backing_file_are_marked_where_they_are_whole() {
    let Some(lab) = Lab::open() else { return };
    lab.write("backing", &common::noise(1 << 20, 14));
    let input = common::noise(1 << 20, 15);
    for (text, block, marked) in [
        ("compat=1.1", 65536, true),
        ("compat=0.10", 65536, false),
        ("extended_l2=on", 2048, true),
        ("data_file=data", 65536, true),
    ] {
        let text = format!("{text},backing_file=backing,backing_fmt=raw");
        // A block in halves of zeros and data, two whole blocks of zeros in three pieces, and one left out.
        let extents = [
            data(0, block / 2),
            zero(block / 2, block),
            zero(block + block / 2, 100),
            zero(block + block / 2 + 100, block * 3 / 2 - 100),
            data(4 * block, block),
        ];
        spec::write(&lab, 1 << 20, &options(&text), &input, &extents).unwrap();
        verify(&lab, &disk(&extents, &input, &lab.read("backing")));
        let bytes = lab.read("image");
        let found = common::walk(&bytes, Some(1 << 20), 0..5 * block).unwrap();
        let zeros: Vec<_> = found.iter().filter(|extent| extent.source == Source::Zero).collect();
        let expected = Extent { start: block, len: 2 * block, source: Source::Zero };
        assert_eq!(zeros, Vec::from_iter(marked.then_some(&expected)), "{text}");
        let left: u64 =
            found.iter().filter(|extent| extent.source == Source::Unallocated).map(|extent| extent.len).sum();
        assert_eq!(left, block, "{text}");
    }
}

#[test]
fn a_block_is_not_left_to_the_backing_file_in_part() {
    let Some(lab) = Lab::open() else { return };
    for (text, block) in [("compat=1.1", 65536), ("extended_l2=on", 2048), ("compat=0.10", 65536)] {
        let text = format!("{text},backing_file=backing");
        let kind = |extents: &[Extent]| {
            spec::write(&lab, 1_000_448, &options(&text), &[1; 1_000_448], extents)
                .map_err(|error| error.kind)
        };
        for extents in [
            &[data(0, 512)][..],
            &[data(512, block - 512)],
            &[data(0, 512), zero(1024, block - 1024)],
            &[zero(0, block + 512), data(3 * block, block)],
            &[zero(1_000_448 - 512, 512)],
        ] {
            assert_eq!(kind(extents), Err(ErrorKind::UnsupportedFeature), "{text} {extents:?}");
        }
        assert_eq!(kind(&[data(block, block), data(0, block)]), Err(ErrorKind::Corrupt));
        let last = 1_000_448 / block * block;
        assert!(kind(&[data(last, 1_000_448 - last)]).is_ok());
    }
}

#[test]
fn what_qemu_img_refuses_is_refused() {
    struct Nothing;
    impl StepSink for Nothing {
        fn step(&self, step: Step<'_>) -> Result<(), Error> {
            panic!("{step:?}")
        }
    }
    let Some(lab) = Lab::open() else { return };
    let long = |key, len| format!("{key}={}", "n".repeat(len));
    let (name_1024, name_500, format_16) =
        (long("backing_file", 1024), long("backing_file", 500), long("backing_fmt", 16));
    for text in [
        "compat=0.10,extended_l2=on",
        "compat=0.10,refcount_bits=8",
        "compat=0.10,lazy_refcounts=on",
        "compat=0.10,data_file=data",
        "compat=0.10,compression_type=zstd",
        "extended_l2=on,cluster_size=8k",
        "cluster_size=256",
        "cluster_size=4M",
        "cluster_size=3000",
        "refcount_bits=0",
        "refcount_bits=3",
        "refcount_bits=128",
        "backing_file=backing,backing_fmt=raw,preallocation=metadata",
        "backing_file=backing,backing_fmt=raw,preallocation=full,compat=0.10",
        "backing_file=backing,backing_fmt=raw,data_file=data,data_file_raw=on",
        &format!("{name_1024},backing_fmt=raw"),
        &format!("{name_500},backing_fmt=raw,cluster_size=512"),
        &format!("backing_file=backing,{format_16}"),
    ] {
        let args = ["create", "-q", "-u", "-f", "qcow2", "-o", text, "theirs", "4M"];
        let theirs = Command::new("qemu-img").args(args).current_dir(lab.path("")).output().unwrap();
        assert!(!theirs.status.success(), "{text}");
        let error = Qcow2Plan::begin(&Nothing, OUTPUT, 4 << 20, &options(text)).map(drop).unwrap_err();
        let names = text.contains("nnn");
        let expected = if names { ErrorKind::TooLarge } else { ErrorKind::UnsupportedFeature };
        assert_eq!(error.kind, expected, "{text}: {error}");
    }
    for size in [(128 << 30) + 512, u64::MAX] {
        let error = options("cluster_size=512").max_len(size).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }
    // All of it would be allocated, and the refcount table would be too long.
    let error = options("cluster_size=512,preallocation=metadata").max_len(128 << 30).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
}

/// Names as long as they may be, and in the smallest clusters, where the features' names are left out.
#[test]
fn names_of_other_files() {
    let Some(lab) = Lab::open() else { return };
    let name = "n".repeat(1023);
    for text in [
        format!("cluster_size=2k,backing_file={name},backing_fmt=raw"),
        format!("compat=0.10,cluster_size=2k,backing_file={name},backing_fmt=raw"),
        format!("cluster_size=512,backing_file={},backing_fmt=qcow2", &name[..300]),
        format!("cluster_size=512,data_file=data,backing_file={}", &name[..200]),
    ] {
        spec::write(&lab, 1 << 20, &options(&text), &[], &[]).unwrap();
        let header = Header::read(lab.read("image").as_slice()).unwrap();
        let backing = header.backing_file().unwrap();
        assert!(text.contains(&format!("backing_file={}", str::from_utf8(&backing.name).unwrap())));
        let format = backing.format.as_ref().map(|name| String::from_utf8(name.clone()).unwrap());
        assert_eq!(text.split_once("backing_fmt=").map(|(_, format)| format.to_owned()), format);
        // Files of these names are not there, and info does not look for them.
        let theirs = info(&lab, "image");
        assert_eq!(theirs["backing-filename"].as_str().unwrap().as_bytes(), backing.name);
    }
}

/// Tables that are needed, and not one cluster of zeros; a length for what there is, not for what there may be.
#[test]
fn sparse_disks_of_every_size() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(65536, 16);
    for (text, size) in [("compat=1.1", 1 << 51), ("cluster_size=2M,extended_l2=on", 1 << 59)] {
        let options = options(text);
        let sink = spec::sink(&lab, &input, false);
        let mut plan = Qcow2Plan::begin(&sink, OUTPUT, size, &options).unwrap();
        let last = size - 65536;
        plan.extent(zero(0, 1 << 40)).unwrap();
        plan.extent(Extent { start: last, len: 65536, source: Source::Data { file: INPUT, offset: 0 } })
            .unwrap();
        plan.finish().unwrap();
        assert!(sink.resized() <= 6, "{}", sink.resized());
        assert!(sink.close() < 64 << 20);
        assert!(lab.qemu_img("check -f qcow2 image").starts_with("No errors"));
        lab.qemu_io("image", &[&format!("read -P {} {last} 1", input[0]), "read -P 0 0 1M"]);
    }
}

/// Refcount blocks of which a piece at a time is written. What is preallocated is a hole.
#[test]
fn refcount_blocks_of_many_pieces() {
    let Some(lab) = Lab::open() else { return };
    for (text, size) in [
        ("cluster_size=2M,refcount_bits=64,preallocation=metadata", 40 << 30),
        ("cluster_size=2M,refcount_bits=1,preallocation=metadata", 1200 << 30),
        ("cluster_size=512,refcount_bits=64,preallocation=metadata", 100 << 20),
    ] {
        let len = spec::write(&lab, size, &options(text), &[], &[]).unwrap();
        assert_eq!(options(text).max_len(size), Ok(len));
        let report = lab.qemu_img("check -f qcow2 image");
        assert!(report.starts_with("No errors were found on the image."), "{text}: {report}");
    }
}

/// A file of 300 MiB is given a length now and then, never one that is much too long.
#[test]
fn a_file_grows_in_steps() {
    struct Lengths(core::cell::RefCell<Vec<u64>>);
    impl StepSink for Lengths {
        fn step(&self, step: Step<'_>) -> Result<(), Error> {
            if let Step::SetLen { len, .. } = step {
                self.0.borrow_mut().push(len);
            }
            Ok(())
        }
    }
    for (size, steps) in [(300 << 20, 33), (1_u64 << 40, 120)] {
        let sink = Lengths(core::cell::RefCell::default());
        let options = Options::default().zeros(Zeros::Absent).cluster_size(2 << 20);
        let mut plan = Qcow2Plan::begin(&sink, OUTPUT, 1 << 45, &options).unwrap();
        plan.extent(data(0, size)).unwrap();
        plan.finish().unwrap();
        let lengths = sink.0.into_inner();
        assert!(lengths.len() < steps, "{}", lengths.len());
        let last = lengths.last().unwrap();
        assert!(lengths.iter().all(|len| *len <= last + last / 8 + (4 << 20)), "{lengths:?}");
    }
}

/// Where nothing was written, nothing is read, even of a device that is full of something else.
#[test]
fn stale_content_does_not_show() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(usize::try_from(SIZE).unwrap(), 17);
    let backing = common::noise(input.len(), 18);
    lab.write("backing", &backing);
    for text in ["compat=1.1", "extended_l2=on", "extended_l2=on,preallocation=metadata", "compat=0.10"] {
        for overlay in [false, true] {
            let text =
                if overlay { format!("{text},backing_file=backing,backing_fmt=raw") } else { text.into() };
            let options = options(&text);
            let extents = pieces(options.block_len().unwrap(), 19);
            let sink = spec::sink(&lab, &input, true);
            let mut plan = Qcow2Plan::begin(&sink, OUTPUT, SIZE, &options).unwrap();
            for &extent in &extents {
                plan.extent(extent).unwrap();
            }
            plan.finish().unwrap();
            sink.close();
            let below = if overlay { backing.clone() } else { vec![0; input.len()] };
            verify(&lab, &disk(&extents, &input, &below));
        }
    }
}
