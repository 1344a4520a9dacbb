//! VMDK: "Virtual Disk Format 5.0", VMware's technical note.

use super::super::field::{Format, Specimen, Structure, Text, entries, number, place};
use super::super::image::{Endian, Image};

const SECTOR: u64 = 512;
const MAGIC: &[u8] = b"KDMV";
const GD_AT_END: u64 = u64::MAX;
const COMPRESSED: u64 = 1 << 16;
const MARKER_OF_FOOTER: u128 = 3;

pub(super) const FORMAT: Format = Format {
    name: "vmdk",
    endian: Endian::Little,
    structures: STRUCTURES,
    text,
    seals: |_| Vec::new(),
    specimens: &[
        Specimen::new("monolithicSparse", "qemu-img convert -O vmdk disk.raw image"),
        Specimen::new(
            "monolithicSparse with zeroed grains",
            "qemu-img convert -O vmdk -o zeroed_grain=on disk.raw image
             qemu-io -f vmdk -c 'write -z 0 128k' image",
        ),
        Specimen::new("streamOptimized", STREAM),
        Specimen { finish: directory_at_end, ..Specimen::new("streamOptimized with footer", STREAM) },
        Specimen::new(
            "monolithicFlat",
            "qemu-img convert -O vmdk -o subformat=monolithicFlat disk.raw image",
        ),
        Specimen::new("twoGbMaxExtentSparse", SPLIT),
        Specimen::new("extent of twoGbMaxExtentSparse", SPLIT).changing("image-s001"),
        Specimen::new(
            "twoGbMaxExtentFlat",
            "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat disk.raw image",
        ),
        Specimen::new(
            "child",
            "qemu-img convert -O vmdk disk.raw base.vmdk
             qemu-img create -q -f vmdk -b base.vmdk -F vmdk image
             qemu-io -f vmdk -c 'write -P 7 3M 128k' image",
        ),
    ],
};

const STREAM: &str = "qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw image";
const SPLIT: &str = "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse disk.raw image";

const STRUCTURES: &[Structure] = &[
    Structure {
        name: "sparse header",
        at: headers,
        len: SECTOR,
        fields: &[
            number("magic", 0, 4),
            number("version", 4, 4),
            number("flags", 8, 4),
            number("capacity", 12, 8),
            number("grain size", 20, 8),
            place("descriptor", 28, 8, SECTOR),
            number("descriptor size", 36, 8),
            number("entries of a grain table", 44, 4),
            place("redundant grain directory", 48, 8, SECTOR),
            place("grain directory", 56, 8, SECTOR),
            number("overhead", 64, 8),
            number("unclean shutdown", 72, 1),
            number("single end of line", 73, 1),
            number("no end of line", 74, 1),
            number("first of double end of line", 75, 1),
            number("second of double end of line", 76, 1),
            number("compression", 77, 2),
        ],
    },
    Structure {
        name: "grain directory entry",
        at: |image| headers(image).into_iter().flat_map(|header| directory_entries(image, header)).collect(),
        len: 4,
        fields: &[place("grain table", 0, 4, SECTOR)],
    },
    Structure {
        name: "grain table entry",
        at: |image| headers(image).into_iter().flat_map(|header| table_entries(image, header)).collect(),
        len: 4,
        fields: &[place("grain", 0, 4, SECTOR)],
    },
    Structure {
        name: "grain marker",
        at: |image| {
            let compressed =
                headers(image).into_iter().filter(|header| image.u32(header + 8) & COMPRESSED != 0);
            let grains = compressed.flat_map(|header| table_entries(image, header)).map(|at| image.u32(at));
            grains.filter(|&grain| grain > 1).map(|grain| grain * SECTOR).collect()
        },
        len: 12,
        fields: &[
            number("first sector", 0, 8),
            number("length", 8, 4),
            number("zlib header", 12, 2),
            number("compressed bytes", 14, 8),
        ],
    },
    Structure {
        name: "footer marker",
        at: |image| {
            let footers = headers(image).into_iter().filter(|&at| at != 0);
            footers.flat_map(|at| [at - SECTOR, at + SECTOR]).collect()
        },
        len: 16,
        fields: &[number("sectors", 0, 8), number("length", 8, 4), number("type", 12, 4)],
    },
];

/// The one at the start, and a footer, if there is one.
fn headers(image: &Image) -> Vec<u64> {
    if image.bytes(0, 4) != MAGIC {
        return Vec::new();
    }
    if image.u64(56) == GD_AT_END { vec![0, image.len() - 2 * SECTOR] } else { vec![0] }
}

/// Of both directories that `header` leads to.
fn directory_entries(image: &Image, header: u64) -> Vec<u64> {
    let covered = image.u32(header + 44) * image.u64(header + 20);
    let count = image.u64(header + 12).div_ceil(covered);
    let directories = [image.u64(header + 56), image.u64(header + 48)];
    let present = directories.into_iter().filter(|&sector| sector != 0 && sector != GD_AT_END);
    present.flat_map(|sector| entries(sector * SECTOR, count, 4)).collect()
}

fn table_entries(image: &Image, header: u64) -> Vec<u64> {
    let tables = directory_entries(image, header).into_iter().map(|at| image.u32(at) * SECTOR);
    // As many as the disk has grains.
    let count = image.u32(header + 44).min(image.u64(header + 12).div_ceil(image.u64(header + 20)));
    tables.flat_map(|table| entries(table, count, 4)).collect()
}

/// In the sectors that the header says, or the whole file.
fn text(image: &Image) -> Option<Text> {
    if image.bytes(0, 4) != MAGIC {
        return Some(Text { at: 0, room: None });
    }
    let room = usize::try_from(image.u64(36) * SECTOR).expect("a small text");
    (room > 0).then(|| Text { at: image.u64(28) * SECTOR, room: Some(room) })
}

/// Moves what the header says of the grain directory to a footer, as programs do that cannot go back in a stream.
fn directory_at_end(image: &Image) {
    let header = image.bytes(0, 512);
    let end = image.len().next_multiple_of(SECTOR);
    let put = |at, width, value| image.put(at, width, value).expect("a file of our own can be written");
    put(end, 8, 1);
    put(end + 12, 4, MARKER_OF_FOOTER);
    image.put_bytes(end + SECTOR, &header).expect("a file of our own can be written");
    image.set_len(end + 3 * SECTOR).expect("a file of our own can grow");
    put(56, 8, GD_AT_END.into());
}
