//! One change at a time: what is read here is what `qemu-img` reads, and what it refuses is refused.

use fmt_core::ErrorKind;

use crate::common::{Lab, disk_bytes};

/// What is expected of an image here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Read,
    /// Both refuse.
    Refused,
    /// `qemu-img` reads it.
    Stricter,
}

use Expect::{Read, Refused, Stricter};

#[track_caller]
fn judge(lab: &Lab, name: &str, change: &str, expect: Expect) {
    let (we, qemu) = (lab.we_read(name), lab.qemu_reads(name));
    let found = match (&we, &qemu) {
        (Ok(we), Ok(qemu)) => {
            assert!(we == qemu, "{change}: other bytes");
            Read
        }
        (Err(_), Err(_)) => Refused,
        (Err(_), Ok(_)) => Stricter,
        (Ok(_), Err(error)) => panic!("{change}: qemu-img refuses: {error}"),
    };
    assert_eq!(
        found,
        expect,
        "{change}: {:?} {:?}",
        we.map(|bytes| bytes.len()),
        qemu.map(|bytes| bytes.len())
    );
}

/// The fields of a hosted sparse extent's header, by their offsets.
#[test]
fn headers_are_taken_or_refused_as_qemu_img_does() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(1 << 20, 1));
    lab.run("qemu-img convert -S 0 -f raw -O vmdk in.raw sound.vmdk");
    let sound = lab.bytes("sound.vmdk");
    let cases: &[(&str, usize, &[u8], Expect)] = &[
        ("version 0", 4, &[0], Stricter),
        ("version 2", 4, &[2], Read),
        ("version 3", 4, &[3], Read),
        ("version 4", 4, &[4], Refused),
        ("version 2^31", 4, &[0, 0, 0, 0x80], Refused),
        ("flags unknown", 8, &[0xfb, 0xff, 0xfc, 0xff], Read),
        ("flags none", 8, &[0], Read),
        ("flag zero grains", 8, &[7], Read),
        ("flags of compression, without algorithm", 10, &[3], Read),
        ("capacity 0", 12, &[0; 8], Refused),
        ("capacity smaller", 12, &[0, 3], Read),
        ("capacity larger", 12, &[0, 9], Read),
        ("capacity a gigabyte", 12, &[0, 0, 0x20], Read),
        ("capacity 2^54", 12, &[0, 0, 0, 0, 0, 0, 0x40, 0], Refused),
        ("capacity 2^64", 12, &[0xff; 8], Refused),
        ("grain 0", 20, &[0; 8], Refused),
        ("grain 3", 20, &[3], Stricter),
        ("grain 1", 20, &[1], Read),
        ("grain 64", 20, &[64], Read),
        ("grain 1 GiB", 20, &[0, 0, 0x20], Read),
        ("grain 1 GiB and a sector", 20, &[1, 0, 0x20], Refused),
        ("grain 2 GiB", 20, &[0, 0, 0x40], Refused),
        ("grain 2^63", 20, &[0, 0, 0, 0, 0, 0, 0, 0x80], Refused),
        ("descriptor elsewhere", 28, &[9], Read),
        ("no descriptor", 28, &[0], Read),
        ("descriptor size 0", 36, &[0], Read),
        ("entries 0", 44, &[0, 0], Refused),
        ("entries 100", 44, &[100, 0], Read),
        ("entries 513", 44, &[1, 2], Refused),
        ("entries 2^31", 44, &[0, 0, 0, 0x80], Refused),
        ("redundant directory 0", 48, &[0; 8], Read),
        ("redundant directory beyond the end", 48, &[0xff, 0xff], Stricter),
        ("redundant directory at 2^63", 48, &[0, 0, 0, 0, 0, 0, 0x40, 0], Refused),
        ("directory at 0", 56, &[0; 8], Stricter),
        ("directory beyond the end", 56, &[0xff, 0xff], Stricter),
        ("directory at 2^63", 56, &[0, 0, 0, 0, 0, 0, 0x40, 0], Refused),
        ("directory at the end", 56, &[0xff; 8], Refused),
        ("overhead at the end", 64, &[0x80, 8], Read),
        ("overhead beyond the end", 64, &[0x81, 8], Refused),
        ("overhead 2^64", 64, &[0xff; 8], Refused),
        ("in use", 72, &[1], Read),
        ("newlines changed", 73, b"\n \n\n", Stricter),
        ("compression 1", 77, &[1], Refused),
        ("compression 2", 77, &[2], Stricter),
        ("magic", 0, b"KDMW", Refused),
        ("magic of the other", 0, b"COWD", Refused),
        ("table 0", 26 * 512, &[0; 4], Read),
        ("table beyond the end", 26 * 512, &[0xff, 0xff], Stricter),
        ("table of the redundant directory", 26 * 512, &[22], Read),
        ("table is the directory", 26 * 512, &[26], Read),
        ("table is the header", 26 * 512, &[0, 0, 0, 1], Stricter),
        ("grain in the header", 27 * 512, &[1, 0, 0, 0], Read),
        ("grain at the last sector", 27 * 512, &[0x7f, 8], Read),
        ("grain at the end", 27 * 512, &[0x80, 8], Stricter),
        ("grain beyond the end", 27 * 512, &[0xff; 4], Stricter),
    ];
    for &(change, at, bytes, expect) in cases {
        let mut image = sound.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        lab.write("changed.vmdk", image);
        judge(&lab, "changed.vmdk", change, expect);
    }
}

