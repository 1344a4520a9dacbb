//! What `qemu-img` refuses is refused.

use fmt_core::DiskMap;

use crate::common::{
    BAT_AT, HEADER_1, HEADER_2, ITEMS_AT, Image, METADATA_AT, MIB, Random, TABLE_1, TABLE_2, data,
};
use crate::qemu::Qemu;

/// Changes that make a good image bad, each one named by what is said of it.
type Bad = (&'static str, fn(&mut Image) -> &mut Image);

const BAD: [Bad; 24] = [
    ("vhdx", |image| image.put(0, b"vhdxfilf")),
    ("neither header is valid", |image| image.headers(0, b"heat")),
    ("neither header is valid", |image| image.put(HEADER_1 + 99, &[1]).put(2 * HEADER_1 + 99, &[1])),
    ("two different headers are both current", |image| {
        image.put(HEADER_1 + 8, &[1, 0, 0, 0, 0, 0, 0, 0, 9]).sums()
    }),
    ("VHDX version other than 1", |image| image.headers(66, &[2])),
    ("VHDX log version other than 0", |image| image.headers(64, &[1])),
    ("the log does not lie at whole MiBs", |image| image.headers(72, &[0, 0, 8])),
    ("the log does not lie at whole MiBs", |image| image.headers(72, &[0; 8])),
    ("regions overlap each other, the log or the headers", |image| image.headers(74, &[0x20])),
    ("neither region table is valid", |image| image.tables(0, b"rega")),
    ("neither region table is valid", |image| image.put(TABLE_1 + 99, &[1]).put(TABLE_1 + 65635, &[1])),
    ("a region table has more than 2047 entries", |image| image.tables(8, &2048_u32.to_le_bytes())),
    ("the metadata region is missing", |image| image.tables(8, &[1])),
    ("an unknown region that is required", |image| image.tables(48, &[9])),
    ("the metadata table's signature is wrong", |image| image.put(METADATA_AT, b"M")),
    ("an unknown metadata item that is required", |image| image.item(fmt_vhdx::Guid([9; 16]), 4, &[1; 8])),
    ("a metadata item is there twice", |image| image.item(fmt_vhdx::raw::PAGE_83_DATA, 6, &[1; 16])),
    ("the item of physical sectors is missing", |image| image.put(METADATA_AT + 10, &[4])),
    ("an item names a parent, which the file says not to have", |image| {
        image.differencing("x").put(ITEMS_AT + 4, &[0])
    }),
    ("the block size is not a power of two between 1 MiB and 256 MiB", |image| {
        image.put_u32(ITEMS_AT, 3 << 20)
    }),
    ("the BAT is too small for the disk", |image| image.put_u64(ITEMS_AT + 8, 1 << 40)),
    ("a payload block overlaps headers, the log or a region", |image| image.bat(0, (3 * MIB) | 6)),
    ("a payload block lies beyond the end of the file", |image| image.bat(0, 1 << 40 | 6)),
    ("a payload block lies beyond the end of the file", |image| image.bat(0, (5 * MIB) | 6)),
];

#[test]
fn what_qemu_refuses() {
    let Some(qemu) = Qemu::new() else { return };
    let good = Image::new(MIB, &[data(0, MIB)]);
    qemu.put("good.vhdx", &good.0);
    qemu.img(&["convert", "-f", "vhdx", "-O", "raw", "good.vhdx", "good.raw"]);
    assert!(good.disk() == qemu.bytes("good.raw"));
    for (number, (what, change)) in BAD.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(bad.error().what, *what, "{number}");
        qemu.put("bad.vhdx", &bad.0);
        qemu.fails("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", "bad.vhdx", "bad.raw"]);
    }
}

/// States that do not exist, or not without a parent: QEMU opens the file, and fails when it reads the block.
#[test]
fn states_that_cannot_be() {
    let Some(qemu) = Qemu::new() else { return };
    for (state, what) in [
        (4, "a BAT entry has a state that does not exist"),
        (7, "a block is partially present in a file without a parent"),
    ] {
        let mut image = Image::new(2 * MIB, &[data(0, 2 * MIB)]);
        image.bat(0, (4 * MIB) | state);
        image.refused(what);
        qemu.put("bad.vhdx", &image.0);
        qemu.fails("qemu-img", &["convert", "-O", "raw", "bad.vhdx", "bad.raw"]);
    }
}

