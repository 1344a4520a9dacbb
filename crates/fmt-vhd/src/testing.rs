//! What tests share, inside the crate and outside: hand-made images, an output, and a disk's bytes.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::cast_possible_truncation, reason = "images of a few megabytes")]

use core::cell::RefCell;
use std::vec::Vec;

use fmt_core::{DiskMap, Error, Extent, FileId, Source, Step, StepSink};
use fmt_vhd::geometry::Geometry;
use fmt_vhd::{VhdMap, raw};
use zerocopy::{FromZeros, IntoBytes};

/// The file that images under test are in.
pub(crate) const IMAGE: FileId = FileId(4);
/// The file that written disks take their data from.
pub(crate) const INPUT: FileId = FileId(9);

/// A hand-made image: the copy of the footer, the header, one sector of table, blocks, the footer.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) footer: raw::Footer,
    pub(crate) header: raw::DynamicHeader,
    /// The table's entries; the rest of its sector are unused ones.
    pub(crate) table: Vec<u32>,
    /// What follows the table's sector.
    pub(crate) body: Vec<u8>,
}

/// The sector where the body of an [`Image`] begins.
pub(crate) const BODY: u32 = 4;

impl Image {
    /// A dynamic disk of `size` bytes in blocks of `block_size`, nothing allocated.
    pub(crate) fn new(size: u64, block_size: u32) -> Self {
        let entries = size.div_ceil(block_size.into()) as usize;
        let footer = raw::Footer {
            cookie: raw::FOOTER_COOKIE,
            features: 2.into(),
            file_format_version: raw::VERSION_1_0.into(),
            data_offset: 512.into(),
            creator_application: *b"win ",
            current_size: size.into(),
            geometry: Geometry::of(size / 512).into(),
            disk_type: 3.into(),
            ..raw::Footer::new_zeroed()
        };
        let header = raw::DynamicHeader {
            cookie: raw::HEADER_COOKIE,
            data_offset: raw::NO_OFFSET.into(),
            table_offset: 1536.into(),
            header_version: raw::VERSION_1_0.into(),
            max_table_entries: (entries as u32).into(),
            block_size: block_size.into(),
            ..raw::DynamicHeader::new_zeroed()
        };
        assert!(entries <= 128, "the table takes one sector");
        Self { footer, header, table: std::vec![raw::UNUSED; entries], body: Vec::new() }
    }

    /// Adds block `index`: every sector is filled with its number on the disk, modulo 251, plus 1.
    pub(crate) fn block(mut self, index: u32, bitmap: &[u8]) -> Self {
        let block_size = self.header.block_size.get() as usize;
        self.table[index as usize] = BODY + (self.body.len() / 512) as u32;
        let bitmap_len = (block_size / 4096).next_multiple_of(512).max(512);
        self.body
            .extend((0..bitmap_len).map(|at| bitmap.get(at).copied().unwrap_or(bitmap[bitmap.len() - 1])));
        let first = index as usize * (block_size / 512);
        for sector in first..first + block_size / 512 {
            self.body.extend([(sector % 251) as u8 + 1; 512]);
        }
        self
    }

    /// The same as a differencing image.
    pub(crate) fn differencing(mut self) -> Self {
        self.footer.disk_type.set(4);
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (mut footer, mut header) = (self.footer, self.header);
        footer.checksum = footer.expected_checksum().into();
        header.checksum = header.expected_checksum().into();
        let mut bytes = [footer.as_bytes(), header.as_bytes()].concat();
        bytes.extend(self.table.iter().flat_map(|entry| entry.to_be_bytes()));
        bytes.resize(2048, 0xff);
        bytes.extend(&self.body);
        bytes.extend(footer.as_bytes());
        bytes
    }
}

