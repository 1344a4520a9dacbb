//! Images that want to break whoever writes into them: whatever their tables say, an answer comes soon, every step lies in
//! the file, and the file becomes no longer than what is written makes it.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod common;

use core::cell::RefCell;

use common::image::{Image, snapshot};
use common::{Lab, Random, mutate};
use fmt_core::{DiskMap, DiskPlan, Error, ErrorKind, Extent, FileId, ReadAt, Source, Step, StepSink};
use fmt_qcow2::raw::{COMPRESSED, COPIED};
use fmt_qcow2::{Qcow2Map, Qcow2Update};

const FILE: FileId = FileId(7);
const INPUT: FileId = FileId(1);

/// A file that is read and written, with data that tells nothing. Unlike [`common::live::Live`] it lets steps overlap: two
/// entries for one cluster are the image's own affair.
struct File(RefCell<Vec<u8>>);

impl ReadAt for File {
    fn file_len(&self) -> u64 {
        self.0.borrow().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.0.borrow().as_slice().read_exact_at(offset, buf)
    }
}

impl StepSink for File {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let mut file = self.0.borrow_mut();
        let index = |at: u64| usize::try_from(at).unwrap();
        match step {
            Step::SetLen { file: FILE, len } => file.resize(index(len), 0),
            Step::Write { file: FILE, dst, bytes } => {
                file[index(dst)..][..bytes.len()].copy_from_slice(bytes);
            }
            Step::Fill { file: FILE, dst, len, source } => {
                let own = |offset: u64, len: u64| assert!(offset + len <= file.len() as u64, "{step:?}");
                match source {
                    Source::Data { file: FILE, offset } => own(offset, len),
                    Source::Compressed { unit, .. } => own(unit.offset, unit.len.into()),
                    Source::Unallocated => panic!("nothing to fill with"),
                    Source::Zero | Source::Data { .. } => {}
                }
                let byte = if source == Source::Zero { 0 } else { 0x55 };
                file[index(dst)..][..index(len)].fill(byte);
            }
            _ => panic!("{step:?}"),
        }
        Ok(())
    }
}

/// A little of everything, as far as the disk has room for it.
fn extents(size: u64) -> Vec<Extent> {
    let data = Source::Data { file: INPUT, offset: 0 };
    let pieces = [
        (0, 700, data),
        (700, 3000, Source::Zero),
        (5000, 5000, data),
        (20_000, 40_000, Source::Zero),
        (70_000, 10, data),
        (size.saturating_sub(1), 1, data),
    ];
    let mut at = 0;
    let mut fit = |start: u64, len: u64| {
        let fits = start >= at && start + len <= size;
        at = if fits { start + len } else { at };
        fits
    };
    let fitting = pieces.into_iter().filter(|&(start, len, _)| fit(start, len));
    fitting.map(|(start, len, source)| Extent { start, len, source }).collect()
}

/// Writes into the image, and looks at what came of it.
fn write_everywhere(bytes: Vec<u8>) -> Result<(), Error> {
    let before = bytes.len() as u64;
    let file = File(RefCell::new(bytes));
    let result = write(&file);
    if let Ok(mut map) = Qcow2Map::new(&file, FILE) {
        let size = map.virtual_size();
        let _ = map.extents(0..size.min(100_000)).try_for_each(|extent| extent.map(drop));
        // Six extents touch fewer than two hundred clusters of 512 bytes, or a few larger ones.
        let most = 100_000 + 40 * map.header().geometry().cluster_size();
        assert!(file.file_len() <= before + most + (4 << 20), "from {before} to {}", file.file_len());
    }
    result
}

fn write(file: &File) -> Result<(), Error> {
    let mut update = Qcow2Update::open(file, file, FILE)?;
    let max_len = update.max_len();
    extents(update.virtual_size()).into_iter().try_for_each(|extent| update.extent(extent))?;
    update.finish()?;
    assert!(file.file_len() <= max_len);
    Ok(())
}

/// Small images with everything in them.
fn images() -> Vec<Vec<u8>> {
    let everything = |image: &mut Image| {
        let size = 1 << image.header.cluster_bits.get();
        image.header.size = 100_000.into();
        image.header.l1_entries = 4.into();
        image.snapshots(2, [snapshot(1, 5, 16), snapshot(2, 3, 0)].concat());
        image.l2.extend([0, 1, (5 * size + COPIED) | 1, COMPRESSED + 5 * size, 5 * size, 5 * size]);
        image.patches.push((2 * size, [0, 9].repeat(7)));
    };
    let extended = |image: &mut Image| {
        image.header.incompatible = 16.into();
        image.l2 = vec![
            (5 << 14) + COPIED,
            0xffff_ffff,
            5 << 14,
            0x0f0f_0000_0000_ff00,
            0,
            0xff << 32,
            COMPRESSED,
            0,
        ];
        image.patches.push((2 << 14, [0, 9].repeat(7)));
    };
    let mut images = vec![
        Image::new(12).with(everything).bytes(),
        Image::new(16).with(everything).bytes(),
        Image::new(14).with(extended).bytes(),
    ];
    if let Some(lab) = Lab::open() {
        for options in
            ["cluster_size=512", "cluster_size=4k,refcount_bits=64", "cluster_size=16k,extended_l2=on"]
        {
            lab.qemu_img(&format!("create -q -f qcow2 -o {options} image 96k"));
            lab.qemu_io("image", &["write -P 1 0 3000", "write -c -P 2 16k 16k", "write -z 32k 2048"]);
            lab.qemu_img("snapshot -c one image");
            lab.qemu_io("image", &["write -P 1 1000 3000"]);
            images.push(lab.read("image"));
        }
    }
    images
}

