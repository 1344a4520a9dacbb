//! Images from people you do not trust: nothing here may panic, run long, or lead outside the file.

#![allow(clippy::unwrap_used, reason = "a test may stop")]
#![allow(clippy::cast_possible_truncation, reason = "images of a few megabytes")]

#[path = "../src/testing.rs"]
mod testing;

use core::cell::Cell;

use fmt_core::testing::{OUTPUT, PlannedFile, UpdatedFile};
use fmt_core::{DiskMap, Error, ErrorKind, Extent, ReadAt, Source};
use fmt_vhd::{VhdMap, VhdUpdate};
use testing::{IMAGE, Image, Random, fixed_image};

/// The most questions that a test asks of one image.
const QUESTIONS: usize = 64;

/// Asks an image what a reader could; every answer must make sense. Returns whether it could be opened.
fn ask(image: &[u8], random: &mut Random) -> bool {
    let Ok(mut map) = VhdMap::open(image, IMAGE) else { return false };
    let size = map.virtual_size();
    assert!(size <= fmt_vhd::footer::MAX_DISK_SIZE && size.is_multiple_of(512));
    let mut next = 0;
    for _ in 0..QUESTIONS {
        if size == 0 {
            break;
        }
        let far = random.below(usize::try_from(size).unwrap()) as u64;
        for at in [next % size, far, size - 1] {
            let Ok(extent) = map.extent_at(at) else { continue };
            assert!(extent.start <= at && at < extent.end() && extent.end() <= size, "{extent:?} for {at}");
            inside(extent, image.len() as u64);
            next = extent.end();
        }
    }
    let locators: Vec<_> = map.parent().into_iter().flat_map(|parent| parent.locators()).collect();
    for locator in locators {
        let _ = locator.read(map.source());
    }
    true
}

/// Writes to an image: what it begins with stays as it is, and of the table what leads somewhere. Returns whether something
/// was written.
fn write(image: &[u8], random: &mut Random) -> bool {
    let file = UpdatedFile::of_stranger(image.to_vec());
    let Ok(update) = VhdUpdate::open(&file, &file, OUTPUT) else { return false };
    // What a case takes is what a block takes.
    let (size, block_len) = (update.virtual_size(), update.block_len().unwrap_or(4096));
    if block_len > 1 << 20 || size == 0 {
        return false;
    }
    let mut at = 0;
    let extents: Vec<_> = (0..3)
        .map(|_| {
            let start = at + random.below(size as usize) as u64 / 4;
            at = start + 1 + random.below(2 * block_len as usize) as u64;
            let data = Source::Data { file: IMAGE, offset: 5 };
            Extent { start, len: at - start, source: [data, data, Source::Zero][random.below(3)] }
        })
        .collect();
    if let Err(error) = PlannedFile::write(Ok(update), &extents) {
        assert!([ErrorKind::Corrupt, ErrorKind::TooLarge].contains(&error.kind), "{error}");
    }
    let (map, bytes) = (VhdMap::open(image, OUTPUT).unwrap(), file.bytes());
    let Some(header) = map.header() else {
        assert_eq!(bytes[size as usize..], image[size as usize..]);
        return true;
    };
    let at = map.footer().data_offset() as usize;
    assert!(bytes[..512] == image[..512] && bytes[at..at + 1024] == image[at..at + 1024]);
    for entry in (0..header.entries() as usize).map(|index| header.table_offset() as usize + 4 * index) {
        let unused = image[entry..entry + 4] == [0xff; 4];
        assert!(unused || bytes[entry..entry + 4] == image[entry..entry + 4]);
    }
    !file.written().is_empty()
}

fn inside(extent: Extent, file_len: u64) {
    match extent.source {
        Source::Data { file: IMAGE, offset } => {
            assert!(offset.checked_add(extent.len).is_some_and(|end| end <= file_len), "{extent:?}");
        }
        Source::Zero | Source::Unallocated => {}
        other => panic!("{other:?}"),
    }
}

