//! VHDX: "Virtual Hard Disk v2 (VHDX) File Format", MS-VHDX.

use super::super::field::{Format, Seal, Specimen, Structure, entries, flagged_place, number, place};
use super::super::image::{Endian, Image};

const KIB: u64 = 1 << 10;
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const REGION_TABLES: [u64; 2] = [192 * KIB, 256 * KIB];
const LOG_SECTOR: u64 = 4 * KIB;

/// The first four bytes of the regions' names.
const BAT_REGION: u64 = 0x2dc2_7766;
const METADATA_REGION: u64 = 0x8b7c_a206;

/// Of a BAT entry: the block's state. Its place is in the upper bits, in bytes if these are not there.
const BAT_STATE: u64 = 0xf_ffff;

pub(super) const FORMAT: Format = Format {
    name: "vhdx",
    endian: Endian::Little,
    structures: STRUCTURES,
    text: |_| None,
    seals,
    specimens: &[
        Specimen::new("dynamic", "qemu-img convert -O vhdx -o block_size=1M disk.raw image"),
        Specimen::new("fixed", "qemu-img convert -O vhdx -o block_size=1M,subformat=fixed disk.raw image"),
        Specimen { repair: true, ..Specimen::new("log", LOGGED) },
    ],
};

/// A write that reaches the log, and then fails where the BAT is, which is in sector 4096.
const LOGGED: &str = r#"qemu-img create -q -f vhdx -o block_size=1M image 4M
    qemu-io -f vhdx -c 'write -P 3 0 64k' -c 'write -P 4 1M 64k' image
    fault='{"event":"none","iotype":"write","errno":5,"sector":4096,"once":false}'
    file='{"driver":"file","filename":"image"}'
    broken="{\"driver\":\"blkdebug\",\"image\":$file,\"inject-error\":[$fault]}"
    qemu-io -c 'write -P 7 3M 64k' "json:{\"driver\":\"vhdx\",\"file\":$broken}" || true
    qemu-img info image 2>&1 | grep -q 'needs to be replayed'"#;

const STRUCTURES: &[Structure] = &[
    Structure { name: "identifier", at: |_| vec![0], len: 8, fields: &[number("signature", 0, 8)] },
    Structure {
        name: "header",
        at: |_| HEADERS.to_vec(),
        len: 4 * KIB,
        fields: &[
            number("signature", 0, 4),
            number("checksum", 4, 4),
            number("sequence number", 8, 8),
            number("file identity", 16, 16),
            number("data identity", 32, 16),
            number("log identity", 48, 16),
            number("log version", 64, 2),
            number("version", 66, 2),
            number("log length", 68, 4),
            place("log", 72, 8, 1),
        ],
    },
    Structure {
        name: "region table",
        at: |_| REGION_TABLES.to_vec(),
        len: 64 * KIB,
        fields: &[
            number("signature", 0, 4),
            number("checksum", 4, 4),
            number("entries", 8, 4),
            number("reserved", 12, 4),
        ],
    },
    Structure {
        name: "region",
        at: regions,
        len: 32,
        fields: &[
            number("name", 0, 16),
            place("place", 16, 8, 1),
            number("length", 24, 4),
            number("required", 28, 4),
        ],
    },
    Structure {
        name: "metadata table",
        at: |image| vec![metadata(image)],
        len: 64 * KIB,
        fields: &[number("signature", 0, 8), number("reserved", 8, 2), number("entries", 10, 2)],
    },
    Structure {
        name: "metadata entry",
        at: metadata_entries,
        len: 32,
        fields: &[
            number("name", 0, 16),
            number("offset", 16, 4),
            number("length", 20, 4),
            number("flags", 24, 4),
            number("reserved", 28, 4),
        ],
    },
    Structure {
        name: "metadata item",
        at: |image| {
            let entries = metadata_entries(image).into_iter();
            entries.map(|entry| metadata(image) + image.u32(entry + 16)).collect()
        },
        len: 8,
        fields: &[number("first half", 0, 4), number("second half", 4, 4), number("whole", 0, 8)],
    },
    Structure { name: "BAT entry", at: bat, len: 8, fields: &[flagged_place("block", 0, 8, 1, BAT_STATE)] },
    Structure {
        name: "log entry",
        at: log_entries,
        len: 64,
        fields: &[
            number("signature", 0, 4),
            number("checksum", 4, 4),
            number("length", 8, 4),
            number("tail", 12, 4),
            number("sequence number", 16, 8),
            number("descriptors", 24, 4),
            number("reserved", 28, 4),
            number("identity", 32, 16),
            number("flushed length", 48, 8),
            number("last length", 56, 8),
        ],
    },
    Structure {
        name: "log descriptor",
        at: |image| log_entries(image).into_iter().map(|at| at + 64).collect(),
        len: 32,
        fields: &[
            number("signature", 0, 4),
            number("trailing bytes", 4, 4),
            number("leading bytes, or length", 8, 8),
            place("place", 16, 8, 1),
            number("sequence number", 24, 8),
        ],
    },
    Structure {
        name: "log data",
        at: |image| log_entries(image).into_iter().map(|at| at + LOG_SECTOR).collect(),
        len: LOG_SECTOR,
        fields: &[
            number("signature", 0, 4),
            number("upper half of sequence number", 4, 4),
            number("first bytes", 8, 8),
            number("lower half of sequence number", 4092, 4),
        ],
    },
];

fn regions(image: &Image) -> Vec<u64> {
    REGION_TABLES.iter().flat_map(|table| entries(table + 16, image.u32(table + 8), 32)).collect()
}

/// Where the region `name` is, and its length.
fn region(image: &Image, name: u64) -> (u64, u64) {
    let entry = regions(image).into_iter().find(|&at| image.u32(at) == name).expect("every image has it");
    (image.u64(entry + 16), image.u32(entry + 24))
}

fn metadata(image: &Image) -> u64 {
    region(image, METADATA_REGION).0
}

fn metadata_entries(image: &Image) -> Vec<u64> {
    let table = metadata(image);
    (0..image.u16(table + 10)).map(|number| table + 32 + number * 32).collect()
}

fn bat(image: &Image) -> Vec<u64> {
    let (at, _) = region(image, BAT_REGION);
    // One for each MiB of the disk.
    entries(at, 4, 8)
}

/// The first one, and those behind it.
fn log_entries(image: &Image) -> Vec<u64> {
    let current = HEADERS.into_iter().max_by_key(|at| image.u64(at + 8)).expect("there are two");
    if image.number(current + 48, 16) == 0 {
        return Vec::new();
    }
    let (len, start) = (image.u32(current + 68), image.u64(current + 72));
    let mut found = Vec::new();
    let mut at = start;
    while at < start + len && image.bytes(at, 4) == b"loge" {
        found.push(at);
        at += image.u32(at + 8);
    }
    found
}

fn seals(image: &Image) -> Vec<Seal> {
    let seal = |at, len| Seal { at, len, sum_at: 4, sum: crc32c };
    let headers = HEADERS.into_iter().map(|at| seal(at, 4096));
    let tables = REGION_TABLES.into_iter().map(|at| seal(at, 65536));
    let log = log_entries(image).into_iter();
    let log = log.map(|at| seal(at, usize::try_from(image.u32(at + 8)).expect("a short entry")));
    headers.chain(tables).chain(log).collect()
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    /// The check value of RFC 3720's CRC, as every catalogue of CRCs has it.
    #[test]
    fn crc32c_has_its_check_value() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
