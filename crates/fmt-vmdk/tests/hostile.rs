//! Images that nobody means well with: no panic, no hang, no extent outside its file.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::cell::RefCell;

use fmt_core::testing::{OUTPUT, PlannedFile, UpdatedFile};
use fmt_core::{DiskMap, DiskPlan, Error, ErrorKind, Extent, FileId, ReadAt, Source, Step, StepSink};
use fmt_vmdk::{Options, VmdkMap, VmdkPlan, VmdkUpdate};

const FILE: FileId = FileId(0);

/// A file in memory that plans are carried out in.
#[derive(Debug, Default)]
struct Memory(RefCell<Vec<u8>>);

impl StepSink for Memory {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::SetLen { len, .. } => self.0.borrow_mut().resize(usize::try_from(len).unwrap(), 0),
            Step::Write { dst, bytes, .. } => {
                self.0.borrow_mut()[usize::try_from(dst).unwrap()..][..bytes.len()].copy_from_slice(bytes);
            }
            Step::Fill { .. } => {}
        }
        Ok(())
    }
}

/// A sparse image of 40 MiB with three grains in two tables, and its header, tables and grains at the places that
/// `qemu-img` gives them: directory at sector 30, tables at sectors 31 and 35.
fn sparse() -> Vec<u8> {
    let memory = Memory::default();
    let mut plan = VmdkPlan::begin(&memory, FILE, 40 << 20, &Options::new(1, b"x")).unwrap();
    for start in [0, 1 << 20, 33 << 20] {
        plan.extent(Extent { start, len: 512, source: Source::Zero }).unwrap();
    }
    plan.finish().unwrap();
    memory.0.into_inner()
}

const DIRECTORY: usize = 30 * 512;
const TABLE: usize = 31 * 512;

/// The same with markers before zlib streams.
fn stream() -> Vec<u8> {
    let mut image = sparse();
    image[10] = 3;
    image[77] = 1;
    for grain in 0..3_usize {
        let at = 65_536 * (grain + 1);
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&[7; 65_536], 6);
        image[at + 8..at + 12].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        image[at + 12..][..packed.len()].copy_from_slice(&packed);
    }
    image
}

fn cowd() -> Vec<u8> {
    let fields = [1_u32, 3, 9000, 1, 4, 3, 100].map(u32::to_le_bytes).concat();
    let mut image = [b"COWD".to_vec(), fields].concat();
    image.resize(200 * 512, 0);
    for (at, sector) in [(2048, 5_u32), (2052, 37), (2560, 100), (2564, 101), (2600, 199), (37 * 512, 7)] {
        image[at..at + 4].copy_from_slice(&sector.to_le_bytes());
    }
    image
}

const TEXT: &[u8] = b"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
    createType=\"twoGbMaxExtentSparse\"\nparentFileNameHint=\"p.vmdk\"\n# Extent description\n\
    RW 81920 SPARSE \"s\"\nRW 100 FLAT \"f\" 3\nRW 9000 VMFSSPARSE \"c\"\nRW 10 VMFS \"f\"\n\nddb.x = \"4\"\n";

/// The files that [`TEXT`] names.
#[derive(Clone)]
struct Files {
    sparse: Vec<u8>,
    cowd: Vec<u8>,
    flat: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        Self { sparse: sparse(), cowd: cowd(), flat: vec![1; 30_000] }
    }

    fn of(&self, file: FileId, image: &[u8]) -> u64 {
        let file = match file.0 {
            1 => &self.sparse,
            2 => &self.cowd,
            3 => &self.flat,
            _ => return image.len() as u64,
        };
        file.len() as u64
    }

    fn open<'f>(&'f self, image: &'f [u8]) -> Result<VmdkMap<&'f [u8]>, Error> {
        VmdkMap::open_with(image, FILE, |line| match line.name.as_slice() {
            b"s" => Ok((self.sparse.as_slice(), FileId(1))),
            b"c" => Ok((self.cowd.as_slice(), FileId(2))),
            b"f" => Ok((self.flat.as_slice(), FileId(3))),
            _ => Err(Error::new(ErrorKind::Io, 0, "no such file")),
        })
    }
}

