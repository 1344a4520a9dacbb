//! Images that are written here.

use fmt_core::{DiskPlan, Error, ErrorKind, Extent, FileId, PackingPlan, Source, Zeros};
use fmt_vmdk::{Options, Subformat, VmdkPlan};

use crate::common::{Lab, disk_bytes};
use crate::executor::{Executor, OUT};

fn options() -> Options<'static> {
    Options::new(0x1234_5678, b"we.vmdk")
}

fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: FileId(0), offset: start } }
}

fn zero(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Zero }
}

fn run(sink: &Executor, size: u64, options: &Options<'_>, extents: &[Extent]) -> Result<(), Error> {
    let mut plan = VmdkPlan::begin(sink, OUT, size, options)?;
    for &extent in extents {
        plan.extent(extent)?;
    }
    plan.finish()
}

/// `bytes` whole, in pieces of `piece` bytes.
fn dense(bytes: &[u8], piece: usize) -> Vec<Extent> {
    let pieces = bytes.chunks(piece).enumerate();
    pieces.map(|(number, chunk)| data((number * piece) as u64, chunk.len() as u64)).collect()
}

/// `we.vmdk` is sound and holds `bytes`.
#[track_caller]
fn assert_holds(lab: &Lab, bytes: &[u8]) {
    lab.write("expected.raw", bytes);
    lab.run("qemu-img check -f vmdk we.vmdk");
    assert!(lab.run("qemu-img compare -f raw -F vmdk expected.raw we.vmdk").contains("identical"));
    let size = bytes.len().next_multiple_of(512);
    let (we, qemu) = (lab.we_read("we.vmdk").unwrap(), lab.qemu_reads("we.vmdk").unwrap());
    assert!(
        we.len() == size && we == qemu && we.starts_with(bytes) && we[bytes.len()..].iter().all(|&b| b == 0)
    );
    std::fs::remove_file(lab.path("we.vmdk")).unwrap();
}

/// The sizes are those of the facts on `qemu-img dd`: one byte, one sector, part of a grain, whole grains, two tables.
#[test]
fn a_dense_disk_is_as_qemu_img_dd_writes_it() {
    let Some(lab) = Lab::open() else { return };
    for size in [1, 512, 1000, 65_536, 1_000_448, 1 << 20, (33 << 20) + 512] {
        let bytes = disk_bytes(size, size as u64);
        lab.write("in.raw", &bytes);
        lab.run("qemu-img dd -f raw -O vmdk bs=65536 if=in.raw of=qemu.vmdk");
        let sink = Executor::new(&lab.path("we.vmdk"), bytes.clone());
        run(&sink, size as u64, &options(), &dense(&bytes, 1 << 20)).unwrap();
        let qemu_len = lab.bytes("qemu.vmdk").len() as u64;
        assert_eq!(sink.finish(), [qemu_len], "the first length is the last");
        assert_eq!(lab.info("we.vmdk"), lab.info("qemu.vmdk"));
        assert_same_descriptor(&lab);
        assert_holds(&lab, &bytes);
    }
}