/// All other states, with a place in the file or without.
#[test]
fn states_that_read_as_zeros() {
    let Some(qemu) = Qemu::new() else { return };
    for state in [0, 1, 2, 3, 5] {
        for entry in [state, (4 * MIB) | state, u64::MAX << 3 | state] {
            let mut image = Image::new(2 * MIB, &[data(0, 2 * MIB)]);
            image.bat(0, entry);
            qemu.put("state.vhdx", &image.0);
            qemu.img(&["convert", "-O", "raw", "state.vhdx", "state.raw"]);
            assert!(image.disk() == qemu.bytes("state.raw"), "{entry:x}");
        }
    }
}

/// Bits of an entry between state and place mean nothing.
#[test]
fn reserved_bits_of_an_entry() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(2 * MIB, &[data(0, 2 * MIB)]);
    image.bat(0, (5 * MIB) | 0xf_fff8 | 6);
    qemu.put("bits.vhdx", &image.0);
    qemu.img(&["convert", "-O", "raw", "bits.vhdx", "bits.raw"]);
    assert!(image.disk() == qemu.bytes("bits.raw"));
}

/// Disk2vhd writes the same header twice.
#[test]
fn two_equal_headers() {
    let Some(qemu) = Qemu::new() else { return };
    let mut image = Image::new(MIB, &[data(0, MIB)]);
    image.put(2 * HEADER_1 + 8, &[0]).sums();
    assert_eq!(image.u64(HEADER_1), image.u64(2 * HEADER_1));
    qemu.put("equal.vhdx", &image.0);
    qemu.img(&["convert", "-O", "raw", "equal.vhdx", "equal.raw"]);
    assert!(image.disk() == qemu.bytes("equal.raw"));
}

/// Small damage, with checksums right: where QEMU reads the disk, the same bytes are read or a reason is told; where QEMU
/// refuses, so does the map, save for what it knows more of.
#[test]
fn damage_of_all_kinds() {
    let Some(qemu) = Qemu::new() else { return };
    let good = Image::new(3 * MIB, &[data(0, MIB), data(2 * MIB, MIB)]);
    let places =
        [(HEADER_1, 80), (HEADER_2, 80), (TABLE_1, 80), (METADATA_AT, 192), (ITEMS_AT, 40), (BAT_AT, 24)];
    let (mut random, mut same) = (Random(0x9e37_79b9_7f4a_7c15), 0);
    for round in 0..100 {
        let mut image = good.clone();
        let (place, len) = places[random.below(places.len() as u64) as usize];
        let at = place + random.below(len);
        let byte = [image.0[at as usize] ^ 1 << random.below(8), random.below(256) as u8];
        image.put(at, &byte[..1 + random.below(2) as usize]).sum_around(at);
        if place == TABLE_1 {
            // QEMU knows one region table only.
            image.put(TABLE_2, &[0; 4]);
        }
        qemu.put("damaged.vhdx", &image.0);
        let theirs = qemu.try_img(&["convert", "-f", "vhdx", "-O", "raw", "damaged.vhdx", "damaged.raw"]);
        let ours = image.open().and_then(|mut map| {
            map.extents(0..u64::MAX).try_for_each(|extent| extent.map(|_| ()))?;
            Ok((map.virtual_size(), map.metadata().logical_sector_size))
        });
        match (theirs, ours) {
            (true, Ok((size, _))) => {
                same += 1;
                assert_eq!(std::fs::metadata(qemu.path("damaged.raw")).unwrap().len(), size, "{round}: {at}");
                assert!(size > 1 << 30 || image.disk() == qemu.bytes("damaged.raw"), "{round}: {at}");
            }
            // QEMU wants room for entries that an empty disk does not have.
            (false, Ok((size, sector_size))) => {
                assert!(sector_size == 4096 || size == 0, "{round}: {at} {byte:?}");
            }
            (_, Err(_)) => {}
        }
    }
    assert!(same > 20, "{same}");
}
