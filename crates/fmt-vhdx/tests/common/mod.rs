//! What the tests share: a sink that writes a file, a disk read through its extents, and images made by hand.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::cast_possible_truncation, reason = "small files")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use core::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use fmt_core::{DiskMap, DiskPlan, Error, Extent, FileId, ReadAt, Source, Step, StepSink, Zeros};
use fmt_vhdx::checksum::Crc32c;
use fmt_vhdx::{Guid, Options, VhdxMap, VhdxPlan};

pub(crate) const INPUT: FileId = FileId(0);
pub(crate) const OUTPUT: FileId = FileId(1);
pub(crate) const MIB: u64 = 1 << 20;
/// How long a file of these tests becomes, whatever the bound.
const MAX_LEN: u64 = 1 << 42;
pub(crate) const LOG_GUID: Guid = Guid([0x55; 16]);

pub(crate) fn options() -> Options {
    Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]))
}

/// The byte at `offset` of the input: no two sectors are alike.
pub(crate) fn input(offset: u64) -> u8 {
    (offset ^ (offset >> 9).wrapping_mul(167) ^ (offset >> 20).wrapping_mul(59)) as u8
}

/// Takes steps into a file, and checks them: the first one gives the length, the others touch disjoint ranges inside.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) file: File,
    pub(crate) len: RefCell<Option<u64>>,
    pub(crate) written: RefCell<Vec<(u64, u64)>>,
}

impl Out {
    pub(crate) fn new(file: File) -> Self {
        Self { file, len: RefCell::new(None), written: RefCell::default() }
    }

    fn touch(&self, dst: u64, len: u64) {
        assert!(
            dst + len <= self.len.borrow().expect("the length comes first"),
            "beyond the end: {dst} {len}"
        );
        self.written.borrow_mut().push((dst, dst + len));
    }

    fn put(&self, dst: u64, len: u64, byte: impl Fn(u64) -> u8) {
        let mut done = 0;
        while done < len {
            let chunk: Vec<u8> = (done..len.min(done + MIB)).map(&byte).collect();
            self.file.write_all_at(&chunk, dst + done).unwrap();
            done += chunk.len() as u64;
        }
    }

    fn zero(&self, dst: u64, len: u64) {
        let zeros = vec![0; len.min(MIB) as usize];
        for at in (0..len).step_by(MIB as usize) {
            self.file.write_all_at(&zeros[..(len - at).min(MIB) as usize], dst + at).unwrap();
        }
    }

    pub(crate) fn check_disjoint(&self) {
        let mut written = self.written.borrow_mut();
        written.sort_unstable();
        assert!(written.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ranges overlap");
    }
}

impl StepSink for Out {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::SetLen { file, len } => {
                assert_eq!(file, OUTPUT);
                // A bound can be more than a file system takes.
                self.file.set_len(len.min(MAX_LEN)).unwrap();
                *self.len.borrow_mut() = Some(len);
            }
            Step::Write { file, dst, bytes } => {
                assert_eq!(file, OUTPUT);
                self.touch(dst, bytes.len() as u64);
                self.file.write_all_at(bytes, dst).unwrap();
            }
            Step::Fill { file, dst, len, source } => {
                assert_eq!(file, OUTPUT);
                self.touch(dst, len);
                match source {
                    Source::Zero => self.zero(dst, len),
                    Source::Data { file: INPUT, offset } => self.put(dst, len, |at| input(offset + at)),
                    _ => panic!("{source:?}"),
                }
            }
        }
        Ok(())
    }
}

/// Writes a disk of `size` bytes that consists of `extents`, into `file`. Returns the file's length.
pub(crate) fn write(file: File, size: u64, options: &Options, extents: &[Extent]) -> u64 {
    let out = Out::new(file);
    let mut plan = VhdxPlan::begin(&out, OUTPUT, size, options).unwrap();
    if options.zeros == Zeros::Written {
        assert_eq!(*out.len.borrow(), Some(options.max_len(size).unwrap()));
    }
    for &extent in extents {
        plan.extent(extent).unwrap();
    }
    plan.finish().unwrap();
    out.check_disjoint();
    out.len.into_inner().unwrap()
}

pub(crate) fn data(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: INPUT, offset: start } }
}

pub(crate) fn zero(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Zero }
}

