//! Files with holes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Range;

use crate::{Error, ErrorKind, ReadAt};

/// In bytes. Memory is taken for whole pages.
const PAGE: usize = 4096;

/// A file of any length, in as much memory as there is in it.
#[derive(Clone, Debug, Default)]
pub struct SparseFile {
    len: u64,
    /// By their numbers.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl SparseFile {
    /// `len` bytes of zeros.
    #[must_use]
    pub const fn new(len: u64) -> Self {
        Self { len, pages: BTreeMap::new() }
    }

    /// The same file with another length. What it loses is not kept.
    #[must_use]
    pub fn with_len(mut self, len: u64) -> Self {
        self.zero(len..self.len);
        self.len = len;
        self
    }

    /// Puts `bytes` at byte `at`. What lies behind the end of the file is left out.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let room = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut rest = &bytes[..bytes.len().min(room)];
        let mut at = at;
        while !rest.is_empty() {
            let (page, within) = place(at);
            let (bytes, behind) = rest.split_at(rest.len().min(PAGE - within));
            if self.pages.contains_key(&page) || bytes.iter().any(|&byte| byte != 0) {
                let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
                page[within..][..bytes.len()].copy_from_slice(bytes);
            }
            // May be where numbers end, when nothing is left.
            at = at.wrapping_add(bytes.len() as u64);
            rest = behind;
        }
    }

    /// Puts zeros in `range`.
    pub fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Pages that are zeros as a whole need no memory; of the first and the last, a part may stay.
        let (first, last) = (range.start.div_ceil(PAGE as u64), range.end / PAGE as u64);
        self.pages.retain(|number, _| !(first..last).contains(number));
        for part in
            [range.start..range.end.min(first * PAGE as u64), range.start.max(last * PAGE as u64)..range.end]
        {
            let len = usize::try_from(part.end.saturating_sub(part.start)).expect("less than a page");
            self.write(part.start, &[0; PAGE][..len]);
        }
    }

    /// The byte offsets of the pages, of 4096 bytes each, that may have something but zeros.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = u64> {
        self.pages.keys().map(|number| number * PAGE as u64)
    }

    /// Puts what `source` has in `range` at byte `at`, where nothing must have been written.
    pub fn write_from(&mut self, at: u64, source: &Self, range: Range<u64>) {
        for (from, bytes) in source.data(range.clone()) {
            self.write(at + (from - range.start), bytes);
        }
    }

    /// Whether there is anything but zeros in `range`.
    #[must_use]
    pub fn has_data(&self, range: Range<u64>) -> bool {
        self.data(range).any(|(_, bytes)| bytes.iter().any(|&byte| byte != 0))
    }

    /// The first byte that is not the same in `other`, as if both went on with zeros for ever.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<u64> {
        let zeros = [0; PAGE];
        let page = |file: &Self, number| file.pages.get(&number).map_or(zeros, |page| **page);
        let in_page = |&number: &u64| {
            let (own, others) = (page(self, number), page(other, number));
            let within = own.iter().zip(others).position(|(&own, other)| own != other)?;
            Some(number * PAGE as u64 + within as u64)
        };
        self.pages.keys().chain(other.pages.keys()).filter_map(in_page).min()
    }

    /// What may be other than zeros in `range`: bytes, and where they are.
    fn data(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let first = range.start / PAGE as u64;
        let pages =
            self.pages.range(first..).take_while(move |(number, _)| **number * (PAGE as u64) < range.end);
        pages.filter_map(move |(number, page)| {
            let start = number * PAGE as u64;
            let from = range.start.saturating_sub(start);
            let to = (range.end - start).min(PAGE as u64);
            let bytes = page.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
            Some((start + from, bytes))
        })
    }
}

impl From<&[u8]> for SparseFile {
    fn from(bytes: &[u8]) -> Self {
        let mut file = Self::new(bytes.len() as u64);
        file.write(0, bytes);
        file
    }
}

impl ReadAt for SparseFile {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.len);
        let end = end.ok_or(Error::new(ErrorKind::Io, offset, "read past the end of the file"))?;
        buf.fill(0);
        for (at, bytes) in self.data(offset..end) {
            let at = usize::try_from(at - offset).expect("a buffer is no longer than memory");
            buf[at..][..bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// The page that has byte `at`, and where in the page.
fn place(at: u64) -> (u64, usize) {
    let within = usize::try_from(at % PAGE as u64).expect("a page is no longer than memory");
    (at / PAGE as u64, within)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn read(file: &SparseFile, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0xff; usize::try_from(range.end - range.start).unwrap()];
        file.read_exact_at(range.start, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_all_else_is_zeros() {
        let mut file = SparseFile::new(u64::MAX);
        file.write(4094, b"four");
        file.write(u64::MAX - 3, b"cut off");
        file.write(4095, b"ifty");
        assert_eq!(read(&file, 4092..4101), b"\0\0fifty\0\0");
        assert_eq!(read(&file, u64::MAX - 4..u64::MAX), b"\0cut");
        assert!(file.read_exact_at(u64::MAX - 1, &mut [0; 2]).is_err());
        assert!(file.has_data(4097..5000) && !file.has_data(4099..1 << 40) && !file.has_data(0..4094));

        assert_eq!(read(&file.clone().with_len(4096), 4090..4096), b"\0\0\0\0fi");
        assert!(!file.with_len(4096).with_len(8192).has_data(4096..8192));
    }

    #[test]
    fn zeros_are_put_where_they_are_wanted_only() {
        let full = || SparseFile::from([b'x'; 20_000].as_slice());
        for range in [0..1, 1..4096, 4095..4097, 4096..8192, 5000..13_000, 100..19_999, 7..7] {
            let mut file = full();
            file.zero(range.clone());
            let wanted: Vec<u8> = (0..20_000).map(|at| if range.contains(&at) { 0 } else { b'x' }).collect();
            assert!(read(&file, 0..20_000) == wanted, "{range:?}");
        }
        let mut file = full().with_len(u64::MAX);
        file.zero(4096..u64::MAX);
        assert_eq!(Vec::from_iter(file.pages()), [0]);
    }

    #[test]
    fn files_are_compared_and_copied() {
        let (one, mut other) = (SparseFile::from(&b"one"[..]), SparseFile::new(9000));
        assert_eq!(one.first_difference(&other), Some(0));
        other.write(0, b"one");
        other.write(5000, &[0; 100]);
        assert_eq!(one.first_difference(&other), None);
        other.write(5000, b"x");
        assert_eq!((one.first_difference(&other), other.first_difference(&one)), (Some(5000), Some(5000)));

        let mut copy = SparseFile::new(100);
        copy.write_from(10, &other, 1..5001);
        copy.write_from(50, &other, 4999..9000);
        assert_eq!(read(&copy, 9..14), b"\0ne\0\0");
        assert_eq!(read(&copy, 50..53), b"\0x\0");
    }
}