/// A fixed image of `disk`.
pub(crate) fn fixed_image(disk: &[u8]) -> Vec<u8> {
    let mut footer = Image::new(disk.len() as u64, 2 << 20).footer;
    footer.disk_type.set(2);
    footer.data_offset.set(raw::NO_OFFSET);
    footer.checksum = footer.expected_checksum().into();
    [disk, footer.as_bytes()].concat()
}

/// What an image's disk holds; `parent` is what is not allocated.
///
/// Panics where extents do not cover the disk or do not lie in the file.
pub(crate) fn disk_bytes(image: &[u8], parent: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut map = VhdMap::open(image, IMAGE)?;
    let size = map.virtual_size();
    let mut disk = Vec::new();
    for extent in map.extents(0..size) {
        let Extent { start, len, source } = extent?;
        assert_eq!((start, len > 0), (disk.len() as u64, true), "extents cover the disk");
        let (start, len) = (start as usize, len as usize);
        match source {
            Source::Zero => disk.resize(start + len, 0),
            Source::Unallocated => disk.extend(&parent.expect("no parent")[start..start + len]),
            Source::Data { file: IMAGE, offset } => disk.extend(&image[offset as usize..][..len]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(disk.len() as u64, size);
    Ok(disk)
}

/// An output in memory, full of stale bytes, that checks what a plan promises.
#[derive(Debug)]
pub(crate) struct Output<'i> {
    input: &'i [u8],
    bytes: RefCell<Vec<u8>>,
    /// The ranges that were written.
    written: RefCell<Vec<(u64, u64)>>,
    lengths: RefCell<Vec<u64>>,
}

impl<'i> Output<'i> {
    pub(crate) fn new(input: &'i [u8]) -> Self {
        Self { input, bytes: RefCell::default(), written: RefCell::default(), lengths: RefCell::default() }
    }

    /// Every length that was set.
    pub(crate) fn lengths(&self) -> Vec<u64> {
        self.lengths.borrow().clone()
    }

    /// The file. Every byte of it was written, and once.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let (bytes, mut written) = (self.bytes.into_inner(), self.written.into_inner());
        assert_eq!(self.lengths.into_inner().last(), Some(&(bytes.len() as u64)), "not written to its end");
        written.sort_unstable();
        let mut end = 0;
        for (start, len) in written {
            assert_eq!(start, end, "written twice, or a gap before");
            end = start + len;
        }
        assert_eq!(end, bytes.len() as u64);
        bytes
    }

    fn range(&self, dst: u64, len: u64) -> core::ops::Range<usize> {
        assert!(!self.lengths.borrow().is_empty(), "the length comes first");
        assert!(dst + len <= self.lengths.borrow()[self.lengths.borrow().len() - 1], "behind the end");
        self.written.borrow_mut().push((dst, len));
        // What is foretold of a large disk, and never written, takes no memory.
        let (start, end) = (dst as usize, (dst + len) as usize);
        let mut bytes = self.bytes.borrow_mut();
        let present = bytes.len().max(end);
        bytes.resize(present, 0xa5);
        start..end
    }
}

impl StepSink for Output<'_> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::SetLen { file: IMAGE, len } => {
                self.lengths.borrow_mut().push(len);
                self.bytes.borrow_mut().truncate(len as usize);
            }
            Step::Write { file: IMAGE, dst, bytes } => {
                let range = self.range(dst, bytes.len() as u64);
                self.bytes.borrow_mut()[range].copy_from_slice(bytes);
            }
            Step::Fill { file: IMAGE, dst, len, source: Source::Zero } => {
                let range = self.range(dst, len);
                self.bytes.borrow_mut()[range].fill(0);
            }
            Step::Fill { file: IMAGE, dst, len, source: Source::Data { file: INPUT, offset } } => {
                let range = self.range(dst, len);
                let data = &self.input[offset as usize..][..len as usize];
                self.bytes.borrow_mut()[range].copy_from_slice(data);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}

/// A stream of numbers that is the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // A step of xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }

    /// `len` bytes, never zero.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(255) as u8 + 1).collect()
    }
}