/// Small images of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let dynamic = Image::new(40 * 4096, 4096).block(3, &[0xff]).block(0, &[0xff]);
    let mut differencing = Image::new(9 * 8192, 8192).block(1, &[0x5a, 0x0f]).block(7, &[1, 0xff]);
    let locator = &mut differencing.header.parent_locators[0];
    locator.platform_code = *b"W2ru";
    locator.platform_data_length.set(20);
    locator.platform_data_offset.set(2048);
    let mut by_geometry = Image::new(34816, 4096).block(8, &[0xff]);
    by_geometry.footer.creator_application = *b"vpc ";
    vec![
        dynamic.bytes(),
        differencing.differencing().bytes(),
        by_geometry.bytes(),
        Image::new(0, 4096).bytes(),
        fixed_image(&[5; 2048]),
    ]
}

/// Puts the checksums right, so that what is behind them is reached.
fn sealed(mut image: Vec<u8>) -> Vec<u8> {
    let mut seal = |start: usize, len: usize, field: usize| {
        if let Some(bytes) = image.get_mut(start..start + len) {
            bytes[field..field + 4].fill(0);
            let sum = bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
            bytes[field..field + 4].copy_from_slice(&(!sum).to_be_bytes());
        }
    };
    seal(0, 512, 64);
    seal(512, 1024, 36);
    image
}

#[test]
fn truncation_at_every_boundary() {
    let mut random = Random(1);
    for image in seeds() {
        let mut lengths: Vec<usize> = (0..image.len()).step_by(512).collect();
        lengths.extend([1, 7, 8, 64, 68, 511, 513, 1023, 1535, 1537, 1539, 1541]);
        for len in lengths {
            for len in [len.saturating_sub(1), len, len + 1] {
                ask(&image[..len.min(image.len())], &mut random);
            }
        }
    }
}

#[test]
fn extreme_values_in_every_field() {
    const FOOTER: [(usize, usize); 14] = [
        (0, 8),
        (8, 4),
        (12, 4),
        (16, 8),
        (24, 4),
        (28, 4),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 2),
        (58, 1),
        (59, 1),
        (60, 4),
    ];
    const HEADER: [(usize, usize); 12] = [
        (512, 8),
        (520, 8),
        (528, 8),
        (536, 4),
        (540, 4),
        (544, 4),
        (552, 16),
        (568, 4),
        (1088, 4),
        (1092, 4),
        (1096, 4),
        (1104, 8),
    ];
    const TABLE: [(usize, usize); 4] = [(1536, 4), (1540, 4), (1548, 4), (1564, 4)];
    let values: [u64; 20] = [
        0,
        1,
        2,
        4,
        5,
        511,
        512,
        513,
        1024,
        1536,
        4096,
        1 << 20,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        1 << 41,
        i64::MAX as u64,
        u64::MAX - 511,
        u64::MAX,
    ];
    let mut random = Random(2);
    for image in seeds() {
        for (at, len) in FOOTER.into_iter().chain(HEADER).chain(TABLE) {
            for value in values {
                let mut image = image.clone();
                let Some(field) = image.get_mut(at..at + len) else { continue };
                let bytes = value.to_be_bytes();
                let skip = bytes.len().saturating_sub(len);
                field.fill(0);
                let room = len - (bytes.len() - skip);
                field[room..].copy_from_slice(&bytes[skip..]);
                ask(&sealed(image), &mut random);
            }
        }
    }
}

/// The image with a few bytes changed.
fn mutated(image: &[u8], random: &mut Random) -> Vec<u8> {
    let mut image = image.to_vec();
    for _ in 0..=random.below(4) {
        let region = [64, 512, 600, 1600, image.len()][random.below(5)].min(image.len());
        let at = random.below(region);
        image[at] = match random.below(4) {
            0 => 0xff,
            1 => 0,
            2 => image[at] ^ (1 << random.below(8)),
            _ => random.below(256) as u8,
        };
    }
    if random.below(8) == 0 { image } else { sealed(image) }
}

#[test]
fn writing_to_mutations() {
    let mut random = Random(4);
    let seeds = seeds();
    let written = (0..800).filter(|round| {
        let image = mutated(&seeds[round % seeds.len()], &mut random);
        write(&image, &mut random)
    });
    assert!(written.count() > 200);
}

