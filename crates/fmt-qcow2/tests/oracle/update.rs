//! Images that qemu-img makes, written to in place: it finds no fault with them, reads the disk that should be there, and
//! finds its snapshots as they were.

use fmt_core::{DiskMap, DiskPlan, Error, Extent, Source};
use fmt_qcow2::{Header, Qcow2Update};

use crate::common::live::{BACKING, INPUT, LIVE, Live};
use crate::common::{self, Lab, Random};

/// A raw disk.
struct Raw<'d>(&'d [u8]);

impl DiskMap for Raw<'_> {
    fn virtual_size(&self) -> u64 {
        self.0.len() as u64
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let source = Source::Data { file: BACKING, offset: at };
        Ok(Extent { start: at, len: self.virtual_size() - at, source })
    }
}

pub(crate) fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: INPUT, offset: start } }
}

pub(crate) fn zero(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Zero }
}

/// What the disk has after `extents` were written to it.
fn after(mut disk: Vec<u8>, extents: &[Extent], input: &[u8]) -> Vec<u8> {
    for extent in extents {
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        match extent.source {
            Source::Zero => disk[range].fill(0),
            Source::Data { offset, .. } => {
                let offset = usize::try_from(offset).unwrap();
                let len = range.len();
                disk[range].copy_from_slice(&input[offset..offset + len]);
            }
            _ => {}
        }
    }
    disk
}

pub(crate) fn write(live: &Live<'_>, extents: &[Extent], backing: Option<&[u8]>) -> Result<u64, Error> {
    let mut raw = backing.map(Raw);
    let mut update = Qcow2Update::open(live, live, LIVE)?;
    if let Some(raw) = &mut raw {
        update = update.backing(raw);
    }
    let max_len = update.max_len();
    extents.iter().try_for_each(|&extent| update.extent(extent))?;
    update.finish()?;
    Ok(max_len)
}

/// Writes `extents` to `image`, and checks everything.
#[track_caller]
pub(crate) fn verify(lab: &Lab, extents: &[Extent], input: &[u8], backing: Option<&[u8]>) {
    let before = lab.read("image");
    let disk = after(lab.oracle("image").unwrap(), extents, input);
    let snapshots = snapshots(lab);
    let live =
        Live::new(before.clone(), input, before.len() as u64).with_backing(backing.unwrap_or_default());
    let max_len = write(&live, extents, backing).unwrap();
    let bytes = live.bytes();
    lab.write("image", &bytes);

    lab.check("image");
    let found = lab.oracle("image").unwrap();
    let differs = found.iter().zip(&disk).position(|(found, expected)| found != expected);
    assert_eq!((differs, found.len()), (None, disk.len()), "the first byte that differs");
    assert!(lab.disk("image").unwrap() == disk);
    assert!(self::snapshots(lab) == snapshots, "a snapshot has changed");
    assert!(bytes.len() as u64 <= max_len, "{} of {max_len}", bytes.len());
    check_len(&before, &bytes, extents);
}

/// The file is no longer than what was taken makes it: a cluster for each that was touched, the L2 tables, and what counts
/// them.
fn check_len(before: &[u8], bytes: &[u8], extents: &[Extent]) {
    let header = Header::read(bytes).unwrap();
    let geometry = header.geometry();
    let size = geometry.cluster_size();
    let touched = fmt_core::testing::blocks(extents, size).len() as u64;
    let tables = fmt_core::testing::blocks(extents, geometry.l2_reach()).len() as u64;
    let taken = touched + tables;
    let per_block = size * 8 / u64::from(header.refcount_bits());
    let table = u64::from(header.refcounts().entries) * 8 / size;
    let counting =
        if header.refcounts() == Header::read(before).unwrap().refcounts() { 0 } else { 2 * table };
    let most = (before.len() as u64).div_ceil(size) + taken + counting + 2;
    // The blocks that are new count themselves, too.
    let most = most + (taken + counting).div_ceil(per_block - 1);
    assert!(bytes.len() as u64 <= most * size, "{} of {}", bytes.len(), most * size);
}