/// With the flag, an entry of 1 is a grain of zeros; without, the sector 1.
#[test]
fn zero_grains_count_with_their_flag_only() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(1 << 20, 1));
    for (version, flags) in [(1, 3), (2, 7), (1, 7)] {
        lab.run("qemu-img convert -f raw -O vmdk in.raw z.vmdk");
        let mut image = lab.bytes("z.vmdk");
        (image[4], image[8]) = (version, flags);
        image[27 * 512..][..4].copy_from_slice(&[1, 0, 0, 0]);
        lab.write("z.vmdk", image);
        judge(&lab, "z.vmdk", &format!("flags {flags}"), Read);
    }
}

/// A file that ends early is read as far as its grains begin in it.
#[test]
fn truncated_files_are_read_as_qemu_img_reads_them_or_refused() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", (0..1 << 20).map(|at: u32| at.to_le_bytes()[2] + 1).collect::<Vec<_>>());
    lab.run("qemu-img convert -f raw -O vmdk in.raw sound.vmdk");
    let sound = lab.bytes("sound.vmdk");
    let last = sound.len() - 65_536;
    for (len, expect) in [
        (3, Refused),
        (100, Refused),
        (600, Refused),
        (65_535, Stricter),
        (65_536, Stricter),
        (last, Stricter),
        (last + 1, Read),
        (last + 512, Read),
        (last + 1000, Read),
        (sound.len() - 1, Read),
    ] {
        lab.write("cut.vmdk", &sound[..len]);
        judge(&lab, "cut.vmdk", &format!("{len} bytes"), expect);
    }
    lab.write("long.vmdk", [sound, vec![1; 5000]].concat());
    judge(&lab, "long.vmdk", "longer", Read);
}

/// Changes to a stream's header, footer and grain markers.
#[test]
fn streams_are_taken_or_refused_as_qemu_img_does() {
    let Some(lab) = Lab::open() else { return };
    let disk: Vec<u8> = (0..300_000).map(|at: u32| (at / 7).to_le_bytes()[0]).collect();
    lab.write("in.raw", disk);
    lab.run("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized in.raw sound.vmdk");
    let sound = lab.bytes("sound.vmdk");
    let marker = 128 * 512;
    let size = u32::from_le_bytes(sound[marker + 8..marker + 12].try_into().unwrap());
    let cases: &[(&str, usize, &[u8], Expect)] = &[
        ("as it is", 0, b"K", Read),
        ("another LBA", marker, &[9], Read),
        ("no length", marker + 8, &[0; 4], Refused),
        ("one byte short", marker + 8, &(size - 1).to_le_bytes(), Refused),
        ("longer than the stream", marker + 8, &(size + 100).to_le_bytes(), Read),
        ("longer than two grains", marker + 8, &[1, 0, 2, 0], Refused),
        ("length 2^32", marker + 8, &[0xff; 4], Refused),
        ("bad checksum", marker + 11 + size as usize, &[!sound[marker + 11 + size as usize]], Refused),
        ("no markers", 10, &[1], Refused),
        ("no compression", 77, &[0], Read),
        ("grain larger", 20, &[0, 0, 0x20], Refused),
        ("grain beyond the end", 27 * 512, &[0xff, 0xff], Refused),
    ];
    for &(change, at, bytes, expect) in cases {
        let mut image = sound.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        lab.write("changed.vmdk", image);
        judge(&lab, "changed.vmdk", change, expect);
    }
    let number = |at: usize| u32::from_le_bytes(sound[at..at + 4].try_into().unwrap()) as usize;
    let last = number(27 * 512 + 4 * 4) * 512;
    for (cut, expect) in [(0, Read), (1, Refused), (500, Refused)] {
        lab.write("cut.vmdk", &sound[..last + 12 + number(last + 8) - cut]);
        judge(&lab, "cut.vmdk", &format!("{cut} bytes cut off the last grain"), expect);
    }
    lab.write("cut.vmdk", &sound[..last + 11]);
    judge(&lab, "cut.vmdk", "cut in the last grain's marker", Refused);
}

