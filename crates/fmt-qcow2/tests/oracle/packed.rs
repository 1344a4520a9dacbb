//! Compressed clusters, among others and on their own.

use fmt_core::{Codec, DiskPlan, ErrorKind, PackingPlan, Source};
use fmt_qcow2::Qcow2Plan;

use crate::common::sink::OUTPUT;
use crate::common::{self, Lab};
use crate::spec::{options, sink, write_packed};
use crate::write::INPUT;
use crate::write::{data, verify};

/// Stretches of text, noise and zeros, none of which is a whole number of clusters.
fn disk(len: usize, seed: u64) -> Vec<u8> {
    let mut random = common::Random(seed);
    let mut disk = common::noise(len, seed);
    let mut at = 0;
    while at < len {
        let end = (at + 1 + random.below(200_000)).min(len);
        match random.below(6) {
            0 => disk[at..end].fill(0),
            1 => {}
            // The less of the noise remains, the better it compresses.
            kind => (at..end).filter(|at| at % kind != 0).for_each(|at| disk[at] = b'a'),
        }
        at = end;
    }
    disk
}

#[test]
fn every_option_with_compressed_clusters() {
    let Some(lab) = Lab::open() else { return };
    for (seed, text) in (0..).zip([
        "compat=1.1",
        "compat=0.10",
        "compression_type=zstd",
        "cluster_size=512",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=1k,refcount_bits=2,compression_type=zstd",
        "cluster_size=4k,refcount_bits=4",
        "cluster_size=4k,refcount_bits=32,compat=1.1",
        "cluster_size=512,compat=0.10",
        "cluster_size=2M",
        "cluster_size=2M,compression_type=zstd,refcount_bits=8",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k,compression_type=zstd,lazy_refcounts=on",
    ]) {
        let len = if text.contains("=2M") { 5 << 20 } else { 1 << 20 };
        let disk = disk(len + 1024, seed);
        let options = options(text);
        let len = write_packed(&lab, &disk, &options, false, &|_| false);
        verify(&lab, &disk);
        assert!(len < options.max_len(disk.len() as u64).unwrap(), "{text}");
        // The oracle's zstd is a better one.
        if options.codec(Codec::Deflate) != options {
            continue;
        }
        lab.qemu_img(&format!("convert -c -f raw -O qcow2 -o {text} disk theirs"));
        let theirs = lab.read("theirs").len() as u64;
        assert!(len < theirs + theirs / 4 + (8 << 10), "{text}: {len}, theirs {theirs}");
    }
}

#[test]
fn compressed_clusters_above_a_backing_file() {
    let Some(lab) = Lab::open() else { return };
    let mut disk = disk((3 << 20) + 512, 30);
    let backing = common::noise(disk.len(), 31);
    lab.write("backing", &backing);
    for (text, size) in
        [("compat=1.1", 65536), ("compat=0.10,cluster_size=512", 512), ("extended_l2=on", 65536)]
    {
        let text = format!("{text},backing_file=backing,backing_fmt=raw");
        let absent = |index| index % 3 == 1;
        for (index, (ours, below)) in (0..).zip(disk.chunks_mut(size).zip(backing.chunks(size))) {
            if absent(index) {
                ours.copy_from_slice(below);
            }
        }
        write_packed(&lab, &disk, &options(&text), false, &absent);
        verify(&lab, &disk);
    }
}

#[test]
fn stale_content_does_not_show() {
    let Some(lab) = Lab::open() else { return };
    let disk = disk(3 << 20, 32);
    for text in ["cluster_size=512", "compression_type=zstd", "extended_l2=on"] {
        write_packed(&lab, &disk, &options(text), true, &|_| false);
        verify(&lab, &disk);
    }
}

