//! Images that no tool makes: each is read, or refused with the right words at the right place, and where qemu-img is
//! there it must say the same.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod common;

use common::Lab;
use common::image::{Image, snapshot};
use fmt_core::ErrorKind::{self, Corrupt, TooLarge, UnsupportedFeature, UnsupportedFormat};
use fmt_core::Source;
use fmt_qcow2::raw::{COMPRESSED, COPIED};

const K: u64 = 65536;
/// Where the L1 and the L2 table of a handmade image are.
const L1: u64 = 3 * K;
const L2: u64 = 4 * K;

const BACKING_FORMAT: u32 = 0xe279_2aca;
const BITMAPS: u32 = 0x2385_2875;
const DATA_FILE: u32 = 0x4441_5441;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// It is read, here and by qemu-img.
    Read,
    /// It is refused, here with that kind at that byte, and by qemu-img.
    Refused(ErrorKind, u64),
    /// It is refused here only.
    Stricter(ErrorKind, u64),
    /// It is refused by qemu-img only.
    Laxer,
}
use Verdict::{Laxer, Read, Refused, Stricter};

/// What the case is, what becomes of it, and what makes it.
type Case = (&'static str, Verdict, fn(&mut Image));

/// Checks images of 64 KiB clusters, each of them the usual one with one change.
#[track_caller]
fn check(cases: &[Case]) {
    let lab = Lab::open();
    for &(name, verdict, change) in cases {
        check_one(lab.as_ref(), name, verdict, &Image::new(16).with(change).bytes());
    }
}

#[track_caller]
fn check_one(lab: Option<&Lab>, name: &str, verdict: Verdict, image: &[u8]) {
    let data = vec![b'E'; 2 * 65536];
    let backing = vec![b'B'; 3 * 65536 + 512];
    let header = fmt_qcow2::Header::read(image);
    let has_data_file = header.as_ref().is_ok_and(|header| header.data_file().is_some());
    let has_backing = header.as_ref().is_ok_and(|header| header.backing_file().is_some());
    let found = common::read_disk(image, has_data_file.then_some(&data), has_backing.then_some(&backing));
    match (&found, verdict) {
        (Ok(_), Read | Laxer) => {}
        (Err(error), Refused(kind, at) | Stricter(kind, at)) => {
            assert_eq!((error.kind, error.at), (kind, at), "{name}: {error}");
        }
        _ => panic!("{name}: {verdict:?}, but {:?}", found.map(|disk| disk.len())),
    }
    let Some(lab) = lab else { return };
    lab.write("image", image);
    lab.write("data.raw", &data);
    lab.write("backing.raw", &backing);
    let expected = lab.oracle("image");
    match (found, verdict, expected) {
        (Ok(found), Read, Ok(expected)) => assert!(found == expected, "{name}: other bytes"),
        (Err(_), Refused(..), Err(_)) | (Err(_), Stricter(..), Ok(_)) | (Ok(_), Laxer, Err(_)) => {}
        (_, _, expected) => {
            panic!("{name}: {verdict:?}, but qemu-img: {:?}", expected.map(|disk| disk.len()))
        }
    }
}

/// A deflate stream in a cluster of its own, and a descriptor that says where.
fn compressed(image: &mut Image, at: u64, more_sectors: u64, disk: &[u8]) {
    let packed = miniz_oxide::deflate::compress_to_vec(disk, 9);
    image.l2 = vec![COMPRESSED + (more_sectors << 54) + at];
    image.file_len = Some(at + packed.len() as u64);
    image.patches.push((at, packed));
}

fn data_file(image: &mut Image, l2: &[u64]) {
    image.header.incompatible = 4.into();
    image.extension(DATA_FILE, b"data.raw");
    image.l2 = l2.to_vec();
}

fn bitmaps(image: &mut Image, autoclear: u64, count: u32, reserved: u32, len: u64, offset: u64) {
    image.header.autoclear = autoclear.into();
    let mut body = Vec::new();
    body.extend(count.to_be_bytes());
    body.extend(reserved.to_be_bytes());
    body.extend(len.to_be_bytes());
    body.extend(offset.to_be_bytes());
    image.extension(BITMAPS, &body);
}

#[test]
fn versions_and_features() {
    check(&[
        ("as it is", Read, |_| {}),
        ("version 1", Refused(UnsupportedFormat, 4), |i| i.header.version = 1.into()),
        ("version 4", Refused(UnsupportedFeature, 4), |i| i.header.version = 4.into()),
        ("version 0", Refused(UnsupportedFeature, 4), |i| i.header.version = 0.into()),
        ("dirty", Read, |i| i.header.incompatible = 1.into()),
        // Read-only, qemu-img reads what it can.
        ("corrupt", Read, |i| i.header.incompatible = 2.into()),
        ("bit 5", Refused(UnsupportedFeature, 72), |i| i.header.incompatible = 32.into()),
        ("bit 63", Refused(UnsupportedFeature, 72), |i| i.header.incompatible = (1 << 63).into()),
        ("lazy refcounts", Read, |i| i.header.compatible = 1.into()),
        ("unknown compatible", Read, |i| i.header.compatible = u64::MAX.into()),
        ("unknown autoclear", Read, |i| i.header.autoclear = (1 << 40).into()),
        ("AES", Refused(UnsupportedFeature, 32), |i| i.header.crypt_method = 1.into()),
        ("LUKS", Refused(UnsupportedFeature, 32), |i| i.header.crypt_method = 2.into()),
        ("encryption 3", Refused(UnsupportedFeature, 32), |i| i.header.crypt_method = 3.into()),
        ("zstd unflagged", Refused(Corrupt, 104), |i| i.header.compression = 1),
        ("deflate flagged", Refused(Corrupt, 104), |i| i.header.incompatible = 8.into()),
        ("zstd", Read, |i| (i.header.compression, i.header.incompatible) = (1, 8.into())),
        ("compression 2", Refused(UnsupportedFeature, 104), |i| {
            (i.header.compression, i.header.incompatible) = (2, 8.into());
        }),
    ]);
}

#[test]
fn v2_headers_without_feature_bits() {
    check(&[
        ("version 2", Read, |i| i.header.version = 2.into()),
        ("what is no field there", Read, |i| {
            i.header.version = 2.into();
            i.patches.push((72, vec![0xff, 0, 0, 0, 0, 0, 0, 0]));
        }),
        ("zero cluster", Refused(Corrupt, L2), |i| (i.header.version, i.l2) = (2.into(), vec![1])),
        ("zero cluster with data", Refused(Corrupt, L2), |i| {
            (i.header.version, i.l2) = (2.into(), vec![5 * K + COPIED + 1]);
        }),
        ("extension", Refused(TooLarge, 80), |i| {
            i.header.version = 2.into();
            i.extension(BACKING_FORMAT, &[b'r'; 16]);
        }),
        ("backing file", Read, |i| {
            (i.header.version, i.l2) = (2.into(), vec![]);
            i.extension(BACKING_FORMAT, b"raw");
            i.extension(0, b"");
            i.backing(600, b"backing.raw");
        }),
    ]);
}

#[test]
fn sizes() {
    check(&[
        ("0", Read, |i| i.header.size = 0.into()),
        ("less than a sector", Read, |i| i.header.size = 511.into()),
        ("no whole sectors", Read, |i| i.header.size = 1000.into()),
        ("into the second cluster", Read, |i| {
            (i.header.size, i.l2) = ((K + 1023).into(), vec![5 * K + COPIED; 2]);
        }),
        ("more than the L1 table has", Refused(Corrupt, 36), |i| i.header.size = (1 << 30).into()),
        ("2^63", Refused(Corrupt, 36), |i| i.header.size = (1 << 63).into()),
        ("2^64 - 512", Refused(Corrupt, 36), |i| i.header.size = (u64::MAX - 511).into()),
        ("2^64 - 1", Refused(Corrupt, 36), |i| i.header.size = u64::MAX.into()),
        ("clusters of 256", Refused(Corrupt, 20), |i| i.header.cluster_bits = 8.into()),
        ("clusters of 4 MiB", Refused(Corrupt, 20), |i| i.header.cluster_bits = 22.into()),
        ("clusters of 2^32 bits", Refused(Corrupt, 20), |i| i.header.cluster_bits = u32::MAX.into()),
        ("header of 96", Refused(Corrupt, 100), |i| i.header.header_len = 96.into()),
        ("header of 104", Read, |i| i.header.header_len = 104.into()),
        ("header of 105", Stricter(Corrupt, 100), |i| i.header.header_len = 105.into()),
        ("header of 120", Read, |i| i.header.header_len = 120.into()),
        ("header of a cluster", Read, |i| i.header.header_len = 65536.into()),
        ("header of more", Refused(Corrupt, 100), |i| i.header.header_len = 65544.into()),
    ]);
}

#[test]
fn tables_have_bounds() {
    check(&[
        ("L1 of 32 MiB", Read, |i| i.header.l1_entries = (1 << 22).into()),
        ("L1 of more", Refused(TooLarge, 36), |i| i.header.l1_entries = ((1 << 22) + 1).into()),
        ("L1 of 2^32 entries", Refused(TooLarge, 36), |i| i.header.l1_entries = u32::MAX.into()),
        ("no L1, no disk", Read, |i| (i.header.l1_entries, i.header.size) = (0.into(), 0.into())),
        ("no L1", Refused(Corrupt, 36), |i| i.header.l1_entries = 0.into()),
        ("L1 unaligned", Refused(Corrupt, 40), |i| i.header.l1_offset = (L1 + 512).into()),
        ("L1 at 0: the header is one", Read, |i| (i.header.l1_offset, i.l1) = (0.into(), vec![])),
        ("L1 at 2^62", Read, |i| i.header.l1_offset = (1 << 62).into()),
        ("L1 at 2^63", Refused(Corrupt, 40), |i| i.header.l1_offset = (1 << 63).into()),
        ("L1 up to 2^63", Refused(Corrupt, 40), |i| {
            (i.header.l1_offset, i.header.l1_entries) = (((1 << 63) - K).into(), 8193.into());
        }),
        ("no refcount table", Refused(Corrupt, 56), |i| i.header.refcount_table_clusters = 0.into()),
        ("refcount table of 8 MiB", Read, |i| i.header.refcount_table_clusters = 128.into()),
        ("refcount table of more", Refused(TooLarge, 56), |i| i.header.refcount_table_clusters = 129.into()),
        ("refcount table unaligned", Refused(Corrupt, 48), |i| {
            i.header.refcount_table_offset = (K + 512).into();
        }),
        ("refcount table nowhere", Read, |i| i.header.refcount_table_offset = (300 * K).into()),
        ("refcounts of 64 bits", Read, |i| i.header.refcount_order = 6.into()),
        ("refcounts of 128 bits", Refused(Corrupt, 96), |i| i.header.refcount_order = 7.into()),
    ]);
}

#[test]
fn l1_entries() {
    check(&[
        ("reserved bits", Read, |i| i.l1[0] |= 0x7f00_0000_0000_01ff),
        ("not copied", Read, |i| i.l1[0] &= !COPIED),
        ("unaligned", Refused(Corrupt, L1), |i| i.l1[0] += 512),
        ("none", Read, |i| i.l1 = vec![]),
        ("the L1 table is its own L2 table", Read, |i| i.l1 = vec![L1]),
        ("nowhere", Read, |i| i.l1 = vec![400 * K]),
        ("as far as can be", Read, |i| i.l1 = vec![0x00ff_ffff_ffff_0000]),
    ]);
}

#[test]
fn l2_entries() {
    check(&[
        ("reserved bits", Read, |i| i.l2[0] |= 0x3f00_0000_0000_01fe),
        ("not copied", Read, |i| i.l2[0] &= !COPIED),
        ("unaligned", Refused(Corrupt, L2), |i| i.l2[0] += 512),
        ("the second is unaligned", Refused(Corrupt, L2 + 8), |i| i.l2.push(5 * K + 512)),
        ("unaligned zero", Refused(Corrupt, L2), |i| i.l2 = vec![5 * K + 512 + 1]),
        ("only copied", Read, |i| i.l2 = vec![COPIED]),
        ("data is metadata", Read, |i| i.l2 = vec![L2, L1, K, 2 * K, L2]),
        ("data nowhere", Read, |i| i.l2 = vec![500 * K + COPIED, 5 * K + COPIED]),
        ("data as far as can be", Read, |i| i.l2 = vec![0x00ff_ffff_ffff_0000]),
    ]);
}

#[test]
fn zero_clusters_with_and_without_an_allocated_offset() {
    check(&[
        ("without", Read, |i| i.l2 = vec![1, 5 * K + COPIED, 1]),
        ("with", Read, |i| i.l2 = vec![5 * K + COPIED + 1, 5 * K + COPIED]),
        ("with one beyond the file", Read, |i| i.l2 = vec![500 * K + 1]),
        ("over a backing file", Read, |i| {
            i.l2 = vec![0, 1, 5 * K + COPIED + 1];
            i.extension(BACKING_FORMAT, b"raw");
            i.extension(0, b"");
            i.backing(600, b"backing.raw");
        }),
    ]);
}

#[test]
fn files_that_end_early() {
    check(&[
        ("nothing", Refused(ErrorKind::NotThisFormat, 0), |i| i.file_len = Some(0)),
        ("magic", Refused(UnsupportedFeature, 4), |i| i.file_len = Some(4)),
        ("in the header", Refused(Corrupt, 100), |i| i.file_len = Some(71)),
        ("after the header", Read, |i| i.file_len = Some(104)),
        ("before the L1 table", Read, |i| i.file_len = Some(3 * K)),
        ("in an L1 entry", Read, |i| i.file_len = Some(3 * K + 4)),
        ("before the L2 table", Read, |i| i.file_len = Some(4 * K)),
        ("in an L2 entry", Read, |i| i.file_len = Some(4 * K + 4)),
        ("after an L2 entry", Read, |i| i.file_len = Some(4 * K + 8)),
        ("before the data", Read, |i| i.file_len = Some(5 * K)),
        ("in the data", Read, |i| i.file_len = Some(5 * K + 1000)),
        ("in the first of two clusters", Read, |i| {
            (i.l2, i.file_len) = (vec![5 * K, 6 * K], Some(5 * K + 1000));
        }),
    ]);
}

#[test]
fn compressed_clusters() {
    check(&[
        ("aligned", Read, |i| compressed(i, 5 * K, 0, &[b'c'; 65536])),
        ("in a sector", Read, |i| compressed(i, 5 * K + 100, 0, &[b'c'; 65536])),
        ("copied", Read, |i| {
            compressed(i, 5 * K + 1, 0, &[b'c'; 65536]);
            i.l2[0] |= COPIED;
        }),
        ("sectors beyond the end of the file", Read, |i| compressed(i, 5 * K + 100, 255, &[b'c'; 65536])),
        ("crossing a cluster", Read, |i| {
            compressed(i, 5 * K - 700, 129, &common::noise(65536, 1));
            i.patches.swap_remove(0);
            compressed(i, 6 * K - 700, 129, &common::noise(65536, 1));
        }),
        ("more than a cluster", Read, |i| compressed(i, 5 * K, 0, &[b'c'; 65536 + 1000])),
        ("less than a cluster", Refused(Corrupt, 5 * K), |i| compressed(i, 5 * K, 0, &[b'c'; 65535])),
        ("beyond the end of the file", Refused(Corrupt, L2), |i| i.l2 = vec![COMPRESSED + 500 * K]),
        ("not deflate", Refused(Corrupt, 5 * K), |i| i.l2 = vec![COMPRESSED + 5 * K]),
        ("not the first", Read, |i| {
            compressed(i, 6 * K, 0, &[b'c'; 65536]);
            i.l2.splice(0..0, [5 * K, 0, 1]);
            i.l2.push(5 * K);
        }),
    ]);
}

/// Entries are pairs: the descriptor, then zero bits and data bits.
#[test]
fn extended_l2_subclusters() {
    fn entries(image: &mut Image, entries: &[u64]) {
        image.header.incompatible = 16.into();
        image.l2 = entries.to_vec();
    }
    const DATA: u64 = 5 * K + COPIED;
    check(&[
        ("all data", Read, |i| entries(i, &[DATA, 0xffff_ffff])),
        ("one data, one zero", Read, |i| entries(i, &[DATA, 1 | 2 << 32])),
        ("none", Read, |i| entries(i, &[DATA, 0])),
        ("every second", Read, |i| entries(i, &[DATA, 0x5555_5555 | 0xaaaa_aaaa << 32])),
        ("no cluster, zeros", Read, |i| entries(i, &[0, 0xffff_ffff << 32, DATA, 0xffff_0000])),
        ("both", Refused(Corrupt, L2), |i| entries(i, &[DATA, 1 << 5 | 1 << 37 | 1])),
        ("data without a cluster", Refused(Corrupt, L2), |i| entries(i, &[0, 1 << 5])),
        ("the second is wrong", Refused(Corrupt, L2 + 16), |i| entries(i, &[DATA, 1, 0, 1])),
        ("the zero flag", Read, |i| entries(i, &[DATA | 1, 0xffff_ffff])),
        ("unaligned", Refused(Corrupt, L2), |i| entries(i, &[DATA + 512, 0])),
        ("over a backing file", Read, |i| {
            entries(i, &[DATA, 0x0f0f_0f0f | 0x00f0_f000 << 32, 0, 0xf << 32]);
            i.extension(BACKING_FORMAT, b"raw");
            i.extension(0, b"");
            i.backing(600, b"backing.raw");
        }),
        ("compressed, and bits", Read, |i| {
            compressed(i, 6 * K, 0, &[b'c'; 65536]);
            let entry = i.l2[0];
            entries(i, &[entry, u64::MAX]);
        }),
        ("data beyond the end of the file", Read, |i| {
            entries(i, &[DATA, 0x5555_5555 | 0xaaaa_aaaa << 32]);
            i.file_len = Some(5 * K + 5000);
        }),
        ("file ends between the halves of an entry", Read, |i| {
            entries(i, &[DATA, 0xffff_ffff]);
            i.file_len = Some(4 * K + 8);
        }),
    ]);
    let lab = Lab::open();
    let small = |bits, l2: &[u64]| Image::new(bits).with(|image| entries(image, l2)).bytes();
    check_one(lab.as_ref(), "8 KiB", Refused(Corrupt, 20), &small(13, &[]));
    check_one(lab.as_ref(), "16 KiB", Read, &small(14, &[5 << 14 | COPIED, 0xf000_000f]));
}

#[test]
fn external_data_files() {
    check(&[
        ("where the disk has it", Read, |i| data_file(i, &[COPIED, K + COPIED])),
        ("raw", Read, |i| {
            data_file(i, &[COPIED, K + COPIED]);
            i.header.autoclear = 2.into();
        }),
        ("offset 0, not copied", Read, |i| data_file(i, &[0, K])),
        ("elsewhere", Refused(Corrupt, L2), |i| data_file(i, &[K + COPIED])),
        ("only copied, not the first", Refused(Corrupt, L2 + 8), |i| data_file(i, &[0, COPIED])),
        ("unaligned", Refused(Corrupt, L2), |i| data_file(i, &[512 | COPIED])),
        ("beyond its end", Read, |i| data_file(i, &[0, K + COPIED, 2 * K + COPIED, 3 * K + COPIED])),
        ("zero", Read, |i| data_file(i, &[1, K + 1])),
        ("zero elsewhere", Refused(Corrupt, L2), |i| data_file(i, &[3 * K + 1])),
        ("compressed", Refused(Corrupt, L2), |i| data_file(i, &[COMPRESSED + 5 * K])),
        ("subclusters", Read, |i| {
            data_file(i, &[COPIED, 3]);
            i.header.incompatible = 20.into();
        }),
        ("subclusters at offset 0, not copied", Refused(Corrupt, L2), |i| {
            data_file(i, &[0, 3]);
            i.header.incompatible = 20.into();
        }),
        ("no name", Refused(Corrupt, 72), |i| i.header.incompatible = 4.into()),
        ("empty name", Refused(Corrupt, 72), |i| {
            i.header.incompatible = 4.into();
            i.extension(DATA_FILE, b"");
        }),
        ("named twice", Read, |i| {
            i.extension(DATA_FILE, b"nowhere");
            data_file(i, &[COPIED]);
        }),
        ("long name", Refused(TooLarge, 120), |i| {
            i.header.incompatible = 4.into();
            i.extension(DATA_FILE, &[b'x'; 5000]);
        }),
        ("named without the feature", Read, |i| i.extension(DATA_FILE, b"nowhere")),
        ("raw without the feature", Refused(Corrupt, 88), |i| i.header.autoclear = 2.into()),
        ("and a backing file", Read, |i| {
            data_file(i, &[COPIED]);
            i.extension(BACKING_FORMAT, b"raw");
            i.extension(0, b"");
            i.backing(600, b"backing.raw");
        }),
    ]);
}

#[test]
fn header_extensions_of_unknown_type() {
    check(&[
        ("unknown", Read, |i| i.extension(0x1234_5678, b"abc")),
        ("thousands", Read, |i| (0..8000).for_each(|_| i.extension(7, b""))),
        ("too long", Refused(Corrupt, 112), |i| i.extensions = vec![9, 9, 9, 9, 0, 1, 0, 0]),
        ("much too long", Refused(Corrupt, 112), |i| i.extensions = vec![9, 9, 9, 9, 255, 255, 255, 255]),
        ("to the end", Read, |i| i.extensions = vec![9, 9, 9, 9, 0, 0, 255, 136]),
        ("to the end but for padding", Read, |i| i.extensions = vec![9, 9, 9, 9, 0, 0, 255, 133]),
        ("to the end and a byte", Refused(Corrupt, 112), |i| i.extensions = vec![9, 9, 9, 9, 0, 0, 255, 137]),
        ("an end with a length", Read, |i| i.extensions = vec![0, 0, 0, 0, 0, 0, 0, 100]),
        ("an end that is too long", Refused(Corrupt, 112), |i| i.extensions = vec![0, 0, 0, 0, 255, 0, 0, 0]),
        ("feature names cut short", Read, |i| i.extension(0x6803_f857, b"abc")),
        ("LUKS without encryption", Refused(Corrupt, 112), |i| i.extension(0x0537_be77, &[0; 16])),
        ("format of 15", Read, |i| i.extension(BACKING_FORMAT, &[b'r'; 15])),
        ("format of 16", Refused(TooLarge, 120), |i| i.extension(BACKING_FORMAT, &[b'r'; 16])),
    ]);
}

#[test]
fn bitmaps_that_cannot_be() {
    check(&[
        ("wrong length", Refused(Corrupt, 120), |i| i.extension(BITMAPS, &[0; 16])),
        ("out of date", Read, |i| bitmaps(i, 0, 0, 1, 1 << 60, 1)),
        ("none", Refused(Corrupt, 120), |i| bitmaps(i, 1, 0, 0, 0, 0)),
        ("reserved", Refused(Corrupt, 120), |i| bitmaps(i, 1, 1, 1, 24, 5 * K)),
        ("unaligned", Refused(Corrupt, 120), |i| bitmaps(i, 1, 1, 0, 24, 5 * K + 8)),
        ("too many", Refused(Corrupt, 120), |i| bitmaps(i, 1, 65536, 0, 24, 5 * K)),
        ("too long", Refused(TooLarge, 120), |i| bitmaps(i, 1, 1, 0, 1 << 40, 5 * K)),
        // Bitmaps are not read here, so that broken ones are no reason to refuse the disk.
        ("broken directory", Laxer, |i| bitmaps(i, 1, 1, 0, 24, 5 * K)),
        ("no bitmaps", Read, |i| i.header.autoclear = 1.into()),
    ]);
}

#[test]
fn backing_file_names() {
    fn backing(image: &mut Image, offset: u64, name: &[u8]) {
        image.l2 = vec![0, 5 * K + COPIED];
        image.extension(BACKING_FORMAT, b"raw");
        image.extension(0, b"");
        image.backing(offset, name);
    }
    check(&[
        // The backing file is shorter than the overlay, and ends within a cluster.
        ("a name", Read, |i| backing(i, 600, b"backing.raw")),
        ("an empty name", Read, |i| backing(i, 600, b"")),
        ("1023 bytes", Read, |i| backing(i, 600, &[b"./".repeat(506), b"backing.raw".to_vec()].concat())),
        ("1024 bytes", Refused(TooLarge, 600), |i| {
            backing(i, 600, &[b"./".repeat(506), b"/backing.raw".to_vec()].concat());
        }),
        ("after the first cluster", Refused(Corrupt, 8), |i| backing(i, 65537, b"")),
        ("at the end of the first cluster", Read, |i| backing(i, 65536, b"")),
        ("across the end of the first cluster", Refused(TooLarge, 65530), |i| {
            backing(i, 65530, b"backing.raw");
        }),
        ("up to the end of the first cluster", Read, |i| backing(i, 65536 - 11, b"backing.raw")),
        ("with a zero byte", Read, |i| backing(i, 600, b"backing.raw\0\x1b[2J")),
        ("in the header", Read, |i| backing(i, 8, b"")),
        ("no offset, but a length", Read, |i| i.header.backing_file_len = 5.into()),
        ("in the middle of an extension", Refused(Corrupt, 112), |i| {
            backing(i, 116, b"");
        }),
        ("the last of two formats counts", Read, |i| {
            i.extension(BACKING_FORMAT, b"qcow2");
            backing(i, 600, b"backing.raw");
        }),
    ]);
}

#[test]
fn snapshot_tables() {
    check(&[
        ("one", Read, |i| i.snapshots(1, snapshot(1, 1, 16))),
        ("no extra data, which means 32-bit sizes", Read, |i| i.snapshots(2, snapshot(3, 9, 0).repeat(2))),
        ("extra data of 1024", Read, |i| i.snapshots(1, snapshot(1, 1, 1024))),
        ("extra data of 1025", Refused(TooLarge, 6 * K), |i| i.snapshots(1, snapshot(1, 1, 1025))),
        ("in the second", Refused(TooLarge, 6 * K + 64), |i| {
            i.snapshots(2, [snapshot(1, 1, 16), snapshot(0, 0, u32::MAX >> 16)].concat());
        }),
        ("nowhere", Read, |i| {
            (i.header.snapshot_count, i.header.snapshots_offset) = (65536.into(), (600 * K).into());
        }),
        ("too many", Refused(TooLarge, 60), |i| {
            (i.header.snapshot_count, i.header.snapshots_offset) = (65537.into(), (600 * K).into());
        }),
        ("unaligned", Refused(Corrupt, 64), |i| i.header.snapshots_offset = (6 * K + 8).into()),
        ("at 2^63", Refused(Corrupt, 64), |i| i.header.snapshots_offset = (1 << 63).into()),
        ("64 MiB less a little", Read, |i| i.snapshots(507, snapshot(65535, 65535, 1024).repeat(507))),
        ("more", Refused(TooLarge, 6 * K), |i| i.snapshots(508, snapshot(65535, 65535, 1024).repeat(508))),
    ]);
}

/// Clusters that follow each other, on the disk and in the file, are one extent; so are zeros, and clusters that
/// are not there.
#[test]
fn neighbours_are_one_extent() {
    let image = Image::new(9).with(|image| {
        image.l2 = vec![5 << 9, 6 << 9, 7 << 9, 9 << 9, 1, (5 << 9) + 1, 1, 0, 0];
        image.header.size = (9_u64 << 9).into();
        image.patches.push((10 << 9, vec![0]));
    });
    let extents = common::walk(&image.bytes(), None, 0..u64::MAX).unwrap();
    let data = |offset| Source::Data { file: common::IMAGE, offset };
    let found: Vec<_> =
        extents.iter().map(|extent| (extent.start >> 9, extent.len >> 9, extent.source)).collect();
    let expected =
        [(0, 3, data(5 << 9)), (3, 1, data(9 << 9)), (4, 3, Source::Zero), (7, 2, Source::Unallocated)];
    assert_eq!(found, expected);
}