/// Walks over the disk from `from` on, and checks what is found. Returns whether it could be opened.
fn walk(files: &Files, image: &[u8], from: u64) -> bool {
    let Ok(mut map) = files.open(image) else { return false };
    let size = map.virtual_size();
    let mut at = if size == 0 { 0 } else { from % size };
    for _ in 0..20 {
        if at >= size {
            break;
        }
        let Ok(extent) = map.extent_at(at) else {
            at = at.saturating_add(1 << 16);
            continue;
        };
        assert!(
            extent.start <= at && at < extent.end() && extent.end() <= size,
            "{extent:?} at {at} of {size}"
        );
        let inside = match extent.source {
            Source::Data { file, offset } => (file, offset, extent.len),
            Source::Compressed { unit, .. } => {
                assert!(extent.len <= u64::from(unit.unit_len) && unit.unit_len <= 2 << 20 && unit.len > 0);
                (unit.file, unit.offset, u64::from(unit.len))
            }
            _ => (FILE, 0, 0),
        };
        let end = inside.1.checked_add(inside.2).unwrap();
        assert!(end <= files.of(inside.0, image), "{extent:?} outside its file");
        at = extent.end();
    }
    true
}

fn kind(image: &[u8]) -> Option<ErrorKind> {
    VmdkMap::open(image, FILE).err().map(|error| error.kind)
}

#[test]
fn the_images_are_sound() {
    let files = Files::new();
    for image in [&sparse(), &stream(), TEXT] {
        assert!(walk(&files, image, 0));
    }
    let mut map = files.open(TEXT).unwrap();
    let found: Vec<Extent> = map.extents(0..u64::MAX).collect::<Result<_, _>>().unwrap();
    assert_eq!(found.last().unwrap().end(), (81_920 + 100 + 9000 + 10) * 512);
}

/// Numbers of the header at their extremes, alone and in pairs.
#[test]
fn extreme_header_fields_are_survived() {
    let files = Files::new();
    let fields =
        [(4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8), (64, 8), (77, 2)];
    let values = [
        0,
        1,
        3,
        128,
        512,
        0x20_0000,
        u64::from(u32::MAX),
        1 << 54,
        1 << 55,
        u64::MAX / 512,
        1 << 63,
        u64::MAX,
    ];
    let set = |image: &mut [u8], (at, len): (usize, usize), value: u64| {
        image[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    };
    for base in [sparse(), stream()] {
        for one in fields {
            for value in values {
                let mut image = base.clone();
                set(&mut image, one, value);
                walk(&files, &image, 0);
                for other in fields.into_iter().filter(|_| [1, 1 << 54].contains(&value)) {
                    let mut pair = image[..66_000].to_vec();
                    set(&mut pair, other, !value);
                    walk(&files, &pair, 1 << 20);
                }
            }
        }
    }
    let mut image = cowd();
    for field in (4..32).step_by(4) {
        for value in values {
            let old: [u8; 4] = image[field..field + 4].try_into().unwrap();
            set(&mut image, (field, 4), value);
            walk(&Files { cowd: image.clone(), ..Files::new() }, TEXT, 82_100 * 512);
            image[field..field + 4].copy_from_slice(&old);
        }
    }
}

#[test]
fn truncation_at_every_boundary_is_survived() {
    let files = Files::new();
    for image in [sparse(), stream(), cowd(), TEXT.to_vec()] {
        let boundaries = (0..image.len())
            .filter(|len| (len + 1) % 512 < 3 && (*len < 40_000 || (len + 1) % 8192 < 3) || *len < 700);
        for len in boundaries {
            walk(&files, &image[..len], 0);
        }
    }
    for len in 0..4 {
        assert_eq!(kind(&sparse()[..len]), Some(ErrorKind::NotThisFormat), "{len}");
    }
}

#[test]
fn what_is_no_vmdk_is_told_apart() {
    assert_eq!(kind(&[0; 5000]), Some(ErrorKind::NotThisFormat));
    assert_eq!(kind(b"QFI\xfb\0\0\0\x03"), Some(ErrorKind::NotThisFormat));
    assert_eq!(kind(TEXT), Some(ErrorKind::UnsupportedFeature));
    assert_eq!(kind(b"KDMV"), Some(ErrorKind::UnsupportedFeature));
}

/// Tables that point into themselves, into each other, to the header and beyond the end.
#[test]
fn tables_that_point_anywhere_are_survived() {
    let files = Files::new();
    let places = [0, 1, 2, 21, 30, 31, 35, 127, 128, 300, 0x7fff_ffff, u32::MAX];
    for base in [sparse(), stream()] {
        for table in places {
            for entry in places {
                let mut image = base.clone();
                image[DIRECTORY..DIRECTORY + 4].copy_from_slice(&table.to_le_bytes());
                for at in (TABLE..TABLE + 2048).step_by(4) {
                    image[at..at + 4].copy_from_slice(&entry.to_le_bytes());
                }
                walk(&files, &image, 0);
            }
        }
    }
}

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counted<'b> {
    bytes: &'b [u8],
    len: u64,
    read: RefCell<u64>,
}