/// As many refcount blocks as clusters can be in one of them, so that all kinds of boundaries are met.
#[test]
fn refcount_blocks_among_compressed_data() {
    let Some(lab) = Lab::open() else { return };
    // The first compressed cluster comes late, at the end of a refcount block, at the beginning of one.
    for plain in [0, 55, 56, 57, 58, 59, 60, 61, 62, 63, 200, 4000] {
        let mut disk = common::noise(plain * 512, 33);
        disk.extend(
            (0..400_000_u32).map(|at| if at % 5 < 3 { b'x' } else { (at / 512 % 251 + 1).to_le_bytes()[0] }),
        );
        disk.truncate(disk.len() / 512 * 512);
        write_packed(&lab, &disk, &options("cluster_size=512,refcount_bits=64"), false, &|_| false);
        verify(&lab, &disk);
    }
}

/// A cluster has no more pieces of compressed data than its refcount can say.
#[test]
fn narrow_refcounts() {
    let Some(lab) = Lab::open() else { return };
    let mut disk = vec![0; 2 << 20];
    for (number, cluster) in (1..).zip(disk.chunks_mut(4096)) {
        cluster.fill(u8::try_from(number % 255 + 1).unwrap());
    }
    let len = |bits| {
        let text = format!("cluster_size=4k,refcount_bits={bits}");
        let len = write_packed(&lab, &disk, &options(&text), false, &|_| false);
        verify(&lab, &disk);
        len
    };
    // 512 clusters of the disk: one, three, fifteen in each cluster of the file.
    assert!((2 << 20..).contains(&len(1)));
    assert!((684 << 10..720 << 10).contains(&len(2)));
    assert!((136 << 10..180 << 10).contains(&len(4)));
    assert!(len(16) < 60 << 10);
}

/// Bytes of the input that pass for compressed ones.
const SOURCE: Source = Source::Data { file: INPUT, offset: 0 };

#[test]
fn what_cannot_be_compressed_is_refused() {
    let Some(lab) = Lab::open() else { return };
    for text in ["data_file=data", "preallocation=metadata", "preallocation=full"] {
        let sink = sink(&lab, &[], false);
        let mut plan = Qcow2Plan::begin(&sink, OUTPUT, 1 << 20, &options(text)).unwrap();
        assert_eq!(plan.packed(0, SOURCE, 1).unwrap_err().kind, ErrorKind::UnsupportedFeature, "{text}");
    }
    let input = common::noise(1 << 20, 34);
    let sink = sink(&lab, &input, false);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, 1 << 20, &options("compat=1.1")).unwrap();
    assert_eq!((plan.unit_len(), plan.codec()), (65536, Codec::Deflate));
    let mut kind = |start, len| plan.packed(start, SOURCE, len).map_err(|error| error.kind);
    assert_eq!(kind(1 << 20, 1), Err(ErrorKind::TooLarge));
    assert_eq!(kind(512, 1), Err(ErrorKind::Corrupt));
    assert_eq!(kind(0, 0), Err(ErrorKind::TooLarge));
    assert_eq!(kind(0, 65536), Err(ErrorKind::TooLarge));
    assert_eq!(kind(131_072, 65535), Ok(()));
    assert_eq!(kind(131_072, 1), Err(ErrorKind::Corrupt), "twice");
    assert_eq!(kind(65536, 1), Err(ErrorKind::Corrupt), "out of order");
    let mut kind = |start, len| plan.extent(data(start, len)).map_err(|error| error.kind);
    assert_eq!(kind(131_072 + 512, 512), Err(ErrorKind::Corrupt), "twice");
    assert_eq!(kind(262_144, 512), Ok(()));
    assert_eq!(plan.packed(262_144, SOURCE, 1).unwrap_err().kind, ErrorKind::Corrupt, "twice");
    plan.finish().unwrap();
    sink.close();
    let extents = common::walk(&lab.read("image"), None, 0..1 << 20).unwrap();
    assert!(matches!(extents[1].source, Source::Compressed { .. }), "{extents:?}");
}

/// QEMU asks for a window of 4 KiB, but reads a cluster at once.
#[test]
fn deflate_that_reaches_far_back() {
    let Some(lab) = Lab::open() else { return };
    let disk = common::noise(30_000, 35).repeat(20);
    let disk = &disk[..512 << 10];
    let len = write_packed(&lab, disk, &options("compat=1.1"), false, &|_| false);
    assert!(len < 700 << 10, "{len}");
    verify(&lab, disk);
}
