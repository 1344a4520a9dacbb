//! Chains of images, on files in memory.

#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use core::cell::Cell;

use fmt_core::{DiskMap, ErrorKind, Extent, FileId, Format, ReadAt, Source};
use guest_ops::testing::{Input, MemoryHost};
use guest_ops::{Failure, HostFile, input};
use testkit::differencing::{self, Block, Image, Parent, fixed_vhd};

const TOP: FileId = FileId(0);

fn utf16(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// An image without a parent; everything about it tells its tag.
fn image(tag: u8, blocks: &[Block]) -> Image {
    Image { id: [tag; 16], parent: None, tag, blocks: blocks.to_vec() }
}

/// The image as a child of `parent`, which it calls `name`.
fn child_of(image: Image, parent: &Image, name: &str) -> Image {
    let parent = Parent { id: parent.id, relative: Some(utf16(name)), ..Parent::default() };
    Image { parent: Some(parent), ..image }
}

/// A host with these images; the first is the input, the others have the names "1", "2" and so on.
fn host(images: impl IntoIterator<Item = Vec<u8>>) -> MemoryHost {
    let mut images = images.into_iter();
    let host = MemoryHost::new().with_input(Input::new(images.next().unwrap()));
    images.zip(1..).fold(host, |host, (image, number)| host.with_named(number.to_string(), Input::new(image)))
}

/// All bytes of the disk that the first file shows as `format`.
fn disk(host: &MemoryHost, format: Option<Format>) -> Result<Vec<u8>, Failure> {
    let blamed = Cell::new(TOP);
    let mut chain = input::open(host, TOP, format, None, &blamed)?;
    let mut disk = vec![0; chain.virtual_size().try_into().unwrap()];
    let size = chain.virtual_size();
    for extent in chain.extents(0..size) {
        let Extent { start, len, source } =
            extent.map_err(|error| Failure::Image { file: blamed.get(), error })?;
        let place = &mut disk[start.try_into().unwrap()..][..len.try_into().unwrap()];
        match source {
            Source::Data { file, offset } => HostFile::new(host, file).read_exact_at(offset, place).unwrap(),
            Source::Zero => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(disk)
}

/// Each state a block can have, in front of each other.
fn blocks(format: differencing::Format, turn: usize) -> Vec<Block> {
    let last = format.block_sectors();
    let mut blocks = vec![
        Block::Absent,
        Block::Full,
        Block::Sectors(vec![0..1, 3..5, last - 1..last]),
        Block::Sectors(vec![]),
        Block::Sectors(vec![1..last]),
    ];
    if format == differencing::Format::Vhdx {
        blocks.extend((1..=3).map(Block::Zeros));
    }
    blocks.rotate_left(turn);
    blocks
}

#[test]
fn every_state_over_every_other_in_a_chain_of_three() {
    for format in differencing::Format::ALL {
        let count = blocks(format, 0).len();
        for turn in 0..count {
            // Without a parent a block is there or not.
            let base = blocks(format, 2 * turn % count).into_iter().map(|block| match block {
                Block::Sectors(_) => Block::Full,
                block => block,
            });
            let base = image(b'c', &base.collect::<Vec<_>>());
            let middle = child_of(image(b'b', &blocks(format, turn)), &base, "2");
            let top = child_of(image(b'a', &blocks(format, 0)), &middle, "1");
            let expected =
                top.in_front_of(&middle.in_front_of(&base.in_front_of(&[], format), format), format);
            let host = host([&top, &middle, &base].map(|image| image.bytes(format)));
            assert!(disk(&host, None).unwrap() == expected, "{format:?}, turned by {turn}");
        }
    }
}

#[test]
fn a_parent_may_be_shorter_or_longer() {
    for format in differencing::Format::ALL {
        for len in [1, 5] {
            let base = image(b'b', &vec![Block::Full; len]);
            let top = child_of(
                image(b'a', &[Block::Absent, Block::Sectors(vec![1..2]), Block::Absent]),
                &base,
                "1",
            );
            let expected = top.in_front_of(&base.in_front_of(&[], format), format);
            let host = host([&top, &base].map(|image| image.bytes(format)));
            assert!(disk(&host, None).unwrap() == expected, "{format:?} {len}");
        }
    }
}

/// A fixed VHD is not recognised by its beginning, which its disk may have made look like anything.
#[test]
fn the_parent_of_a_vhd_is_read_as_a_vhd() {
    let mut base = b"QFI\xfb\0\0\0\x03".to_vec();
    base.resize(8 * 512, b'x');
    let parent = image(b'b', &[]);
    let top = child_of(image(b'a', &[Block::Sectors(vec![1..3])]), &parent, "1");
    let vhd = differencing::Format::Vhd;
    let host = host([top.bytes(vhd), fixed_vhd(&base, parent.id)]);
    assert_eq!(disk(&host, None).unwrap(), top.in_front_of(&base, vhd));
}

#[track_caller]
fn refused(host: &MemoryHost, file: u32, kind: ErrorKind, what: &str) {
    let failure = disk(host, None).unwrap_err();
    let Failure::Image { file: blamed, error } = failure else { panic!("{failure:?}") };
    assert_eq!((blamed, error.kind, error.what), (FileId(file), kind, what));
}

#[test]
fn a_parent_of_another_identity_is_refused() {
    for (format, term) in differencing::Format::ALL.into_iter().zip(["unique id", "data write GUID"]) {
        let base = image(b'c', &[Block::Full]);
        let middle = child_of(image(b'b', &[Block::Full]), &base, "2");
        // It needs nothing of what is behind it, which does not make that its parent.
        let top = child_of(image(b'a', &[Block::Full]), &middle, "1");
        let other = |image: &Image| Image { id: [0; 16], ..image.clone() };
        let with = |images: [&Image; 3]| host(images.map(|image| image.bytes(format)));
        assert!(disk(&with([&other(&top), &middle, &base]), None).is_ok());
        refused(&with([&top, &other(&middle), &base]), 1, ErrorKind::WrongParent, term);
        refused(&with([&top, &middle, &other(&base)]), 2, ErrorKind::WrongParent, term);
    }
}

#[test]
fn a_parent_of_another_format_is_refused() {
    for (format, other) in
        differencing::Format::ALL.into_iter().zip(differencing::Format::ALL.into_iter().rev())
    {
        let base = image(b'b', &[Block::Full]);
        let top = child_of(image(b'a', &[Block::Absent]), &base, "1");
        for base in [base.bytes(other), vec![0; 4096], vec![]] {
            let host = host([top.bytes(format), base]);
            let failure = disk(&host, None).unwrap_err();
            let Failure::Image { file: FileId(1), error } = failure else { panic!("{failure:?}") };
            assert_eq!(error.kind, ErrorKind::NotThisFormat, "{error}");
        }
    }
}

#[test]
fn a_chain_without_end_is_refused() {
    for format in differencing::Format::ALL {
        let itself = image(b'a', &[Block::Absent]);
        let itself = child_of(itself.clone(), &itself, "1").bytes(format);
        let host = host([itself.clone(), itself]);
        refused(&host, 1, ErrorKind::TooLarge, "the chain of backing images");
    }
}

/// An image whose parent is called in all these ways; only the parent's name decides who it is.
fn named(format: differencing::Format, parent: Parent) -> MemoryHost {
    let base = image(b'b', &[Block::Full]);
    let parent = Some(Parent { id: base.id, ..parent });
    let top = Image { parent, ..image(b'a', &[Block::Absent]) };
    host([top.bytes(format), base.bytes(format)])
}

#[test]
fn the_relative_path_comes_before_the_absolute_one_and_that_before_the_name() {
    for format in differencing::Format::ALL {
        let [right, wrong] = ["1", "nosuch"].map(utf16);
        let absolute = utf16("C:\\vm\\1");
        let found = |parent| disk(&named(format, parent), None).map(|disk| disk[511]).ok();
        let name = || wrong.clone();
        let parent = Parent {
            relative: Some(right.clone()),
            absolute: Some(wrong.clone()),
            name: name(),
            ..Parent::default()
        };
        assert_eq!(found(parent), Some(b'b'));
        let parent = Parent {
            relative: Some(wrong.clone()),
            absolute: Some(absolute.clone()),
            name: right.clone(),
            ..Parent::default()
        };
        assert_eq!(found(parent), None);
        let parent = Parent { absolute: Some(absolute), name: name(), ..Parent::default() };
        assert_eq!(found(parent), Some(b'b'));
    }
}

#[test]
fn a_parent_without_a_path() {
    let name = Parent { name: utf16("1"), ..Parent::default() };
    assert!(disk(&named(differencing::Format::Vhd, name.clone()), None).is_ok());
    let none = "the parent locator has no path";
    refused(&named(differencing::Format::Vhdx, name), 0, ErrorKind::Corrupt, none);
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    for format in differencing::Format::ALL {
        for path in [vec![0xd800], vec![0xdc00, 0x31], vec![0x31, 0xd83d]] {
            let parent = Parent { relative: Some(path), ..Parent::default() };
            refused(
                &named(format, parent),
                0,
                ErrorKind::Corrupt,
                "the name of the parent is not valid UTF-16",
            );
        }
    }
    let parent = Parent { name: vec![0xd800], ..Parent::default() };
    let what = "the name of the parent is not valid UTF-16";
    refused(&named(differencing::Format::Vhd, parent), 0, ErrorKind::Corrupt, what);
}