/// No tool here writes a footer: the directory at the end is made of a stream that has it at its beginning.
#[test]
fn a_directory_at_the_end_is_found_by_the_footer() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(1_000_448, 8));
    lab.run("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized in.raw sound.vmdk");
    let mut stream = lab.bytes("sound.vmdk");
    let mut header = stream[..512].to_vec();
    // The tables move to the end: directory, then table, behind their markers.
    let table_at = stream.len().div_ceil(512) + 1;
    let table = stream[27 * 512..][..2048].to_vec();
    stream.resize((table_at - 1) * 512, 0);
    stream[21 * 512..36 * 512].fill(0xee);
    stream[8] = 1;
    let mut sector = |bytes: &[u8]| {
        stream.extend_from_slice(bytes);
        stream.resize(stream.len().next_multiple_of(512), 0);
        stream.len() / 512
    };
    let marker =
        |sectors: u64, kind: u32| [&sectors.to_le_bytes()[..], &[0; 4], &kind.to_le_bytes()].concat();
    sector(&marker(4, 1));
    sector(&table);
    let gd_at = sector(&marker(1, 2));
    sector(&u32::try_from(table_at).unwrap().to_le_bytes());
    let footer_at = sector(&marker(1, 3));
    header[8] = 1;
    header[48..56].fill(0);
    header[56..64].copy_from_slice(&(gd_at as u64).to_le_bytes());
    sector(&header);
    let end = sector(&marker(0, 0)) * 512;
    stream[56..64].fill(0xff);
    stream[48..56].fill(0);
    lab.write("sound.vmdk", &stream);
    judge(&lab, "sound.vmdk", "as it is", Read);

    let footer = footer_at * 512;
    let cases: &[(&str, usize, &[u8], Expect)] = &[
        ("the footer's marker has a size", footer - 512 + 8, &[1], Refused),
        ("the footer's marker is another", footer - 512 + 12, &[2], Refused),
        ("the footer's marker counts", footer - 512, &[9], Read),
        ("the footer has no magic", footer, b"k", Refused),
        ("the end counts", end - 512, &[1], Refused),
        ("the end has a size", end - 512 + 8, &[1], Refused),
        ("the end is another", end - 512 + 12, &[1], Refused),
        ("the footer's directory is at the end", footer + 56, &[0xff; 8], Refused),
        ("the header's capacity", 12, &[9], Read),
        ("the footer's capacity", footer + 12, &[9], Read),
        ("the footer's version", footer + 4, &[4], Refused),
    ];
    for &(change, at, bytes, expect) in cases {
        let mut image = stream.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        lab.write("changed.vmdk", image);
        judge(&lab, "changed.vmdk", change, expect);
    }
    // A file that does not end with a sector has its footer three sectors before the end of its last one.
    lab.write("odd.vmdk", &stream[..end - 400]);
    judge(&lab, "odd.vmdk", "cut in the last sector", Read);
    lab.write("odd.vmdk", &stream[..end - 512]);
    judge(&lab, "odd.vmdk", "cut at the last sector", Refused);
}

