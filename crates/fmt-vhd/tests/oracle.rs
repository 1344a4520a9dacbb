//! What `qemu-img` makes is read as `qemu-img` reads it, and what is written here is what `qemu-img` writes.

#![allow(clippy::unwrap_used, reason = "a test may stop")]
#![allow(clippy::cast_possible_truncation, reason = "images of a few megabytes")]

#[path = "../src/testing.rs"]
mod testing;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fmt_core::testing::{OUTPUT, PlannedFile, UpdatedFile};
use fmt_core::{DiskMap, DiskPlan, Extent, FileId, Source, Zeros};
use fmt_vhd::{Options, Subformat, VhdMap, VhdPlan, VhdUpdate, raw};
use tempfile::TempDir;
use testing::{IMAGE, INPUT, Image, Output, Random, disk_bytes, fixed_image};
use zerocopy::FromBytes;

/// A directory to work in, and the tools.
struct Oracle {
    dir: TempDir,
}

impl Oracle {
    /// `None`, and loudly so, where there is no `qemu-img`.
    fn new(test: &str) -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_ok() {
            return Some(Self { dir: TempDir::new().unwrap() });
        }
        assert!(std::env::var_os("CI").is_none(), "qemu-img is missing");
        // `eprintln` would be heard of failed tests only.
        let message = format!("SKIPPED: {test}: qemu-img is missing\n");
        std::io::stderr().write_all(message.as_bytes()).unwrap();
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool there; `Ok` with what it prints if it exits with 0.
    fn run(&self, tool: &str, args: &[&str]) -> Result<String, String> {
        let done = Command::new(tool).args(args).current_dir(self.dir.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }

    #[track_caller]
    fn img(&self, args: &[&str]) -> String {
        self.run("qemu-img", args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The disk that `qemu-img` finds in the VHD `name`, or why it finds none.
    fn disk(&self, name: &str) -> Result<Vec<u8>, String> {
        remove(&self.path("disk.raw"));
        self.run("qemu-img", &["convert", "-f", "vpc", "-O", "raw", name, "disk.raw"])?;
        Ok(self.read("disk.raw"))
    }

    /// What `qemu-img info` says of the VHD `name`, without what depends on the name and the file system.
    fn info(&self, name: &str) -> String {
        let info = self.img(&["info", "--output=json", "-f", "vpc", name]);
        let kept =
            info.lines().filter(|line| !line.contains("\"actual-size\"") && !line.contains("\"filename\""));
        kept.collect::<Vec<_>>().join("\n")
    }
}

fn remove(path: &Path) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
}

/// Writes `disk`, in extents of `piece` bytes.
fn written(disk: &[u8], piece: u64, options: &Options) -> Vec<u8> {
    let output = Output::new(disk);
    let size = disk.len() as u64;
    let mut plan = VhdPlan::begin(&output, IMAGE, size, options).unwrap();
    for start in (0..size).step_by(usize::try_from(piece).unwrap()) {
        let source = Source::Data { file: INPUT, offset: start };
        plan.extent(Extent { start, len: piece.min(size - start), source }).unwrap();
    }
    plan.finish().unwrap();
    output.into_bytes()
}

/// The options under which another image was written.
fn options_of(image: &[u8]) -> Options {
    let footer = raw::Footer::read_from_bytes(&image[image.len() - 512..]).unwrap();
    let subformat = if footer.disk_type == 2 { Subformat::Fixed } else { Subformat::Dynamic };
    Options {
        unique_id: footer.unique_id,
        time_stamp: footer.time_stamp.get(),
        subformat,
        force_size: &footer.creator_application == b"qem2",
        zeros: Zeros::Written,
    }
}

#[test]
fn images_of_every_option_are_read() {
    let Some(qemu) = Oracle::new("images_of_every_option_are_read") else { return };
    for subformat in ["dynamic", "fixed"] {
        for force in ["on", "off"] {
            for size in ["512", "2M", "7M", "20000256"] {
                let options = format!("subformat={subformat},force_size={force}");
                qemu.img(&["create", "-f", "vpc", "-o", &options, "t.vhd", size]);
                let size = qemu.disk("t.vhd").unwrap().len();
                let mut random = Random(size as u64);
                for _ in 0..6 {
                    let at = random.below(size / 512) * 512;
                    let len = (random.below(200) * 512 + 512).min(size - at);
                    let write = format!("write -P {} {at} {len}", random.below(255) + 1);
                    qemu.run("qemu-io", &["-f", "vpc", "-c", &write, "t.vhd"]).unwrap();
                }
                let disk = disk_bytes(&qemu.read("t.vhd"), None).unwrap();
                assert!(disk == qemu.disk("t.vhd").unwrap(), "{options} {size}");
            }
        }
    }
}

/// Asks both readers. Where this one reads, `qemu-img` reads the same; so what `qemu-img` refuses is refused.
#[track_caller]
fn agree(qemu: &Oracle, image: &[u8], why: &str) -> bool {
    qemu.write("u.vhd", image);
    let theirs = qemu.disk("u.vhd");
    match disk_bytes(image, None) {
        Ok(ours) => assert!(theirs.as_ref() == Ok(&ours), "{why}: {:?}", theirs.map(|disk| disk.len())),
        Err(_) => return false,
    }
    true
}

#[test]
fn hand_made_images_are_read_alike() {
    let Some(qemu) = Oracle::new("hand_made_images_are_read_alike") else { return };
    let base = || Image::new(24 * 8192, 8192).block(5, &[0xff]).block(0, &[0xff]).block(23, &[0xff]);
    let make = |change: &dyn Fn(&mut Image)| {
        let mut image = base();
        change(&mut image);
        image.bytes()
    };
    // Who made an image decides how large its disk is; no tool makes images for all of these.
    for creator in [
        b"vpc ",
        b"qemu",
        b"qem2",
        b"win ",
        b"d2v ",
        b"tap\0",
        b"CTXS",
        b"wa\0\0",
        b"vs  ",
        b"vbox",
        b"\0\0\0\0",
        b"VPC ",
    ] {
        for (cylinders, heads, sectors) in [(2, 4, 17), (0, 0, 0), (3, 3, 40), (65535, 16, 255), (5, 4, 17)] {
            let image = make(&|image: &mut Image| {
                image.footer.creator_application = *creator;
                image.footer.geometry =
                    raw::Geometry { cylinders: cylinders.into(), heads, sectors_per_track: sectors };
            });
            let fits = u32::from(cylinders) * u32::from(heads) * u32::from(sectors) <= 24 * 16
                || cylinders == 65535
                || !matches!(creator, b"vpc " | b"qemu");
            assert_eq!(agree(&qemu, &image, "creator"), fits, "{creator:?} {cylinders}");
        }
    }
    let read = [
        ("plain", base().bytes()),
        ("bitmaps of zeros", Image::new(65536, 8192).block(1, &[0]).block(7, &[0x33]).bytes()),
        ("blocks of 4096", Image::new(7 * 4096, 4096).block(6, &[0xff]).block(2, &[0xff]).bytes()),
        ("blocks of 4 MiB", Image::new(6 << 20, 4 << 20).block(1, &[0xff]).bytes()),
        ("size within a sector", make(&|image| image.footer.current_size.set(24 * 8192 - 1))),
        ("a block twice", make(&|image| image.table[7] = image.table[5])),
        ("overlapping blocks", make(&|image| image.table[7] = image.table[5] + 3)),
        ("a block over the footer", make(&|image| image.table[7] = image.table[23] + 1)),
        ("more entries than needed", make(&|image| image.header.max_table_entries.set(100))),
        (
            "features and reserved bytes",
            make(&|image| {
                image.footer.features.set(u32::MAX);
                image.footer.saved_state = 1;
                image.footer.reserved[300] = 1;
                image.header.data_offset.set(0);
            }),
        ),
        ("no footer at the end", base().bytes()[..base().bytes().len() - 512].to_vec()),
        ("a fixed disk", fixed_image(&[3; 8192])),
        ("a footer of 511 bytes", fixed_image(&[3; 8192])[..8192 + 511].to_vec()),
        ("a footer of 100 bytes", fixed_image(&[3; 8192])[..8192 + 100].to_vec()),
    ];
    for (why, image) in read {
        assert!(agree(&qemu, &image, why), "{why}");
    }
    let refused = [
        ("a block past the end", make(&|image| image.table[7] = image.table[23] + 2)),
        (
            "an unneeded entry past the end",
            make(&|image| {
                image.table.push(1 << 30);
                image.header.max_table_entries.set(25);
            }),
        ),
        ("a table that is too small", make(&|image| image.header.max_table_entries.set(23))),
        ("a table that is too large", make(&|image| image.header.max_table_entries.set(0x2000_0000))),
        ("a block size of three sectors", make(&|image| image.header.block_size.set(1536))),
        ("no block size", make(&|image| image.header.block_size.set(0))),
        ("more than 2040 GiB", make(&|image| image.footer.current_size.set((2040 << 30) + 512))),
        ("another cookie", make(&|image| image.header.cookie[7] = b'E')),
        ("the footer of a fixed disk at the start", fixed_image(&[])),
        ("no copy of the footer", [&[0; 512], &base().bytes()[512..]].concat()),
        ("bytes behind a fixed disk's footer", [&fixed_image(&[3; 8192])[..], &[0]].concat()),
        ("nothing", Vec::new()),
    ];
    for (why, image) in refused {
        assert!(!agree(&qemu, &image, why), "{why}");
        assert!(qemu.disk("u.vhd").is_err(), "{why}: qemu-img reads it");
    }
}

/// Random damage: whatever this reader still reads, `qemu-img` reads too, and the same.
#[test]
fn damaged_images_are_never_read_otherwise() {
    let Some(qemu) = Oracle::new("damaged_images_are_never_read_otherwise") else { return };
    let mut random = Random(11);
    let mut read = 0;
    for round in 0..250 {
        let mut image = Image::new(12 * 4096, 4096).block(4, &[0xff]).block(1, &[0xff]).block(11, &[0x0f]);
        match round % 5 {
            0 => image.table[random.below(12)] = random.below(40) as u32,
            1 => image.footer.current_size.set(random.below(14 * 4096) as u64),
            2 => image.header.max_table_entries.set(10 + random.below(40) as u32),
            3 => image.header.table_offset.set(512 * random.below(20) as u64),
            _ => image.footer.creator_application = *[b"vpc ", b"win "][random.below(2)],
        }
        let mut bytes = image.bytes();
        if random.below(3) == 0 {
            bytes.truncate(bytes.len() - random.below(1200));
        }
        read += usize::from(agree(&qemu, &bytes, &format!("round {round}")));
    }
    assert!((50..200).contains(&read), "{read} were read");
}

/// `qemu-img` shows no parent and reads no bitmap; this crate does, and that is the one difference in what is read.
#[test]
fn a_differencing_image_is_read_by_the_specification_instead() {
    let Some(qemu) = Oracle::new("a_differencing_image_is_read_by_the_specification_instead") else { return };
    let image = Image::new(3 * 4096, 4096).block(1, &[0x0f]).differencing().bytes();
    qemu.write("t.vhd", &image);
    let theirs = qemu.disk("t.vhd").unwrap();
    let ours = disk_bytes(&image, Some(&[0xee; 3 * 4096])).unwrap();
    assert_eq!(theirs[4096 + 2048..2 * 4096], ours[4096 + 2048..2 * 4096]);
    assert!(theirs[..4096].iter().all(|&byte| byte == 0) && theirs[4096] != 0);
    assert!(ours[..4096 + 2048].iter().chain(&ours[2 * 4096..]).all(|&byte| byte == 0xee));
}

/// Given the same identity and time, every byte is as `qemu-img dd` writes it.
#[test]
fn dynamic_images_are_those_of_dd() {
    let Some(qemu) = Oracle::new("dynamic_images_are_those_of_dd") else { return };
    for len in [0, 512, 1 << 20, 2 << 20, (2 << 20) + 512, (6 << 20) - 512, 9_000_448] {
        let disk = Random(5).bytes(len);
        qemu.write("in.raw", &disk);
        qemu.img(&["dd", "-f", "raw", "-O", "vpc", "bs=1048576", "if=in.raw", "of=theirs.vhd"]);
        let theirs = qemu.read("theirs.vhd");
        for piece in [4096, 1 << 30] {
            let ours = written(&disk, piece, &options_of(&theirs));
            assert!(ours == theirs, "another file for {len} in pieces of {piece}");
        }
        qemu.write("ours.vhd", &written(&disk, 1 << 20, &Options::default()));
        assert_eq!(qemu.info("ours.vhd"), qemu.info("theirs.vhd"));
        // Virtual sizes are rounded up; `compare` takes what is missing for zeros.
        qemu.img(&["compare", "-f", "vpc", "-F", "raw", "ours.vhd", "in.raw"]);
    }
}

/// Tables of many sectors, and of many windows.
#[test]
fn images_without_blocks_are_those_of_create() {
    let Some(qemu) = Oracle::new("images_without_blocks_are_those_of_create") else { return };
    for (size, options) in
        [("300M", "force_size=off"), ("100G", "force_size=on"), ("2040G", "force_size=off")]
    {
        qemu.img(&["create", "-f", "vpc", "-o", options, "t.vhd", size]);
        let theirs = qemu.read("t.vhd");
        let size = VhdMap::open(theirs.as_slice(), IMAGE).unwrap().virtual_size();
        let output = Output::new(&[]);
        let plan = VhdPlan::begin(&output, IMAGE, size, &options_of(&theirs)).unwrap();
        plan.finish().unwrap();
        assert!(output.into_bytes() == theirs, "another file for {size}");
    }
}

#[test]
fn fixed_images_and_forced_sizes_are_those_of_convert() {
    let Some(qemu) = Oracle::new("fixed_images_and_forced_sizes_are_those_of_convert") else { return };
    for options in ["subformat=fixed,force_size=off", "subformat=fixed,force_size=on", "force_size=on"] {
        for len in [512, 1 << 20, 5_000_192] {
            let disk = Random(6).bytes(len);
            qemu.write("in.raw", &disk);
            qemu.img(&["convert", "-f", "raw", "-O", "vpc", "-o", options, "in.raw", "theirs.vhd"]);
            let theirs = qemu.read("theirs.vhd");
            let ours = written(&disk, 1 << 20, &options_of(&theirs));
            assert!(ours == theirs, "another file for {options} {len}");
            assert_eq!(VhdMap::open(theirs.as_slice(), FileId(0)).unwrap().virtual_size() % 512, 0);
        }
    }
}

/// As `qemu-img convert` writes it: blocks of zeros are not in the file. Every byte is the same.
#[test]
fn absent_zeros_are_those_of_convert() {
    let Some(qemu) = Oracle::new("absent_zeros_are_those_of_convert") else { return };
    let mut disk = vec![0; 21 << 20];
    disk[5 << 20..][..6 << 20].copy_from_slice(&Random(9).bytes(6 << 20));
    disk[18 << 20..][..4096].copy_from_slice(&Random(9).bytes(4096));
    qemu.write("in.raw", &disk);
    for options in ["subformat=dynamic", "subformat=fixed"] {
        qemu.img(&["convert", "-f", "raw", "-O", "vpc", "-o", options, "in.raw", "theirs.vhd"]);
        let theirs = qemu.read("theirs.vhd");
        let output = Output::new(&disk);
        let options = Options { zeros: Zeros::Absent, ..options_of(&theirs) };
        let mut plan = VhdPlan::begin(&output, IMAGE, disk.len() as u64, &options).unwrap();
        for start in (0..disk.len()).step_by(4096) {
            let is_zero = disk[start..][..4096].iter().all(|&byte| byte == 0);
            let (start, len) = (start as u64, 4096);
            let source = if is_zero { Source::Zero } else { Source::Data { file: INPUT, offset: start } };
            plan.extent(Extent { start, len, source }).unwrap();
        }
        plan.finish().unwrap();
        assert!(output.into_bytes() == theirs, "another file for {:?}", options.subformat);
    }
}

/// A disk with holes: they are not allocated, and read as zeros.
#[test]
fn a_sparse_disk_is_read_back_by_qemu() {
    let Some(qemu) = Oracle::new("a_sparse_disk_is_read_back_by_qemu") else { return };
    let mut disk = vec![0; 11 << 20];
    let data = Random(8).bytes(70_000);
    let output = Output::new(&data);
    let mut plan = VhdPlan::begin(&output, IMAGE, disk.len() as u64, &Options::default()).unwrap();
    for (start, offset, len) in [(3 << 20, 0, 300), ((4 << 20) - 100, 400, 5000), (10_000_000, 6000, 64_000)]
    {
        let source = Source::Data { file: INPUT, offset };
        plan.extent(Extent { start, len, source }).unwrap();
        let (start, offset, len) = (start as usize, offset as usize, len as usize);
        disk[start..start + len].copy_from_slice(&data[offset..offset + len]);
    }
    plan.finish().unwrap();
    qemu.write("t.vhd", &output.into_bytes());
    assert!(qemu.disk("t.vhd").unwrap()[..disk.len()] == disk);
    assert_eq!(qemu.read("t.vhd").len(), 2048 + 3 * ((2 << 20) + 512) + 512);
}

#[test]
fn sizes_and_geometries_are_those_of_create() {
    let Some(qemu) = Oracle::new("sizes_and_geometries_are_those_of_create") else { return };
    let mut random = Random(9);
    // Where the number of heads or of sectors per track changes, and sizes of every magnitude.
    let edges = [4 * 1024 * 17, 16 * 1024 * 17, 16 * 1024 * 31, 65535 * 16 * 63, 65535 * 16 * 255];
    let near =
        edges.iter().flat_map(|edge| [edge - 68, edge - 1, *edge, edge + 1, edge + 4080].map(|n| n * 512));
    let mut sizes: Vec<u64> = near.collect();
    sizes.extend((10..41).map(|bits| (1u64 << bits) + random.below(1 << bits) as u64));
    for size in sizes {
        qemu.img(&["create", "-f", "vpc", "t.vhd", &size.to_string()]);
        let theirs = qemu.read("t.vhd");
        let theirs = raw::Footer::read_from_bytes(&theirs[..512]).unwrap();
        let ours = fmt_vhd::plan::virtual_size(size, &Options::default()).unwrap();
        let geometry = fmt_vhd::Geometry::at_least(size.div_ceil(512));
        assert_eq!((ours, geometry), (theirs.current_size.get(), theirs.geometry.into()), "{size}");
    }
    for size in [(2040u64 << 30) + 1, 1 << 62] {
        qemu.run("qemu-img", &["create", "-f", "vpc", "t.vhd", &size.to_string()]).unwrap_err();
    }
}

/// Writes `extents` into `image`; also returns what the disk should have become.
fn updated(image: &[u8], disk: &[u8], extents: &[Extent], seed: u64) -> (Vec<u8>, Vec<u8>) {
    let file = UpdatedFile::new(image.to_vec(), seed);
    PlannedFile::write(VhdUpdate::open(&file, &file, OUTPUT), extents).unwrap();
    let wanted = file.wanted(disk, extents);
    (file.bytes().clone(), wanted)
}

/// Extents on a disk of `size` bytes, of every kind and in pieces of up to `most` bytes.
fn some_extents(random: &mut Random, size: u64, most: usize) -> Vec<Extent> {
    let (mut extents, mut start) = (Vec::new(), random.below(most) as u64);
    while start < size {
        let len = (random.below(most) as u64 + 1).min(size - start);
        let data = Source::Data { file: FileId(0), offset: random.below(1 << 20) as u64 };
        let source = [Source::Zero, Source::Unallocated, data, data][random.below(4)];
        extents.push(Extent { start, len, source });
        start += len + [0, random.below(most)][random.below(2)] as u64;
    }
    extents
}

#[test]
fn an_image_that_is_written_to_is_read_by_qemu() {
    let Some(qemu) = Oracle::new("an_image_that_is_written_to_is_read_by_qemu") else { return };
    let mut random = Random(12);
    for options in ["subformat=dynamic", "subformat=fixed", "subformat=dynamic,force_size=on"] {
        qemu.img(&["create", "-f", "vpc", "-o", options, "t.vhd", "11M"]);
        let info = qemu.info("t.vhd");
        for (round, most) in [3 << 20, 5000, 1 << 20, 600_000].into_iter().enumerate() {
            let before = qemu.disk("t.vhd").unwrap();
            let extents = some_extents(&mut random, before.len() as u64, most);
            let (image, wanted) = updated(&qemu.read("t.vhd"), &before, &extents, round as u64);
            qemu.write("t.vhd", &image);
            assert!(qemu.disk("t.vhd").unwrap() == wanted, "{options}, round {round}");
            // And QEMU goes on with it.
            qemu.run("qemu-io", &["-f", "vpc", "-c", "write -P 7 6M 70k", "t.vhd"]).unwrap();
        }
        // That of the file changes, and of the disk it has been compared.
        let told =
            |info: &str| info.lines().filter(|line| !line.contains("virtual-size")).collect::<String>();
        assert_eq!(told(&qemu.info("t.vhd")), told(&info));
    }
}

/// Where data comes alone, every byte is as `qemu-img convert -n` writes it, bitmaps that were not all ones included.
#[test]
fn an_image_becomes_what_convert_makes_of_it() {
    let Some(qemu) = Oracle::new("an_image_becomes_what_convert_makes_of_it") else { return };
    for options in ["subformat=dynamic", "subformat=fixed"] {
        qemu.img(&["create", "-f", "vpc", "-o", options, "t.vhd", "9M"]);
        qemu.run("qemu-io", &["-f", "vpc", "-c", "write -P 7 5M 1k", "t.vhd"]).unwrap();
        let mut image = qemu.read("t.vhd");
        if options == "subformat=dynamic" {
            image[2048..2048 + 100].fill(0x55);
        }
        qemu.write("t.vhd", &image);
        let before = qemu.disk("t.vhd").unwrap();
        // What the disk has behind the input is left alone, in the middle of a block.
        let data = Source::Data { file: FileId(0), offset: 0 };
        let extent = Extent { start: 0, len: 7 << 20, source: data };
        let (ours, wanted) = updated(&image, &before, &[extent], 3);
        qemu.write("in.raw", &wanted[..7 << 20]);
        qemu.img(&["convert", "-n", "-f", "raw", "-O", "vpc", "in.raw", "t.vhd"]);
        assert!(qemu.read("t.vhd") == ours, "another file for {options}");
    }
}