/// The disk of each snapshot.
fn snapshots(lab: &Lab) -> Vec<Vec<u8>> {
    let count = Header::read(lab.read("image").as_slice()).unwrap().snapshots().entries;
    let disk = |name| {
        lab.qemu_img(&format!("convert -f qcow2 -O raw -l snapshot.name=s{name} image snapshot.raw"));
        lab.read("snapshot.raw")
    };
    (0..count).map(disk).collect()
}

/// Where the extents of a disk of `size` bytes lie: of any length, at any place, with holes.
fn extents(size: u64, random: &mut Random) -> Vec<Extent> {
    let (mut at, mut found) = (0, Vec::new());
    let unit = [1, 512, 4096, 65536][random.below(4)];
    while at < size {
        let digits = 1 << random.below(20);
        let len = ((1 + random.below(digits) as u64).next_multiple_of(unit)).min(size - at);
        match random.below(5) {
            0 => {}
            1 => found.push(Extent { start: at, len, source: Source::Unallocated }),
            2 => found.push(zero(at, len)),
            _ => found.push(data(at, len)),
        }
        at += len;
    }
    found
}

/// Options that go together, for an image that may be written to.
fn options(random: &mut Random) -> String {
    let mut pick = |choices: &[&str]| choices[random.below(choices.len())].to_owned();
    let version_2 = pick(&["no", "no", "yes"]) == "yes";
    let extended = !version_2 && pick(&["yes", "no", "no"]) == "yes";
    let sizes = ["16k", "32k", "64k", "512k", "2M", "512", "512", "1k", "2k", "4k"];
    let size = pick(if extended { &sizes[..5] } else { &sizes });
    if version_2 {
        return format!("compat=0.10,cluster_size={size}");
    }
    let (bits, extended) =
        (pick(&["1", "2", "4", "8", "16", "32", "64"]), if extended { "on" } else { "off" });
    let (lazy, codec) = (pick(&["on", "off", "off"]), pick(&["zlib", "zstd"]));
    format!(
        "cluster_size={size},extended_l2={extended},refcount_bits={bits},lazy_refcounts={lazy},compression_type={codec}"
    )
}

/// Makes `image`, with everything in it that an image can have. Its disk may be one above `backing`.
fn scene(lab: &Lab, random: &mut Random, options: &str, backing: bool) {
    let size = (3 << 20) + 512;
    // Compressed clusters share clusters of the file, and snapshots share both, as often as refcounts can say.
    let narrow = ["=1,", "=2,", "=4,"].iter().any(|bits| options.contains(&format!("refcount_bits{bits}")));
    let packs = random.below(2) == 0;
    let shares = !narrow || (!packs && !options.contains("refcount_bits=1,"));
    let behind = if backing { " -B backing -F raw" } else { "" };
    let mut disk = common::noise(size, random.next());
    for _ in 0..10 {
        let (start, len) = (random.below(size), random.below(500_000));
        let value = u8::try_from(random.below(3)).unwrap();
        disk[start..(start + len).min(size)].fill(value);
    }
    lab.write("disk", &disk);
    if packs {
        lab.qemu_img(&format!("convert -c -f raw -O qcow2 -o {options}{behind} disk image"));
    } else if backing {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} -b backing -F raw image {size}"));
    } else {
        let kind = ["off", "off", "metadata", "full"][random.below(4)];
        lab.qemu_img(&format!("create -q -f qcow2 -o {options},preallocation={kind} image {size}"));
    }
    let rounds = random.below(4);
    for round in 0..=rounds {
        let commands: Vec<_> = (0..random.below(8)).map(|_| scribble(size, random)).collect();
        lab.qemu_io("image", &commands.iter().map(String::as_str).collect::<Vec<_>>());
        if round < rounds && shares && round < 2 {
            lab.qemu_img(&format!("snapshot -c s{round} image"));
        }
    }
}