impl ReadAt for Counted<'_> {
    fn file_len(&self) -> u64 {
        self.len
    }

    /// What is behind `bytes` reads as 31s: directories and tables point to one another.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        *self.read.borrow_mut() += buf.len() as u64;
        for (at, byte) in (usize::try_from(offset).unwrap()..).zip(buf) {
            *byte = self.bytes.get(at).copied().unwrap_or([31, 0, 0, 0][at % 4]);
        }
        Ok(())
    }
}

/// The largest directory, in a file that is really that long: a lookup costs what it costs in a small image.
#[test]
fn a_lookup_in_the_largest_disk_costs_little() {
    let mut image = sparse()[..DIRECTORY].to_vec();
    image[12..20].copy_from_slice(&(1_u64 << 41).to_le_bytes());
    image[8] = 1;
    let source = Counted { bytes: &image, len: 1 << 40, read: RefCell::default() };
    let mut map = VmdkMap::open(&source, FILE).unwrap();
    assert_eq!(map.virtual_size(), 1 << 50);
    for at in [0, 1 << 30, (1 << 50) - 1, 5 << 40] {
        let before = *source.read.borrow();
        map.extent_at(at).unwrap();
        assert!(*source.read.borrow() - before <= 128 << 10);
    }
    image[12..20].copy_from_slice(&((1_u64 << 41) + 1).to_le_bytes());
    let source = Counted { bytes: &image, len: 1 << 40, read: RefCell::default() };
    assert_eq!(VmdkMap::open(&source, FILE).unwrap_err().kind, ErrorKind::TooLarge);
}

/// A table for each grain, and neighbours far apart: an extent does not go from window to window for long.
#[test]
fn a_lookup_in_tiny_tables_costs_little() {
    const GRAINS: u32 = 8192;
    let mut image = sparse()[..DIRECTORY].to_vec();
    image[12..20].copy_from_slice(&u64::from(GRAINS * 8).to_le_bytes());
    image[20..28].copy_from_slice(&8_u64.to_le_bytes());
    image[44..48].copy_from_slice(&1_u32.to_le_bytes());
    image[8] = 1;
    // Two tables, in turn, that say that there is no grain.
    image.extend((0..GRAINS).flat_map(|grain| (128 + grain % 2 * 128).to_le_bytes()));
    image.resize(257 * 512, 0);
    let source = Counted { bytes: &image, len: image.len() as u64, read: RefCell::default() };
    let mut map = VmdkMap::open(&source, FILE).unwrap();
    let before = *source.read.borrow();
    let extent = map.extent_at(0).unwrap();
    assert_eq!((extent.start, extent.source), (0, Source::Unallocated));
    assert!(*source.read.borrow() - before <= 512 << 10, "{}", *source.read.borrow() - before);
}

/// A place beyond the end is asked for: an error, not a panic.
#[test]
fn a_place_beyond_the_disk_is_an_error() {
    let image = sparse();
    let mut map = VmdkMap::open(image.as_slice(), FILE).unwrap();
    assert!(map.extent_at(40 << 20).is_err() && map.extent_at(u64::MAX).is_err());
}

/// Bytes changed at random, most of them where they count: headers, descriptors, directories, tables, markers.
#[test]
fn mutations_are_survived() {
    let sound = Files::new();
    let mut files = sound.clone();
    let (bases, mut seed, mut opened) = ([sparse(), stream(), TEXT.to_vec()], 1_u64, 0);
    let mut random = move |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((seed >> 33) % bound as u64).unwrap()
    };
    let places = [(0, 80), (0, 80), (512, 300), (DIRECTORY, 8), (TABLE, 80), (65_536, 40), (0, 1 << 20)];
    for round in 0..6000 {
        let mut image = bases[round % 3].clone();
        if round % 6 == 5 {
            // The descriptor is sound, and a file that it names is not.
            let len = files.cowd.len();
            let bound = [32, len][random(2)];
            files.cowd[random(bound)] = u8::try_from(random(256)).unwrap();
            files.sparse[random(80)] = u8::try_from(random(256)).unwrap();
        } else {
            for _ in 0..=random(4) {
                let (from, count) = places[random(places.len())];
                let at = (from + random(count)) % image.len();
                image[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', image[at] ^ (1 << random(8))][random(8)];
            }
        }
        opened += u32::from(walk(&files, &image, random(1 << 27) as u64));
        if round % 6 == 5 {
            files = sound.clone();
        }
    }
    assert!(opened > 1000, "mutations that nothing can open test nothing: {opened}");
}

fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: FILE, offset: 0 } }
}