/// The text in a sparse file: identities, and the parent's name.
#[test]
fn embedded_descriptors_are_read_as_qemu_img_reads_them() {
    let Some(lab) = Lab::open() else { return };
    lab.write("in.raw", disk_bytes(100_000, 1));
    lab.run("qemu-img convert -f raw -O vmdk in.raw sound.vmdk");
    let sound = lab.bytes("sound.vmdk");
    let long = "#".repeat(10_240);
    for (text, expect) in [
        ("CID=1\nparentCID=ffffffff\n", Read),
        ("\r\n# c\r\nCID=1\r\nparentCID=ffffffff\r\ncreateType=\"nonsense\"\r\n", Read),
        ("parentCID=ffffffff\n", Read),
        ("  CID= 0x1\n\tparentCID=  2 x\n", Read),
        ("RW 5 SPARSE \"a\nCID=1\nparentCID=2\n", Read),
        ("CID=1\n", Refused),
        ("", Refused),
        ("CID=1\n\0parentCID=2\n", Refused),
        ("CID = 1\nparentCID=2\n", Refused),
        ("# CID 5\nCID=1\nparentCID=2\n", Stricter),
        ("CID=1\nparentCID=2\n# parentFileNameHint=\"\"\n", Stricter),
        (&[&long, "\nCID=1\nparentCID=2\n"].concat(), Refused),
        (&["CID=1\nparentCID=2\n", &long, "\nparentFileNameHint=\"nowhere\"\n"].concat(), Read),
        ("CID=1\nparentCID=2\nparentFileNameHint=\"nowhere.vmdk\"\n", Refused),
    ] {
        let mut image = sound.clone();
        image[512..21 * 512].fill(0);
        let len = text.len().min(20 * 512);
        image[512..][..len].copy_from_slice(&text.as_bytes()[..len]);
        lab.write("changed.vmdk", image);
        judge(&lab, "changed.vmdk", text, expect);
    }
}

/// Descriptors of flat files.
#[test]
fn descriptor_files_are_read_as_qemu_img_reads_them() {
    let Some(lab) = Lab::open() else { return };
    for name in ["a", "b"] {
        lab.write(name, name.repeat(51_200));
    }
    let head =
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n";
    let a = "RW 100 FLAT \"a\" 0\n";
    for (lines, expect) in [
        ("RW 100 FLAT \"a\" 0\nRW 100 FLAT \"b\" 0\n", Read),
        ("RW 50 FLAT \"a\" 7\nRW 1 VMFS \"b\"\nRW 3 FLAT \"a\" 1\n", Read),
        ("RW 100 FLAT \"a\" 50\nRW 10 FLAT \"b\" 99\n", Read),
        ("RW 101 FLAT \"a\" 99\n", Read),
        ("RW 100 FLAT \"a\" 100\n", Stricter),
        ("RW 100 FLAT \"a\" 9999999999\n", Stricter),
        ("RW 100 FLAT \"nowhere\" 0\n", Refused),
        ("RW 100 SPARSE \"a\"\n", Refused),
        ("RW 100 FLAT \"a\"\n", Refused),
        ("RW 100 VMFS \"a\" 0\n", Refused),
        ("RW 100 VMFS \"a\"\n5\n", Refused),
        (&format!("{a}RW 100 OTHER \"a\"\n"), Stricter),
        ("RW 36028797018963968 FLAT \"a\" 0\n", Refused),
        ("RW 18014398509481983 FLAT \"a\" 0\n", Refused),
        (&format!("{a}RW 50 ZERO\n"), Stricter),
        (&format!("{a}RDONLY 50 FLAT \"b\" 0\n"), Stricter),
        (&format!("{a}NOACCESS 50 FLAT \"b\" 0\n"), Stricter),
        (&format!("\n{a}"), Stricter),
        (&format!("\n# c\n{a}\n\n# d\n"), Read),
        (&format!("{a}\0RW 100 FLAT \"b\" 0\n"), Read),
        (&format!("#{}\n{a}", "x".repeat(11_000)), Read),
        (&format!("#{}\n{a}", "x".repeat(300_000)), Stricter),
        (&format!("{a}encoding=\"UTF-8\"\nparentFileNameHint=\"\"\nddb.x = \"RW 5\"\n"), Read),
    ] {
        lab.write("d.vmdk", [head, lines].concat());
        judge(&lab, "d.vmdk", lines, expect);
        lab.write("d.vmdk", [head, lines].concat().replace('\n', "\r\n"));
        judge(&lab, "d.vmdk", lines, expect);
    }
    for (change, to, expect) in [
        ("monolithicFlat", "vmfs", Read),
        ("monolithicFlat", "twoGbMaxExtentFlat", Read),
        ("monolithicFlat", "vmfsSparse", Read),
        ("monolithicFlat", "monolithicSparse", Refused),
        ("monolithicFlat", "custom", Refused),
        ("createType=", "createType = ", Refused),
        ("createType=", "", Refused),
        ("createType", "# createType", Stricter),
        ("CID=12345678\n", "", Read),
        ("parentCID=ffffffff\n", "", Refused),
        ("version=1", "version=9", Read),
        ("# Disk", "# disk", Read),
    ] {
        lab.write("d.vmdk", [head, a].concat().replacen(change, to, 1));
        judge(&lab, "d.vmdk", to, expect);
    }
}