/// But for the identity and the name.
#[track_caller]
fn assert_same_descriptor(lab: &Lab) {
    let head = |name: &str| {
        let mut bytes = lab.bytes(name);
        bytes.truncate(21 * 512);
        let text = String::from_utf8_lossy(&bytes[512..]).replace(name, "NAME");
        // Where a CID comes to have fewer digits, `qemu-img` leaves the end of the longer text behind.
        let lines = text.trim_end_matches(['\0', '\n']).lines().filter(|line| !line.starts_with("CID="));
        (bytes[..512].to_vec(), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(head("we.vmdk"), head("qemu.vmdk"));
}

/// Of an input whose clusters are smaller than a grain, only the first in each grain used to be written.
#[test]
fn small_clusters_lose_nothing() {
    let Some(lab) = Lab::open() else { return };
    let bytes = disk_bytes(400_000, 5);
    for piece in [512, 1000, 4096, 65_535, 65_537, 400_000] {
        let sink = Executor::new(&lab.path("we.vmdk"), bytes.clone());
        run(&sink, 400_000, &options(), &dense(&bytes, piece)).unwrap();
        sink.finish();
        assert_holds(&lab, &bytes);
    }
}

#[test]
fn gaps_stay_unallocated_and_zeros_are_written() {
    let Some(lab) = Lab::open() else { return };
    let bytes = disk_bytes(100 << 20, 6);
    let extents = [
        data(100, 7),
        zero(65_000, 1000),
        data(70_000, 512),
        Extent { start: 200_000, len: 3 << 20, source: Source::Unallocated },
        data((40 << 20) + 5, 200_000),
        zero(99 << 20, 1 << 20),
    ];
    let mut expected = vec![0; bytes.len()];
    for extent in extents.iter().filter(|extent| matches!(extent.source, Source::Data { .. })) {
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        expected[range.clone()].copy_from_slice(&bytes[range]);
    }
    let sink = Executor::new(&lab.path("we.vmdk"), bytes);
    run(&sink, 100 << 20, &options(), &extents).unwrap();
    // Grains 0, 1; four from 40 MiB on; sixteen at the end.
    assert_eq!(sink.finish().last(), Some(&(65_536 * 23)));
    assert_holds(&lab, &expected);
}

#[test]
fn a_disk_without_an_extent_is_tables_only() {
    let Some(lab) = Lab::open() else { return };
    let sink = Executor::new(&lab.path("we.vmdk"), Vec::new());
    run(&sink, 1 << 20, &options(), &[]).unwrap();
    assert_eq!(sink.finish(), [1_114_112, 65_536]);
    assert_holds(&lab, &vec![0; 1 << 20]);
}

/// Whatever is read later is written: a device keeps its old bytes.
#[test]
fn old_bytes_of_a_device_are_not_read() {
    let Some(lab) = Lab::open() else { return };
    let bytes = disk_bytes(70 << 20, 9);
    let extents = [data(0, 100_000), data(69 << 20, 1000)];
    let mut expected = vec![0; bytes.len()];
    expected[..100_000].copy_from_slice(&bytes[..100_000]);
    expected[69 << 20..][..1000].copy_from_slice(&bytes[69 << 20..][..1000]);
    let sink = Executor::device(&lab.path("we.vmdk"), bytes, 72 << 20);
    run(&sink, 70 << 20, &options(), &extents).unwrap();
    sink.finish();
    let file = lab.bytes("we.vmdk");
    assert!(
        file[..4 * 65_536].iter().filter(|&&byte| byte == 0xa5).count() < 4096,
        "all up to the last grain"
    );
    assert_holds(&lab, &expected);
}

/// A sparse disk of 3 TiB; its places need more than 32 bits of sectors.
#[test]
fn a_large_sparse_disk_is_written() {
    let Some(lab) = Lab::open() else { return };
    let extents = [data(0, 512), Extent { start: (3 << 40) - 1000, ..data(0, 1000) }];
    let sink = Executor::new(&lab.path("we.vmdk"), vec![7; 1000]);
    let mut options = options();
    options.zeros = Zeros::Absent;
    run(&sink, 3 << 40, &options, &extents).unwrap();
    sink.finish();
    lab.io("we.vmdk", &["read -P 7 0 512", "read -P 0 1T 64k", "read -P 7 3298534882328 1000"]);
    lab.run("qemu-img create -f vmdk qemu.vmdk 3T");
    let only = |name: &str| {
        let mut info = lab.info(name);
        info.drain(..info.iter().position(|line| line.starts_with("    ],")).unwrap());
        info
    };
    assert_eq!(only("we.vmdk"), only("qemu.vmdk"));
}

/// `qemu-img` writes the name as it is, and reads what stands in it.
#[test]
fn odd_names_are_opened() {
    let Some(lab) = Lab::open() else { return };
    let bytes = disk_bytes(65_536, 2);
    let names: [&[u8]; 6] = [
        b"a b;c'd.vmdk",
        b"quote\".vmdk",
        b"parentFileNameHint=xetc.vmdk",
        b"line\nRW 1 FLAT \"x\" 0\nCID=1\xff",
        "зеркало.vmdk".as_bytes(),
        &[b'n'; 511],
    ];
    for name in names {
        let sink = Executor::new(&lab.path("we.vmdk"), bytes.clone());
        run(&sink, 65_536, &Options::new(1, name), &dense(&bytes, 65_536)).unwrap();
        sink.finish();
        assert!(!lab.run("qemu-img info we.vmdk").contains("backing"));
        assert_holds(&lab, &bytes);
    }
}

/// `qemu-img dd` leaves a file that it cannot open.
#[test]
fn what_cannot_be_is_refused_before_any_step() {
    let begin = |size: u64, subformat: Subformat, zeros: Zeros, name: &[u8]| {
        let path = tempfile::tempdir().unwrap();
        let sink = Executor::new(&path.path().join("out"), Vec::new());
        let mut options = Options::new(1, name);
        (options.subformat, options.zeros) = (subformat, zeros);
        let begun = VmdkPlan::begin_with(&sink, OUT, size, &options, |file| {
            Ok(sink.add(&path.path().join(file.to_string())))
        });
        let begun = begun.map(|_| ()).map_err(|error| error.kind);
        assert_eq!(begun.is_err(), sink.is_untouched());
        begun
    };
    let refused = |size, subformat, zeros| begin(size, subformat, zeros, b"x").unwrap_err();
    for (subformat, max_len) in [
        (Subformat::MonolithicSparse, 1 << 50),
        (Subformat::MonolithicFlat, 1 << 63),
        (Subformat::TwoGbMaxExtentSparse, 8 << 40),
        (Subformat::TwoGbMaxExtentFlat, 8 << 40),
        (Subformat::StreamOptimized, 64 << 40),
    ] {
        for zeros in [Zeros::Written, Zeros::Absent] {
            assert_eq!(refused(0, subformat, zeros), ErrorKind::UnsupportedFeature);
            for size in [max_len + 1, u64::MAX - 511, u64::MAX] {
                assert_eq!(refused(size, subformat, zeros), ErrorKind::TooLarge);
            }
            assert_eq!(begin(512, subformat, zeros, b""), Err(ErrorKind::UnsupportedFeature));
            assert_eq!(begin(512, subformat, zeros, &[b'n'; 512]), Err(ErrorKind::TooLarge));
        }
    }
    // The largest: its grains and tables take 2^32 sectors, or a little less than a grain fewer.
    let largest = 2_198_754_295_808;
    assert_eq!(begin(largest, Subformat::MonolithicSparse, Zeros::Written, b"x"), Ok(()));
    let larger = largest + 1;
    assert_eq!(refused(larger, Subformat::MonolithicSparse, Zeros::Written), ErrorKind::TooLarge);
    assert_eq!(begin(larger, Subformat::MonolithicSparse, Zeros::Absent, b"x"), Ok(()));
}

#[test]
fn a_disk_of_several_files_needs_them() {
    let path = tempfile::tempdir().unwrap();
    let sink = Executor::new(&path.path().join("out"), Vec::new());
    let mut options = options();
    for subformat in [Subformat::MonolithicFlat, Subformat::TwoGbMaxExtentSparse] {
        options.subformat = subformat;
        let refused = VmdkPlan::begin(&sink, OUT, 512, &options).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::UnsupportedFeature);
    }
    let cannot = Error::new(ErrorKind::Io, 7, "there is no such file");
    let refused = VmdkPlan::begin_with(&sink, OUT, 512, &options, |_| Err(cannot));
    assert_eq!(refused.unwrap_err(), cannot);
    assert!(sink.is_untouched());
}

/// Only a stream has compressed grains, and it has no others.
#[test]
fn grains_are_compressed_in_streams_only() {
    type Plan<'s> = VmdkPlan<'s, Executor>;
    type Act = fn(&mut Plan<'_>) -> Result<(), Error>;
    const SOURCE: Source = Source::Data { file: FileId(0), offset: 0 };
    let run = |subformat, act: Act| {
        let path = tempfile::tempdir().unwrap();
        let sink = Executor::new(&path.path().join("out"), vec![0; 200_000]);
        let mut options = options();
        options.subformat = subformat;
        let mut plan = VmdkPlan::begin(&sink, OUT, 100_000, &options).unwrap();
        assert_eq!(plan.packs_all(), subformat == Subformat::StreamOptimized);
        act(&mut plan).map_err(|error| error.kind)
    };
    let packed = run(Subformat::MonolithicSparse, |plan| plan.packed(0, SOURCE, 100));
    assert_eq!(packed, Err(ErrorKind::UnsupportedFeature));

    let stream = |act: Act| run(Subformat::StreamOptimized, act);
    let plain: [Act; 4] = [
        |plan| plan.extent(data(0, 65_536)),
        |plan| plan.extent(data(0, 100)),
        |plan| plan.extent(zero(0, 100)),
        |plan| plan.extent(zero(100, 65_436)),
    ];
    for act in plain {
        assert_eq!(stream(act), Err(ErrorKind::UnsupportedFeature));
    }
    assert_eq!(stream(|plan| plan.packed(512, SOURCE, 10)), Err(ErrorKind::Corrupt));
    assert_eq!(stream(|plan| plan.packed(131_072, SOURCE, 10)), Err(ErrorKind::TooLarge));
    assert_eq!(stream(|plan| plan.packed(0, SOURCE, 0)), Err(ErrorKind::TooLarge));
    // The longest that readers take, and one byte more.
    assert_eq!(stream(|plan| plan.packed(65_536, SOURCE, 131_060)), Ok(()));
    assert_eq!(stream(|plan| plan.packed(65_536, SOURCE, 131_061)), Err(ErrorKind::TooLarge));
    let twice = stream(|plan| plan.packed(0, SOURCE, 10).and_then(|()| plan.packed(0, SOURCE, 10)));
    assert_eq!(twice, Err(ErrorKind::Corrupt));
}

#[test]
fn extents_that_break_the_order_are_refused() {
    let path = tempfile::tempdir().unwrap();
    let kind = |name: &str, extents: &[Extent]| {
        let sink = Executor::new(&path.path().join(name), vec![1; 1 << 20]);
        run(&sink, 1 << 20, &options(), extents).unwrap_err().kind
    };
    assert_eq!(kind("a", &[data(70_000, 10), data(0, 10)]), ErrorKind::Corrupt);
    assert_eq!(kind("b", &[data(100, 10), data(50, 10)]), ErrorKind::Corrupt);
    assert_eq!(kind("c", &[data((1 << 20) - 10, 11)]), ErrorKind::TooLarge);
    assert_eq!(kind("d", &[zero(u64::MAX - 1, 2)]), ErrorKind::TooLarge);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let path = tempfile::tempdir().unwrap();
    let bytes = disk_bytes(3 << 20, 4);
    let write = |name: &str| {
        let path = path.path().join(name);
        run(&Executor::new(&path, bytes.clone()), 3 << 20, &options(), &dense(&bytes, 12_345)).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(write("a") == write("b"));
}