/// All of the disk, through its extents. `parent` tells the bytes of what is not allocated.
pub(crate) fn read_disk<S: ReadAt>(
    map: &mut VhdxMap<S>,
    file: &impl ReadAt,
    parent: impl Fn(u64) -> u8,
) -> Vec<u8> {
    let mut disk = vec![0; map.virtual_size() as usize];
    let mut next = 0;
    for extent in map.extents(0..u64::MAX) {
        let Extent { start, len, source } = extent.unwrap();
        assert_eq!(start, next);
        next += len;
        let place = &mut disk[start as usize..][..len as usize];
        match source {
            Source::Data { file: OUTPUT, offset } => file.read_exact_at(offset, place).unwrap(),
            Source::Zero => {}
            Source::Unallocated => place.iter_mut().zip(start..).for_each(|(byte, at)| *byte = parent(at)),
            _ => panic!("{source:?}"),
        }
    }
    assert_eq!(next, map.virtual_size());
    disk
}

/// An image in memory, to be changed byte by byte. It comes from the plan, so that its BAT is at 2 MiB, its metadata behind
/// that, and its blocks of 1 MiB behind them.
#[derive(Clone)]
pub(crate) struct Image(pub(crate) Vec<u8>);

pub(crate) const BAT_AT: u64 = 2 * MIB;
pub(crate) const METADATA_AT: u64 = 3 * MIB;
pub(crate) const ITEMS_AT: u64 = METADATA_AT + (64 << 10);
pub(crate) const DATA_AT: u64 = 4 * MIB;
pub(crate) const HEADER_1: u64 = 64 << 10;
pub(crate) const HEADER_2: u64 = 128 << 10;
pub(crate) const TABLE_1: u64 = 192 << 10;
pub(crate) const TABLE_2: u64 = 256 << 10;
pub(crate) const LOG_AT: u64 = MIB;

impl Image {
    /// A disk of `size` bytes, in which `extents` are allocated, in blocks of 1 MiB.
    pub(crate) fn new(size: u64, extents: &[Extent]) -> Self {
        let file = tempfile::tempfile().unwrap();
        let options = Options { block_size: Some(1 << 20), ..options() };
        let len = write(file.try_clone().unwrap(), size, &options, extents);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Self(bytes)
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        let end = at as usize + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at as usize..end].copy_from_slice(bytes);
        self
    }

    pub(crate) fn put_u64(&mut self, at: u64, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn put_u32(&mut self, at: u64, value: u32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.0[at as usize..][..8].try_into().unwrap())
    }

    /// Sets BAT entry `index`.
    pub(crate) fn bat(&mut self, index: u64, entry: u64) -> &mut Self {
        self.put_u64(BAT_AT + index * 8, entry)
    }

    /// Puts right the checksum of the structure of `len` bytes at `at`.
    pub(crate) fn sum(&mut self, at: u64, len: u64) -> &mut Self {
        if let Some(bytes) = self.0.get(at as usize..(at + len) as usize) {
            let sum = Crc32c::new().structure(bytes).value();
            self.put_u32(at + 4, sum);
        }
        self
    }

    /// Puts right the checksum of the header or region table around `at`.
    pub(crate) fn sum_around(&mut self, at: u64) -> &mut Self {
        match at & !0xffff {
            header @ (HEADER_1 | HEADER_2) => self.sum(header, 4096),
            table @ (TABLE_1 | TABLE_2) => self.sum(table, 65536),
            _ => self,
        }
    }

    /// Puts right the checksums of headers and region tables.
    pub(crate) fn sums(&mut self) -> &mut Self {
        self.sum(HEADER_1, 4096).sum(HEADER_2, 4096).sum(TABLE_1, 65536).sum(TABLE_2, 65536)
    }

    /// Writes into both headers.
    pub(crate) fn headers(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.put(HEADER_1 + field, bytes).put(HEADER_2 + field, bytes).sums()
    }

    /// Writes into both region tables.
    pub(crate) fn tables(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.put(TABLE_1 + field, bytes).put(TABLE_2 + field, bytes).sums()
    }

    /// Adds a metadata item of `bytes`, which are put 64 KiB times its number behind the other items.
    pub(crate) fn item(&mut self, guid: Guid, flags: u32, bytes: &[u8]) -> &mut Self {
        let count = u64::from(self.0[METADATA_AT as usize + 10]);
        let offset = (64 << 10) * (count - 3);
        let entry = METADATA_AT + 32 + 32 * count;
        self.put(METADATA_AT + 10, &[count as u8 + 1]);
        self.put(entry, &guid.0).put_u32(entry + 16, offset as u32);
        self.put_u32(entry + 20, bytes.len() as u32).put_u32(entry + 24, flags);
        self.put(METADATA_AT + offset, bytes)
    }

    /// Makes it a differencing file, whose parent has the given relative path.
    pub(crate) fn differencing(&mut self, path: &str) -> &mut Self {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (key, value) = (utf16("relative_path"), utf16(path));
        let mut locator = fmt_vhdx::raw::VHDX_PARENT.0.to_vec();
        locator.extend([0, 0, 1, 0]);
        locator.extend(32_u32.to_le_bytes());
        locator.extend((32 + key.len() as u32).to_le_bytes());
        locator.extend((key.len() as u16).to_le_bytes());
        locator.extend((value.len() as u16).to_le_bytes());
        locator.extend(key);
        locator.extend(value);
        self.put_u32(ITEMS_AT + 4, 2);
        self.item(fmt_vhdx::raw::PARENT_LOCATOR, 4, &locator)
    }

    /// Puts `entry` into the log of 1 MiB at `sector`, going on at the log's beginning.
    pub(crate) fn log(&mut self, sector: u64, entry: &[u8]) -> &mut Self {
        for (index, bytes) in (sector..).zip(entry.chunks(4096)) {
            self.put(LOG_AT + index % 256 * 4096, bytes);
        }
        self.headers(48, &LOG_GUID.0)
    }

    pub(crate) fn open(&self) -> Result<VhdxMap<&[u8]>, Error> {
        VhdxMap::open(&self.0, OUTPUT)
    }

    #[track_caller]
    pub(crate) fn disk(&self) -> Vec<u8> {
        read_disk(&mut self.open().unwrap(), &&self.0[..], |_| 0)
    }

    /// The error of opening the image, or of reading its first byte.
    #[track_caller]
    pub(crate) fn error(&self) -> Error {
        let opened = self.open();
        opened.and_then(|mut map| map.extent_at(0)).expect_err("nothing is wrong")
    }

    #[track_caller]
    pub(crate) fn refused(&self, what: &str) {
        assert_eq!(self.error().what, what);
    }
}

