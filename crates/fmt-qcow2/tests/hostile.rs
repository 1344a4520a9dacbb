//! Images that want to break the reader: whatever the bytes, an answer comes soon, and every extent lies in the file.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod common;

use common::image::{Image, snapshot};
use common::sink::{OUTPUT, Sink};
use common::{IMAGE, Lab, Random, mutate};
use fmt_core::{DiskMap, DiskPlan, Extent, FileId, PackingPlan, Source};
use fmt_qcow2::raw::{COMPRESSED, COPIED, RawHeader};
use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan};
use zerocopy::IntoBytes;

/// Walks over the disk's beginning, and looks at places all over it.
fn look_everywhere(bytes: &[u8]) -> bool {
    const DATA_LEN: u64 = 10_000;
    let Ok(mut map) = Qcow2Map::new(bytes, IMAGE) else { return false };
    map.set_data_file(common::DATA, DATA_LEN);
    let size = map.virtual_size();
    let mut look = |range| common::walk_map(&mut map, bytes.len() as u64, DATA_LEN, range).is_ok();
    let mut sound = look(0..100_000);
    let mut random = Random(size);
    for _ in 0..4 {
        let at = random.next() % size.max(1);
        sound &= look(at..at.saturating_add(1));
    }
    sound && look(size.saturating_sub(1)..size)
}

/// Small images with everything in them.
fn images() -> Vec<Vec<u8>> {
    let everything = |image: &mut Image| {
        let size = 1 << image.header.cluster_bits.get();
        image.extension(0xe279_2aca, b"raw");
        image.extension(0x1234_5678, b"unknown");
        image.extension(0, b"");
        image.backing(300, b"backing.raw");
        image.snapshots(2, [snapshot(1, 5, 16), snapshot(2, 3, 0)].concat());
        image.l2.extend([0, 1, (5 * size + COPIED) | 1, COMPRESSED + 5 * size, 5 * size, 5 * size]);
    };
    let version_2 = |image: &mut Image| {
        image.header.version = 2.into();
        image.l2.retain(|entry| entry & 1 == 0);
    };
    let extended = |image: &mut Image| {
        image.header.incompatible = 16.into();
        image.l2 = vec![5 << 14, 0xffff_ffff, 5 << 14, 0x0f0f_0000_0000_ff00, 0, 0xff << 32, COMPRESSED, 0];
    };
    let data_file = |image: &mut Image| {
        image.header.incompatible = 4.into();
        image.extension(0x4441_5441, b"data.raw");
        image.l2 = vec![COPIED, 4096 + COPIED, 1];
    };
    let mut images = vec![
        Image::new(9).with(everything).bytes(),
        Image::new(12).with(everything).bytes(),
        Image::new(9).with(everything).with(version_2).bytes(),
        Image::new(14).with(extended).bytes(),
        Image::new(12).with(data_file).bytes(),
        written(),
    ];
    if let Some(lab) = Lab::open() {
        lab.qemu_img("create -q -f qcow2 -o cluster_size=512 image 96k");
        lab.qemu_io("image", &["write -P 1 0 3000", "write -c -P 2 4096 512", "write -z 8192 2048"]);
        lab.qemu_img("snapshot -c one image");
        images.push(lab.read("image"));
    }
    images
}

/// An image that the plan writes.
fn written() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let sink = Sink::create(&path, &[7; 512], false);
    let options = Options::default().cluster_size(512);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, 100_000, &options).unwrap();
    for start in [0, 5000, 70_000] {
        let source = Source::Data { file: FileId(1), offset: 0 };
        plan.extent(Extent { start, len: 512, source }).unwrap();
        // The reader does not look at what is compressed.
        plan.packed(start.next_multiple_of(512) + 2048, source, 300).unwrap();
    }
    plan.finish().unwrap();
    sink.close();
    std::fs::read(path).unwrap()
}

#[test]
fn images_are_sound_before_they_are_broken() {
    for image in images() {
        assert!(look_everywhere(&image));
    }
}

#[test]
fn truncation_at_every_boundary() {
    for image in images() {
        let boundaries =
            (0..image.len()).step_by(512).flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 8]);
        for len in (0..600).chain(boundaries) {
            look_everywhere(&image[..len.min(image.len())]);
        }
    }
}

#[test]
fn extreme_values_in_every_header_field() {
    let fields = [
        (4, 4),
        (8, 8),
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 4),
        (60, 4),
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (96, 4),
        (100, 4),
        (104, 1),
    ];
    let extremes = (0..64).flat_map(|bit| [1_u64 << bit, u64::MAX << bit]);
    for image in images() {
        for (at, len) in fields {
            for value in extremes.clone() {
                let mut image = image.clone();
                image[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
                look_everywhere(&image);
            }
        }
    }
}

/// The largest disks that a header can claim, with tables that point at themselves and at each other.
#[test]
fn tables_that_point_into_themselves() {
    for bits in [9, 16, 21] {
        let size = 1_u64 << bits;
        for target in [0, 3 * size, 4 * size, 5 * size, 1 << 55] {
            let image = Image::new(bits).with(|image| {
                image.l1 = vec![target | COPIED; 64];
                image.l2 = vec![target | COPIED, COMPRESSED + target, target | 1];
                image.header.l1_entries = (1 << 22).into();
                image.header.size = ((size * size / 8) << 22).into();
            });
            look_everywhere(&image.bytes());
        }
    }
}

/// An exabyte takes no more memory or time than a megabyte: the window of 32 KiB is looked through once for each
/// 4096 L1 entries.
#[test]
fn an_exabyte_is_walked_over_in_windows() {
    let image = Image::new(21).with(|image| {
        image.header.l1_offset = (6 << 21).into();
        image.header.l1_entries = (1 << 22).into();
        image.header.size = (1_u64 << 61).into();
        image.file_len = Some((6 << 21) + (32 << 20));
        image.patches.push(((6 << 21) + (32 << 20) - 1, vec![0]));
    });
    let extents = common::walk(&image.bytes(), None, 0..u64::MAX).unwrap();
    assert!(extents.len() <= 1025, "{}", extents.len());
    assert!(extents.iter().all(|extent| extent.source == Source::Unallocated));
}

#[test]
fn places_beyond_the_disk_are_errors() {
    let bytes = Image::new(16).bytes();
    let mut map = Qcow2Map::new(bytes.as_slice(), IMAGE).unwrap();
    for at in [map.virtual_size(), u64::MAX] {
        assert!(map.extent_at(at).is_err());
    }
}

/// Thousands of changed bytes, the same in every run.
#[test]
fn mutations() {
    let mut random = Random(1);
    for image in images() {
        // Most of what matters is in the header and the tables.
        let tables: Vec<usize> = (0..image.len()).filter(|&at| at < 400 || image[at] != 0).collect();
        for _ in 0..600 {
            let mut image = image.clone();
            mutate(&mut image, &tables, &mut random);
            look_everywhere(&image);
        }
    }
}

#[test]
fn mutated_headers() {
    let header = Image::new(9).header;
    let mut random = Random(2);
    for _ in 0..20_000 {
        let mut bytes = header.as_bytes().to_vec();
        for _ in 0..=random.below(6) {
            let at = 4 + random.below(size_of::<RawHeader>() - 4);
            bytes[at] = random.next().to_le_bytes()[0];
        }
        let _ = fmt_qcow2::Header::read(bytes.as_slice());
    }
}