/// Something for qemu-io to do.
fn scribble(size: usize, random: &mut Random) -> String {
    let kind = ["write -P 1", "write -P 2", "write -z", "write -z -u", "discard"][random.below(5)];
    let start = random.below(size) & !511;
    let digits = 1 << (9 + random.below(11));
    let len = ((1 + random.below(digits)).next_multiple_of(512)).min(size - start);
    format!("{kind} {start} {len}")
}

#[test]
fn images_and_extents_at_random() {
    let Some(lab) = Lab::open() else { return };
    let mut random = Random(50);
    let size = (3 << 20) + 512;
    let (input, below) = (common::noise(size, 51), common::noise(2_000_000 / 512 * 512, 52));
    lab.write("backing", &below);
    for round in 0..20 {
        let (options, backing) = (options(&mut random), random.below(3) == 0);
        println!("{round}: {options} {backing}");
        scene(&lab, &mut random, &options, backing);
        for _ in 0..2 {
            let extents = extents(size as u64, &mut random);
            verify(&lab, &extents, &input, backing.then_some(&below));
        }
    }
}

/// Whenever the steps end, tables point to what is there, and what is not in use may be lost but not the other way round.
#[test]
fn an_end_at_any_moment_leaves_no_more_than_leaks() {
    let Some(lab) = Lab::open() else { return };
    let mut random = Random(60);
    let size = (3 << 20) + 512;
    let input = common::noise(size, 61);
    for options in [
        "cluster_size=512",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=4k,compat=0.10",
        "cluster_size=16k,extended_l2=on",
        "cluster_size=64k",
    ] {
        scene(&lab, &mut random, options, false);
        let (before, disk) = (lab.read("image"), lab.oracle("image").unwrap());
        let snapshots = snapshots(&lab);
        let extents = extents(size as u64, &mut random);
        let whole = Live::new(before.clone(), &input, 1);
        write(&whole, &extents, None).unwrap();
        let (reads, done) = (whole.reads(), after(disk.clone(), &extents, &input));
        let mut ends: Vec<_> = reads.iter().rev().take(6).copied().collect();
        ends.extend((0..6).map(|_| reads[random.below(reads.len())]));
        ends.extend((0..2).map(|_| random.below(whole.count())));
        for end in ends {
            let live = Live::new(before.clone(), &input, random.next()).ending_after(end);
            assert_eq!(write(&live, &extents, None).unwrap_err().what, "the end");
            lab.write("image", &live.bytes());
            lab.check_leaks("image");
            let found = lab.oracle("image").unwrap();
            let sectors = found.chunks(512).zip(disk.chunks(512).zip(done.chunks(512)));
            let mixed = sectors.filter(|(found, (before, after))| found != before && found != after).count();
            // An extent may end within a sector of a cluster that is written in place.
            assert!(mixed <= extents.len(), "{options}: {mixed} sectors are neither as before nor as after");
            assert!(self::snapshots(&lab) == snapshots, "{options}: a snapshot has changed");
        }
    }
}

/// The smallest clusters and the widest refcounts: many of the clusters are tables, so that pages give way to each other at
/// any moment. When there is a read, the most steps wait.
#[test]
fn an_end_at_every_read_leaves_no_more_than_leaks() {
    let Some(lab) = Lab::open() else { return };
    let input = common::noise(4 << 20, 62);
    lab.qemu_img("create -q -f qcow2 -o cluster_size=512,refcount_bits=64 image 4M");
    lab.qemu_io("image", &["write -P 1 0 1M"]);
    lab.qemu_img("snapshot -c s0 image");
    let (before, extents) = (lab.read("image"), [zero(0, 100_000), data(200_000, 3_900_000)]);
    let whole = Live::new(before.clone(), &input, 0);
    write(&whole, &extents, None).unwrap();
    // The image has been growing for a while by then.
    for end in whole.reads().into_iter().rev().take(150) {
        let live = Live::new(before.clone(), &input, end as u64).ending_after(end);
        assert_eq!(write(&live, &extents, None).unwrap_err().what, "the end");
        lab.write("image", &live.bytes());
        lab.check_leaks("image");
    }
}