/// What a log entry writes.
pub(crate) enum Change {
    Zeros(u64, u64),
    Sector(u64, Box<[u8; 4096]>),
}

/// Writes `bytes` at `at`.
pub(crate) fn sector_at(at: u64, bytes: [u8; 4096]) -> Change {
    Change::Sector(at, Box::new(bytes))
}

/// A log entry, its checksum right.
pub(crate) fn log_entry(number: u64, tail: u64, file_len: u64, changes: &[Change]) -> Vec<u8> {
    let mut head = b"loge\0\0\0\0\0\0\0\0".to_vec();
    head.extend((tail as u32 * 4096).to_le_bytes());
    head.extend(number.to_le_bytes());
    head.extend((changes.len() as u32).to_le_bytes());
    head.extend([0; 4]);
    head.extend(LOG_GUID.0);
    head.extend(file_len.to_le_bytes());
    head.extend(file_len.to_le_bytes());
    let mut data = Vec::new();
    for change in changes {
        let at = match change {
            Change::Zeros(at, len) => {
                head.extend(b"zero\0\0\0\0");
                head.extend(len.to_le_bytes());
                at
            }
            Change::Sector(at, bytes) => {
                head.extend(b"desc");
                head.extend(&bytes[4092..]);
                head.extend(&bytes[..8]);
                data.extend(b"data");
                data.extend(((number >> 32) as u32).to_le_bytes());
                data.extend(&bytes[8..4092]);
                data.extend((number as u32).to_le_bytes());
                at
            }
        };
        head.extend(at.to_le_bytes());
        head.extend(number.to_le_bytes());
    }
    head.resize(head.len().next_multiple_of(4096), 0);
    head.extend(data);
    sum_entry(head)
}

/// Gives a log entry its length and its checksum.
pub(crate) fn sum_entry(mut entry: Vec<u8>) -> Vec<u8> {
    let len = entry.len() as u32;
    entry[8..12].copy_from_slice(&len.to_le_bytes());
    let sum = Crc32c::new().structure(&entry).value();
    entry[4..8].copy_from_slice(&sum.to_le_bytes());
    entry
}

/// A generator of numbers that are the same in each run (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
