//! qcow2: `docs/interop/qcow2.txt` in QEMU's documentation.

use super::super::field::{Field, Format, Specimen, Structure, entries, flagged_place, number, place};
use super::super::image::{Endian, Image};

const V2_HEADER_LEN: u64 = 72;

/// What an entry of an L1 or an L2 table has beside a place.
const ENTRY_FLAGS: u64 = 0xff00_0000_0000_01ff;
const COMPRESSED: u64 = 1 << 62;

const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

const BITMAPS: u64 = 0x2385_2875;

pub(super) const FORMAT: Format = Format {
    name: "qcow2",
    endian: Endian::Big,
    structures: STRUCTURES,
    text: |_| None,
    seals: |_| Vec::new(),
    specimens: &[
        Specimen::new("v3", "qemu-img convert -O qcow2 disk.raw image"),
        Specimen::new("v2", "qemu-img convert -O qcow2 -o compat=0.10 disk.raw image"),
        Specimen::new("small clusters", "qemu-img convert -O qcow2 -o cluster_size=512 disk.raw image"),
        Specimen::new(
            "extended",
            "qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=16k disk.raw image",
        ),
        Specimen::new("deflate", "qemu-img convert -c -O qcow2 disk.raw image"),
        Specimen::new("zstd", "qemu-img convert -c -O qcow2 -o compression_type=zstd disk.raw image"),
        Specimen::new(
            "snapshots",
            "qemu-img convert -O qcow2 disk.raw image
             qemu-img snapshot -c first image
             qemu-io -f qcow2 -c 'write -P 7 3M 128k' image
             qemu-img snapshot -c second image",
        ),
        Specimen::new(
            "bitmaps",
            "qemu-img convert -O qcow2 disk.raw image
             qemu-img bitmap --add image b
             qemu-io -f qcow2 -c 'write -P 7 3M 128k' image
             qemu-img bitmap --add image c",
        ),
        Specimen::new("overlay", OVERLAY),
        Specimen::new("backing image", OVERLAY).changing("base"),
        Specimen::new("external data", "qemu-img convert -O qcow2 -o data_file=data disk.raw image"),
        Specimen::new(
            "raw external data",
            "qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on image 4M
             qemu-io -f qcow2 -c 'write -P 7 1M 128k' image",
        ),
    ],
};

const OVERLAY: &str = "qemu-img convert -O qcow2 disk.raw base
     qemu-img create -q -f qcow2 -b base -F qcow2 image 5M
     qemu-io -f qcow2 -c 'write -P 7 3M 128k' -c 'write -z 0 64k' image";

