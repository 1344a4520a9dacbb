//! VHD: "Virtual Hard Disk Image Format Specification", version 1.0.

use super::super::field::{Field, Format, Meaning, Seal, Specimen, Structure, entries, number, place};
use super::super::image::{Endian, Image};

const SECTOR: u64 = 512;
const FOOTER_LEN: u64 = 512;
const HEADER_LEN: u64 = 1024;
const DYNAMIC: u64 = 3;
const UNUSED: u64 = 0xffff_ffff;

pub(super) const FORMAT: Format = Format {
    name: "vpc",
    endian: Endian::Big,
    structures: STRUCTURES,
    text: |_| None,
    seals,
    specimens: &[
        Specimen::new("dynamic", "qemu-img convert -O vpc disk.raw image"),
        Specimen::new("dynamic, size counts", "qemu-img convert -O vpc -o force_size=on disk.raw image"),
        Specimen::new("fixed", "qemu-img convert -O vpc -o subformat=fixed disk.raw image"),
        Specimen::new(
            "fixed, size counts",
            "qemu-img convert -O vpc -o subformat=fixed,force_size=on disk.raw image",
        ),
    ],
};

const STRUCTURES: &[Structure] = &[
    Structure {
        name: "footer",
        at: footers,
        len: FOOTER_LEN,
        fields: &[
            number("cookie", 0, 8),
            number("features", 8, 4),
            number("version", 12, 4),
            place("header", 16, 8, 1),
            number("time", 24, 4),
            number("creator", 28, 4),
            number("creator version", 32, 4),
            number("creator system", 36, 4),
            number("original size", 40, 8),
            number("size", 48, 8),
            number("cylinders", 56, 2),
            number("heads", 58, 1),
            number("sectors", 59, 1),
            number("disk type", 60, 4),
            number("checksum", 64, 4),
            number("identity", 68, 16),
            number("saved state", 84, 1),
        ],
    },
    Structure {
        name: "dynamic header",
        at: headers,
        len: HEADER_LEN,
        fields: &[
            number("cookie", 0, 8),
            number("data offset", 8, 8),
            place("table", 16, 8, 1),
            number("version", 24, 4),
            number("entries", 28, 4),
            number("block size", 32, 4),
            number("checksum", 36, 4),
            number("parent identity", 40, 16),
            number("parent time", 56, 4),
            number("parent name", 64, 16),
        ],
    },
    Structure {
        name: "parent locator",
        at: |image| headers(image).iter().flat_map(|at| entries(at + 576, 8, 24)).collect(),
        len: 24,
        fields: &[
            number("code", 0, 4),
            number("data space", 4, 4),
            number("data length", 8, 4),
            place("data", 16, 8, 1),
        ],
    },
    Structure { name: "BAT entry", at: bat, len: 4, fields: &[BLOCK] },
    Structure {
        name: "sector bitmap",
        at: |image| {
            let blocks = bat(image).into_iter().map(|at| image.u32(at));
            blocks.filter(|&block| block != UNUSED).map(|block| block * SECTOR).collect()
        },
        len: SECTOR,
        fields: &[number("bits", 0, 8)],
    },
];

const BLOCK: Field =
    Field { name: "block", at: 0, width: 4, meaning: Meaning::Place { unit: SECTOR, flags: 0 } };

/// The copy at the start, which only dynamic images have, and the one at the end.
fn footers(image: &Image) -> Vec<u64> {
    let last = image.len() - FOOTER_LEN;
    if is_dynamic(image) { vec![0, last] } else { vec![last] }
}

fn is_dynamic(image: &Image) -> bool {
    image.u32(image.len() - FOOTER_LEN + 60) == DYNAMIC
}

fn headers(image: &Image) -> Vec<u64> {
    if is_dynamic(image) { vec![image.u64(16)] } else { Vec::new() }
}

fn bat(image: &Image) -> Vec<u64> {
    headers(image).into_iter().flat_map(|at| entries(image.u64(at + 16), image.u32(at + 28), 4)).collect()
}

fn seals(image: &Image) -> Vec<Seal> {
    let footers = footers(image).into_iter().map(|at| Seal { at, len: 512, sum_at: 64, sum });
    let headers = headers(image).into_iter().map(|at| Seal { at, len: 1024, sum_at: 36, sum });
    footers.chain(headers).collect()
}

/// One's complement of the sum of all bytes.
fn sum(bytes: &[u8]) -> u32 {
    !bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>()
}