#[test]
fn thousands_of_mutations() {
    let mut random = Random(3);
    let (mut opened, mut refused) = (0, 0);
    let seeds = seeds();
    for round in 0..6000 {
        let image = mutated(&seeds[round % seeds.len()], &mut random);
        if ask(&image, &mut random) { opened += 1 } else { refused += 1 }
    }
    // Both sides of the parser are reached.
    assert!(opened > 1000 && refused > 1000, "{opened} opened, {refused} refused");
}

/// A file of zeros behind a head, as long as one likes, that counts what is read of it.
struct Sparse {
    head: Vec<u8>,
    /// What follows the head.
    rest: u8,
    len: u64,
    reads: Cell<u64>,
    largest: Cell<usize>,
}

impl Sparse {
    fn new(head: Vec<u8>, rest: u8, len: u64) -> Self {
        Self { head, rest, len, reads: Cell::new(0), largest: Cell::new(0) }
    }
}

impl ReadAt for Sparse {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.reads.set(self.reads.get() + 1);
        self.largest.set(self.largest.get().max(buf.len()));
        buf.fill(self.rest);
        let start = self.head.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        for (to, from) in buf.iter_mut().zip(&self.head[start..]) {
            *to = *from;
        }
        Ok(())
    }
}

/// 2040 GiB, nothing allocated: 16 windows of 64 KiB for each pass over the table of 4 MiB, and an extent each.
#[test]
fn the_largest_sparse_disk_costs_windows_only() {
    let mut image = Image::new(0, 2 << 20);
    image.footer.current_size.set(2040 << 30);
    image.header.max_table_entries.set(1_044_480);
    let file = Sparse::new(image.bytes()[..1536].to_vec(), 0xff, 5 << 20);
    let mut map = VhdMap::open(&file, IMAGE).unwrap();
    assert!(file.reads.get() < 80, "{} reads", file.reads.get());
    let extents: Vec<_> = map.extents(0..u64::MAX).map(Result::unwrap).collect();
    assert!(extents.len() < 70, "{} extents", extents.len());
    assert!(extents.iter().all(|extent| extent.source == Source::Zero));
    assert!(file.reads.get() < 160, "{} reads", file.reads.get());
    assert!(file.largest.get() <= 64 << 10);
}

/// The largest table that is not refused at once: 2 GiB for a disk of one sector, and not one byte of it there.
#[test]
fn a_table_that_is_claimed_costs_nothing() {
    let mut image = Image::new(512, 4096);
    image.header.max_table_entries.set(0x1fff_ffff);
    let bytes = image.bytes();
    assert!(VhdMap::open(bytes.as_slice(), IMAGE).is_err());
    // Where the bytes are there, it ends with the first that is not what it should be.
    let file = Sparse::new(bytes[..2048].to_vec(), 0, 3 << 30);
    assert!(VhdMap::open(&file, IMAGE).is_err());
    assert!(file.reads.get() < 10 && file.largest.get() <= 64 << 10);
}

#[test]
fn a_differencing_image_is_not_written_to() {
    let image = Image::new(9 * 8192, 8192).block(1, &[0x5a]).differencing().bytes();
    let file = UpdatedFile::new(image, 1);
    let error = VhdUpdate::open(&file, &file, OUTPUT).unwrap_err();
    assert_eq!((error.kind, file.written().len()), (ErrorKind::UnsupportedFeature, 0), "{error}");
}

/// A disk of 2040 GiB of which a byte in a thousand blocks is written, from its first to its last: each window of the table
/// is read once more than by opening it, and nothing else is.
#[test]
fn a_table_is_read_once_to_be_written() {
    let mut image = Image::new(0, 4096);
    image.footer.current_size.set(4096 * 1_000_000);
    image.header.max_table_entries.set(1_000_000);
    let mut bytes = image.bytes()[..1536].to_vec();
    bytes.resize(4 << 20, 0xff);
    let file = UpdatedFile::new(bytes, 1);
    let update = VhdUpdate::open(&file, &file, OUTPUT).unwrap();
    let opened = file.reads();
    let data = Source::Data { file: IMAGE, offset: 5 };
    let extents: Vec<_> =
        (0..1000).map(|block| Extent { start: block * 4_096_000, len: 1, source: data }).collect();
    PlannedFile::write(Ok(update), &extents).unwrap();
    let windows = 4_000_000 / (32 << 10) + 2;
    assert!(file.reads() - opened <= windows + 1, "{}", file.reads() - opened);
}
