//! What the plan writes: qemu-img finds no fault with it, and reads the disk from it that was written.

use fmt_core::{DiskMap, DiskPlan, ErrorKind, Extent, FileId, Source};
use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan};

use crate::common::sink::{OUTPUT, Sink};
use crate::common::{self, IMAGE, Lab};

pub(crate) const INPUT: FileId = FileId(1);

pub(crate) fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: INPUT, offset: start } }
}

pub(crate) fn zero(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Zero }
}

fn clusters_of(bytes: u64) -> Options<'static> {
    Options::default().cluster_size(bytes)
}

/// Writes the extents of a disk of `size` bytes into `image`, and returns the length of the file.
#[track_caller]
fn write(lab: &Lab, size: u64, options: &Options<'_>, input: &[u8], extents: &[Extent], device: bool) -> u64 {
    let sink = Sink::create(&lab.path("image"), input, device);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, size, options).unwrap();
    for &extent in extents {
        plan.extent(extent).unwrap();
    }
    plan.finish().unwrap();
    let (written, len) = (sink.written(), sink.close());
    assert_eq!(written, len, "every byte of the file is written once");
    len
}

/// Checks that `image` is in order and holds `disk`.
#[track_caller]
pub(crate) fn verify(lab: &Lab, disk: &[u8]) {
    lab.check("image");
    lab.write("disk", disk);
    lab.qemu_img("compare -f qcow2 -F raw image disk");
    assert!(lab.oracle("image").unwrap() == disk);
    assert!(lab.disk("image").unwrap() == disk);
}

/// What `info` says, but for the file's name and how many of its blocks are holes.
pub(crate) fn info(lab: &Lab, image: &str) -> String {
    let info = lab.qemu_img(&format!("info -f qcow2 --output=json {image}"));
    let same = |line: &&str| !line.contains("\"filename\"") && !line.contains("\"actual-size\"");
    info.lines().filter(same).collect::<Vec<_>>().join("\n")
}

/// The sector-padded disk of `input`.
fn padded(input: &[u8]) -> Vec<u8> {
    let mut disk = input.to_vec();
    disk.resize(disk.len().next_multiple_of(512), 0);
    disk
}

#[test]
fn dense_disks_are_those_of_dd() {
    let Some(lab) = Lab::open() else { return };
    for size in [0, 1, 512, 1000, 65536, 65537, 1 << 20, (1 << 20) + 512, 5_000_000] {
        let input = common::noise(usize::try_from(size).unwrap(), size);
        let extents: Vec<_> = (size > 0).then(|| data(0, size)).into_iter().collect();
        let len = write(&lab, size, &Options::default(), &input, &extents, false);
        assert_eq!(Options::default().max_len(size), Ok(len), "the bound is the length");
        let disk = padded(&input);
        verify(&lab, &disk);
        lab.qemu_img("dd -f raw -O qcow2 bs=1M if=disk of=theirs");
        assert_eq!(lab.read("theirs").len() as u64, len, "{size}");
        // The file's length is in there as well.
        assert_eq!(info(&lab, "image"), info(&lab, "theirs"), "{size}");
    }
}

/// The recorded length of a file that holds an empty disk, in every version of qemu-img.
#[test]
fn an_empty_disk_has_three_clusters() {
    assert_eq!(Options::default().max_len(0), Ok(196_608));
    assert_eq!(Options::default().max_len(1 << 20), Ok(1_376_256));
}

#[test]
fn cluster_sizes() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise((6 << 20) + 512, 5);
    let size = input.len() as u64;
    lab.write("disk", &input);
    for bits in 9..=21 {
        // With 512 bytes: 193 L2 tables, an L1 table of four clusters, a refcount table of two.
        let options = clusters_of(1 << bits);
        let len = write(&lab, size, &options, &input, &[data(0, size)], false);
        assert_eq!(options.max_len(size), Ok(len));
        verify(&lab, &input);
        lab.qemu_img(&format!("convert -f raw -O qcow2 -o cluster_size={} disk theirs", 1 << bits));
        assert_eq!(info(&lab, "image").replace(&len.to_string(), ""), {
            let theirs = lab.read("theirs").len();
            info(&lab, "theirs").replace(&theirs.to_string(), "")
        });
    }
}

#[test]
fn zeros_are_allocated() {
    let Some(lab) = Lab::open() else { return };
    let len = write(&lab, 1 << 20, &Options::default(), &[], &[zero(0, 1 << 20)], false);
    assert_eq!(len, 1_376_256);
    verify(&lab, &vec![0; 1 << 20]);
    let extents = common::walk(&lab.read("image"), None, 0..1 << 20).unwrap();
    assert!(extents.iter().all(|extent| matches!(extent.source, Source::Data { .. })));
}

/// Pieces of every size, at every place in a cluster, with gaps, zeros, and whole clusters left out.
#[test]
fn extents_smaller_than_a_cluster() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(3 << 20, 6);
    for (round, cluster) in [512, 4096, 65536, 2 << 20].into_iter().enumerate() {
        let mut random = common::Random(round as u64);
        let (mut at, mut extents) = (0, Vec::new());
        let mut disk = vec![0; input.len()];
        while at < disk.len() {
            let bound = 1 << random.below(18);
            let len = (1 + random.below(bound)).min(disk.len() - at);
            let (start, bytes) = (at as u64, len as u64);
            match random.below(4) {
                0 => extents.push(Extent { start, len: bytes, source: Source::Unallocated }),
                1 => extents.push(zero(start, bytes)),
                2 => {}
                _ => {
                    extents.push(data(start, bytes));
                    disk[at..at + len].copy_from_slice(&input[at..at + len]);
                }
            }
            at += len;
        }
        write(&lab, disk.len() as u64, &clusters_of(cluster), &input, &extents, false);
        verify(&lab, &disk);
    }
}