#[test]
fn images_are_sound_before_they_are_broken() {
    for image in images().into_iter().skip(3) {
        write_everywhere(image).unwrap();
    }
}

#[test]
fn truncation_at_every_boundary() {
    for image in images() {
        for len in (0..image.len()).step_by(512).flat_map(|at| [at.saturating_sub(1), at, at + 9]) {
            let _ = write_everywhere(image[..len.min(image.len())].to_vec());
        }
    }
}

/// Thousands of changed bytes, the same in every run.
#[test]
fn mutations() {
    let mut random = Random(80);
    let mut sound = 0;
    for image in images() {
        // Most of what matters is in the header and the tables.
        let tables: Vec<usize> = (0..image.len()).filter(|&at| at < 112 || image[at] != 0).collect();
        for _ in 0..600 {
            let mut image = image.clone();
            mutate(&mut image, &tables, &mut random);
            sound += u32::from(write_everywhere(image).is_ok());
        }
    }
    assert!(sound > 100, "{sound}: otherwise little was reached");
}

/// All entries of all tables point to each other and to themselves.
#[test]
fn tables_that_point_into_tables() {
    for bits in [9, 16, 21] {
        let size = 1_u64 << bits;
        for l1 in 0..7 {
            for target in [0, 1, 2, 3, 4, 5, 6, 1 << 30] {
                let image = Image::new(bits).with(|image| {
                    image.l1 = vec![(l1 * size) | COPIED; 4];
                    image.l2 = vec![(target * size) | COPIED, target * size, COMPRESSED + target * size];
                    image.patches.push((size, (target * size).to_be_bytes().to_vec()));
                });
                let _ = write_everywhere(image.bytes());
            }
        }
    }
}

/// An image with clusters of 64 KiB: what is wrong with it, and what is said when its first two clusters are written to.
#[test]
fn what_contradicts_itself_is_told() {
    const K: u64 = 65536;
    type Change = fn(&mut Image);
    let cases: [(&str, Change, &str); 14] = [
        ("nothing", |_| {}, ""),
        ("shared", |image| image.l2 = vec![5 * K], ""),
        (
            "no refcount",
            |image| (image.l2, image.patches) = (vec![5 * K], vec![(2 * K + 10, vec![0, 0])]),
            "refcount of 0",
        ),
        (
            "no block",
            |image| (image.l2, image.patches) = (vec![5 * K], vec![(K, vec![0; 8])]),
            "refcount of 0",
        ),
        (
            "counted beyond the end",
            |image| image.patches = vec![(2 * K + 12, vec![0, 1])],
            "beyond the end of the file is in use",
        ),
        (
            "block is the refcount table",
            |image| image.patches = vec![(K, K.to_be_bytes().to_vec())],
            "two tables",
        ),
        (
            "block beyond the end",
            |image| image.patches = vec![(K, (77 * K).to_be_bytes().to_vec())],
            "beyond the end",
        ),
        (
            "L2 table is the block",
            |image| (image.l1, image.patches) = (vec![2 * K + COPIED], vec![(2 * K, vec![0; 12])]),
            "two tables",
        ),
        ("L2 table is the L1 table", |image| image.l1 = vec![3 * K + COPIED], "two tables"),
        ("L2 table beyond the end", |image| image.l1 = vec![1 << 40], "beyond the end"),
        ("data is the L2 table", |image| image.l2 = vec![4 * K + COPIED], "part of a table"),
        ("data is the refcount table", |image| image.l2 = vec![K + COPIED], "two tables"),
        ("data beyond the end", |image| image.l2 = vec![6 * K + COPIED], "beyond the end"),
        ("L1 table beyond the end", |image| image.header.l1_offset = (77 * K).into(), "beyond the end"),
    ];
    for (name, change, what) in cases {
        let file = File(RefCell::new(Image::new(16).with(change).bytes()));
        let write = || -> Result<(), Error> {
            let mut update = Qcow2Update::open(&file, &file, FILE)?;
            let source = Source::Data { file: INPUT, offset: 0 };
            update.extent(Extent { start: 0, len: 2 * K, source })?;
            update.finish()
        };
        match write() {
            Ok(()) => assert_eq!(what, "", "{name}"),
            Err(error) => {
                assert!(
                    error.kind == ErrorKind::Corrupt && error.what.contains(what) && !what.is_empty(),
                    "{name}: {error}"
                );
            }
        }
    }
}