/// Writes to an image, if that can be: never to its header and directories, whatever the tables say. Returns whether
/// anything was written.
fn write(image: &[u8]) -> Result<bool, Error> {
    let file = UpdatedFile::of_stranger(image.to_vec());
    let update = VmdkUpdate::open(&file, &file, OUTPUT, 0xabcd)?;
    let size = update.virtual_size();
    // What a case takes is what a grain takes.
    if update.block_len().is_none_or(|grain_len| grain_len > 1 << 20) {
        return Ok(false);
    }
    let extents = [data(0, 100_000), data(1 << 20, 5), data((32 << 20) - 5, 10), data(33 << 20, 1 << 16)];
    let extents: Vec<_> = extents.iter().filter_map(|extent| extent.clip(&(0..size))).collect();
    let result = PlannedFile::write(Ok(update), &extents);

    let map = VmdkMap::open(image, FILE)?;
    let extent = map.parts()[0].sparse().unwrap();
    let directory = |at: u64| at..at + extent.gd_entries * 4;
    let redundant = extent.places.and_then(|places| places.rgd_at).map(directory);
    let taken = [Some(0..512), Some(directory(extent.gd_at)), redundant];
    for range in file.written() {
        let (start, end) = (range.start as u64, range.end as u64);
        let overlaps = |taken: &core::ops::Range<u64>| taken.start < end && start < taken.end;
        assert!(!taken.iter().flatten().any(overlaps), "{start}..{end} is among {taken:?}");
    }
    result.map(|()| !file.written().is_empty())
}

#[test]
fn tables_that_point_anywhere_are_not_written_to() {
    assert_eq!(write(&sparse()), Ok(true));
    let grains_at = u32::from(sparse()[64]);
    let put = |at: usize, sector: u32| {
        let mut image = sparse();
        image[at..at + 4].copy_from_slice(&sector.to_le_bytes());
        write(&image).map_err(|error| error.kind)
    };
    let corrupt = Err(ErrorKind::Corrupt);
    // Grains among what lies before the grains, and behind the end of the file.
    for sector in [1, 20, 30, 31, grains_at - 1, grains_at + 4 * 128, u32::MAX] {
        assert_eq!(put(TABLE, sector), corrupt, "{sector}");
    }
    // A grain of two names is the image's own affair.
    assert_eq!(put(TABLE + 4, grains_at), Ok(true));
    // Tables in the header, the descriptor, the directories, among the grains, and behind the end.
    for sector in [1, 20, 21, 30, grains_at - 3, grains_at, u32::MAX] {
        assert_eq!(put(DIRECTORY, sector), corrupt, "{sector}");
    }
    // Without a table there is no place for an entry.
    assert_eq!(put(DIRECTORY, 0), Err(ErrorKind::UnsupportedFeature));
    // Copies of one place.
    let redundant = 21 * 512;
    assert_eq!(put(redundant, 31), Ok(true));
    for sector in [0, 1, 30, grains_at] {
        assert_eq!(put(redundant, sector), corrupt, "{sector}");
    }
}

#[test]
fn places_that_are_not_apart_are_not_written_to() {
    let put = |field: usize, sectors: u64| {
        let mut image = sparse();
        image[field..field + 8].copy_from_slice(&sectors.to_le_bytes());
        write(&image).map_err(|error| error.kind)
    };
    // Descriptor, redundant directory, directory, and what comes before the grains.
    assert_eq!(put(28, 2), Err(ErrorKind::UnsupportedFeature));
    for (field, sectors) in [(36, 21), (36, 1 << 40), (48, 1), (48, 140), (56, 20), (64, 0), (64, 30)] {
        assert_eq!(put(field, sectors), Err(ErrorKind::Corrupt), "{field} {sectors}");
    }
    assert_eq!(put(36, 0), Err(ErrorKind::TooLarge), "a descriptor without room");
    assert_eq!(write(&cowd()).map_err(|error| error.kind), Err(ErrorKind::Corrupt), "no descriptor");
    assert_eq!(write(&stream()).map_err(|error| error.kind), Err(ErrorKind::UnsupportedFeature));
}

#[test]
fn writing_to_mutations_is_survived() {
    let (image, mut state) = (sparse(), 0x1234_5678_9abc_def1_u64);
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from((state >> 11) % bound as u64).unwrap()
    };
    let (mut written, mut refused) = (0, 0);
    for _ in 0..300 {
        let mut image = image.clone();
        for _ in 0..=random(2) {
            let (place, len) =
                [(0, 80), (512, 400), (21 * 512, 8), (22 * 512, 80), (DIRECTORY, 8), (TABLE, 80)][random(6)];
            let at = place + random(len);
            image[at] =
                [image[at] ^ (1 << random(8)), 0xff, 0, u8::try_from(random(256)).unwrap()][random(4)];
        }
        match write(&image) {
            Ok(_) => written += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(written > 50 && refused > 50, "{written} {refused}");
}