/// Nothing that is read was there before.
#[test]
fn stale_content_does_not_show() {
    let Some(lab) = Lab::open() else { return };
    for cluster in [512, 65536] {
        let size = 3 << 20;
        let input = common::noise(size, 7);
        let mut disk = vec![0; size];
        disk[700_000..900_123].copy_from_slice(&input[700_000..900_123]);
        disk[2_000_000..2_000_001].copy_from_slice(&input[2_000_000..2_000_001]);
        let extents = [data(700_000, 200_123), data(2_000_000, 1)];
        write(&lab, size as u64, &clusters_of(cluster), &input, &extents, true);
        verify(&lab, &disk);
    }
}

#[test]
fn a_cluster_on_each_side_of_every_table() {
    let Some(lab) = Lab::open() else { return };
    let input = [b'x'; 512];
    let piece = |start| Extent { start, len: 512, source: Source::Data { file: INPUT, offset: 0 } };
    // L2 tables speak of 512 MiB, a piece of the L1 table of 4 TiB.
    let places = [0, (512 << 20) - 512, 512 << 20, (4 << 40) - 512, 4 << 40, 9 << 40, (64 << 40) - 512];
    let len = write(&lab, 64 << 40, &Options::default(), &input, &places.map(piece), false);
    assert!(len < 3 << 20, "{len}");
    lab.check("image");
    let bytes = lab.read("image");
    let extents = common::walk(&bytes, None, 0..u64::MAX).unwrap();
    let found: Vec<_> =
        extents.iter().filter(|extent| matches!(extent.source, Source::Data { .. })).collect();
    assert_eq!(found.len(), places.len());
    for place in places {
        lab.qemu_io("image", &[&format!("read -P 120 {place} 512")]);
    }
}

/// Only the first small cluster of each large one was written, once, elsewhere.
#[test]
fn clusters_that_are_smaller_than_those_of_the_output() {
    let Some(lab) = Lab::open() else { return };
    let disk = common::noise(3 << 20, 8);
    lab.write("raw", &disk);
    for (arguments, options) in [
        ("convert", "cluster_size=512"),
        ("convert", "cluster_size=4k"),
        ("convert", "extended_l2=on"),
        ("convert -c", "cluster_size=512"),
        ("convert -c", "compression_type=zstd,cluster_size=4k"),
    ] {
        lab.qemu_img(&format!("{arguments} -f raw -O qcow2 -o {options} raw source"));
        let source = lab.read("source");
        let mut map = Qcow2Map::new(source.as_slice(), IMAGE).unwrap();
        let extents: Vec<_> = map.extents(0..u64::MAX).map(Result::unwrap).collect();
        write(&lab, disk.len() as u64, &Options::default(), &source, &extents, false);
        verify(&lab, &disk);
    }
}

#[test]
fn the_same_disk_gives_the_same_bytes() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(1 << 20, 10);
    let image = |extents: &[Extent]| {
        write(&lab, 1 << 20, &Options::default(), &input, extents, false);
        lab.read("image")
    };
    let pieces: Vec<_> = (0..1 << 20).step_by(1 << 12).map(|start| data(start, 1 << 12)).collect();
    assert!(image(&[data(0, 1 << 20)]) == image(&pieces));
}

/// The largest disk that qemu-img makes with clusters of 64 KiB. It is refused before the first step.
#[test]
fn disks_that_are_too_large() {
    #[derive(Debug)]
    struct Nothing;
    impl fmt_core::StepSink for Nothing {
        fn step(&self, step: fmt_core::Step<'_>) -> Result<(), fmt_core::Error> {
            panic!("{step:?}")
        }
    }
    for (cluster, size) in
        [(65536, (1 << 51) + 1), (65536, u64::MAX), (512, (128 << 30) + 1), (2 << 20, (1 << 61) + 1)]
    {
        let error = Qcow2Plan::begin(&Nothing, OUTPUT, size, &clusters_of(cluster)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert!(clusters_of(cluster).max_len((size - 1) & !511).is_ok() || size == u64::MAX);
    }
    let Some(lab) = Lab::open() else { return };
    let last = Extent { start: (1 << 51) - 512, len: 512, source: Source::Zero };
    write(&lab, 1 << 51, &Options::default(), &[], &[last], false);
    lab.check("image");
    assert!(info(&lab, "image").contains("\"virtual-size\": 2251799813685248"));
}

#[test]
fn extents_that_are_out_of_place() {
    let Some(lab) = Lab::open() else { return };
    let sink = Sink::create(&lab.path("image"), &[], false);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, 1000, &clusters_of(512)).unwrap();
    let mut kind = |start, len| plan.extent(zero(start, len)).map_err(|error| error.kind);
    assert_eq!(kind(1020, 5), Err(ErrorKind::TooLarge));
    assert_eq!(kind(u64::MAX, 1), Err(ErrorKind::TooLarge));
    assert_eq!(kind(600, 10), Ok(()));
    assert_eq!(kind(605, 10), Err(ErrorKind::Corrupt));
    assert_eq!(kind(0, 10), Err(ErrorKind::Corrupt));
}