/// A header may say no more than where the descriptor is; the descriptor then names the files.
#[test]
fn a_header_without_a_disk_points_to_a_descriptor() {
    let Some(lab) = Lab::open() else { return };
    lab.write("a", "a".repeat(51_200));
    let text = "CID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 100 FLAT \"a\" 0\n";
    let mut image = vec![0; 4096];
    image[..12].copy_from_slice(b"KDMV\x01\0\0\0\x03\0\0\0");
    image[512..][..text.len()].copy_from_slice(text.as_bytes());
    let mut with = |at: u8, expect| {
        image[28] = at;
        lab.write("h.vmdk", &image);
        judge(&lab, "h.vmdk", &format!("at sector {at}"), expect);
    };
    with(1, Read);
    with(2, Refused);
    with(200, Refused);
}

/// Extents of an ESXi host, which no tool here writes.
#[test]
fn an_esxi_hosts_sparse_extents_are_read() {
    let Some(lab) = Lab::open() else { return };
    let number = |value: u32| value.to_le_bytes();
    let mut cowd = b"COWD".to_vec();
    // Version, flags, sectors, grain, directory's sector and entries, the next free sector.
    for field in [1, 3, 4096 + 300, 1, 4, 2, 100] {
        cowd.extend(number(field));
    }
    cowd.resize(200 * 512, 0);
    cowd[4 * 512..][..8].copy_from_slice(&[number(5), number(37)].concat());
    for (entry, sector) in [(0, 100), (1, 101), (2, 103), (4095, 1), (4096, 120), (4395, 199)] {
        cowd[5 * 512 + entry * 4..][..4].copy_from_slice(&number(sector));
    }
    cowd[69 * 512..].copy_from_slice(&disk_bytes(131 * 512, 4));
    lab.write("a", "a".repeat(51_200));
    let text = "CID=1\nparentCID=ffffffff\ncreateType=\"vmfsSparse\"\n\
        RW 100 VMFS \"a\"\nRW 4396 VMFSSPARSE \"c\"\nRW 100 VMFS \"a\"\n";
    lab.write("d.vmdk", text);
    let cases: &[(&str, usize, &[u8], Expect)] = &[
        ("as it is", 0, b"C", Read),
        ("version 9", 4, &[9], Read),
        ("sectors 0", 12, &[0; 4], Stricter),
        ("sectors more than the directory has", 12, &[0, 0x30], Refused),
        ("grain of 2", 16, &[2], Read),
        ("grain of 3", 16, &[3], Stricter),
        ("grain of 2 GiB", 16, &[0, 0, 0x40], Refused),
        ("directory beyond the end", 20, &[0, 0, 1], Stricter),
        ("directory too large", 24, &[1, 0, 0, 2], Refused),
        ("no second table", 4 * 512 + 4, &[0], Read),
        ("grain beyond the end", 5 * 512, &[200], Stricter),
    ];
    for &(change, at, bytes, expect) in cases {
        let mut image = cowd.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        lab.write("c", image);
        judge(&lab, "d.vmdk", change, expect);
    }
    // Such a file has no descriptor of its own.
    lab.write("c", &cowd);
    judge(&lab, "c", "alone", Refused);
    assert_eq!(lab.we_read("c").unwrap_err().kind, ErrorKind::Corrupt);
}