const STRUCTURES: &[Structure] = &[
    Structure {
        name: "header",
        at: |_| vec![0],
        len: V2_HEADER_LEN,
        fields: &[
            number("magic", 0, 4),
            number("version", 4, 4),
            place("backing file", 8, 8, 1),
            number("backing file length", 16, 4),
            number("cluster bits", 20, 4),
            number("size", 24, 8),
            number("encryption", 32, 4),
            number("L1 size", 36, 4),
            place("L1 table", 40, 8, 1),
            place("refcount table", 48, 8, 1),
            number("refcount table clusters", 56, 4),
            number("snapshots", 60, 4),
            place("snapshot table", 64, 8, 1),
        ],
    },
    Structure {
        name: "header of version 3",
        at: |image| if is_v3(image) { vec![V2_HEADER_LEN] } else { Vec::new() },
        len: 40,
        fields: &[
            number("incompatible features", 0, 8),
            number("compatible features", 8, 8),
            number("autoclear features", 16, 8),
            number("refcount order", 24, 4),
            number("header length", 28, 4),
            number("compression type", 32, 1),
        ],
    },
    Structure {
        name: "header extension",
        at: extensions,
        len: 8,
        fields: &[number("type", 0, 4), number("length", 4, 4)],
    },
    Structure {
        name: "bitmaps extension",
        at: |image| bitmaps(image).map(|extension| extension + 8).collect(),
        len: 24,
        fields: &[
            number("bitmaps", 0, 4),
            number("reserved", 4, 4),
            number("directory length", 8, 8),
            place("directory", 16, 8, 1),
        ],
    },
    Structure {
        name: "bitmap",
        at: |image| bitmaps(image).map(|extension| image.u64(extension + 24)).collect(),
        len: 24,
        fields: &[
            place("table", 0, 8, 1),
            number("table length", 8, 4),
            number("flags", 12, 4),
            number("type", 16, 1),
            number("granularity", 17, 1),
            number("name length", 18, 2),
            number("extra data length", 20, 4),
        ],
    },
    Structure {
        name: "snapshot",
        at: snapshots,
        len: 56,
        fields: &[
            place("L1 table", 0, 8, 1),
            number("L1 size", 8, 4),
            number("id length", 12, 2),
            number("name length", 14, 2),
            number("seconds", 16, 4),
            number("nanoseconds", 20, 4),
            number("clock", 24, 8),
            number("VM state size", 32, 4),
            number("extra data length", 36, 4),
            number("large VM state size", 40, 8),
            number("disk size", 48, 8),
        ],
    },
    Structure { name: "L1 entry", at: l1_entries, len: 8, fields: ENTRY },
    Structure { name: "L2 entry", at: l2_entries, len: 8, fields: ENTRY },
    Structure {
        name: "subclusters",
        at: |image| {
            if is_extended(image) { l2_entries(image).iter().map(|at| at + 8).collect() } else { Vec::new() }
        },
        len: 8,
        fields: &[number("zeros", 0, 4), number("allocated", 4, 4)],
    },
    Structure {
        name: "compressed cluster",
        at: |image| l2_entries(image).into_iter().filter(|&at| image.u64(at) & COMPRESSED != 0).collect(),
        len: 8,
        // With clusters of 64 KiB: bits 54 to 61.
        fields: &[number("sectors", 0, 1), number("place", 4, 4)],
    },
    Structure {
        name: "compressed data",
        at: |image| {
            let compressed = l2_entries(image).into_iter().map(|at| image.u64(at));
            compressed.filter(|entry| entry & COMPRESSED != 0).map(|entry| entry & ((1 << 54) - 1)).collect()
        },
        len: 16,
        fields: &[number("first bytes", 0, 4), number("further bytes", 4, 8), number("byte", 13, 1)],
    },
    Structure {
        name: "refcount table entry",
        at: |image| entries(image.u64(48), 1, 8),
        len: 8,
        fields: &[place("block", 0, 8, 1)],
    },
    Structure {
        name: "refcount",
        at: |image| entries(image.u64(image.u64(48)), cluster_size(image) / 2, 2),
        len: 2,
        fields: &[number("count", 0, 2)],
    },
];

const ENTRY: &[Field] = &[flagged_place("entry", 0, 8, 1, ENTRY_FLAGS)];

fn is_v3(image: &Image) -> bool {
    image.u32(4) >= 3
}

fn is_extended(image: &Image) -> bool {
    is_v3(image) && image.u64(72) & INCOMPATIBLE_EXTENDED_L2 != 0
}

fn cluster_size(image: &Image) -> u64 {
    1 << image.u32(20)
}

/// Up to and with the one that ends them.
fn extensions(image: &Image) -> Vec<u64> {
    let mut at = if is_v3(image) { image.u32(100) } else { V2_HEADER_LEN };
    let mut found = vec![at];
    while image.u32(at) != 0 {
        at += 8 + image.u32(at + 4).next_multiple_of(8);
        found.push(at);
    }
    found
}

fn bitmaps(image: &Image) -> impl Iterator<Item = u64> {
    extensions(image).into_iter().filter(|&at| image.u32(at) == BITMAPS)
}

fn snapshots(image: &Image) -> Vec<u64> {
    let mut at = image.u64(64);
    let mut found = Vec::new();
    for _ in 0..image.u32(60) {
        found.push(at);
        let len = 40 + image.u32(at + 36) + image.u16(at + 12) + image.u16(at + 14);
        at += len.next_multiple_of(8);
    }
    found
}

fn l1_entries(image: &Image) -> Vec<u64> {
    entries(image.u64(40), image.u32(36), 8)
}

fn l2_entries(image: &Image) -> Vec<u64> {
    let tables = l1_entries(image).into_iter().map(|at| image.u64(at) & !ENTRY_FLAGS);
    let size = if is_extended(image) { 16 } else { 8 };
    let count = cluster_size(image) / size;
    // A table of many clusters is for a disk of some: what is looked at is at its beginning.
    let used = count.min(image.u64(24).div_ceil(cluster_size(image)));
    tables.filter(|&table| table != 0).flat_map(|table| entries(table, used, size)).collect()
}
