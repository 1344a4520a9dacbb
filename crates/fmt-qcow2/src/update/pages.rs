//! Tables of any size in a memory of bounded size: pieces of them are read, changed, and written back.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use fmt_core::{Error, ErrorKind, ReadAt, StepSink};

use super::file::File;
use crate::geometry::Geometry;

/// The longest page in bytes.
const MAX_PAGE_LEN: u64 = 64 << 10;

/// How many bytes all pages have together, where they are not as few as they can be.
const ROOM: u64 = 512 << 10;

/// How many pages there are: a few of each kind, and no more than are found at once.
const PAGES: core::ops::RangeInclusive<u64> = 8..=64;

/// What a table is. They are written in this order, each kind when the one before has settled: so no table ever points at
/// what is not there, or is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RefcountBlock,
    RefcountTable,
    L2,
    L1,
}

const ORDER: [Kind; 4] = [Kind::RefcountBlock, Kind::RefcountTable, Kind::L2, Kind::L1];

/// Pieces of the tables.
///
/// A page is read when it is looked at, which settles all steps before. It is written by [`commit`](Self::commit), which
/// settles it, or when it gives way to another, and then it is read before it can be written again. So the same bytes are
/// never written by two steps that do not wait for each other.
#[derive(Debug)]
pub(super) struct Pages<'s, R, S> {
    file: File<'s, R, S>,
    /// No page reaches over the end of a cluster.
    page_len: usize,
    capacity: usize,
    pages: Vec<Page>,
    /// How often pages have been looked at.
    looks: u64,
}

#[derive(Debug)]
struct Page {
    kind: Kind,
    /// The byte offset in the file: a multiple of the length.
    at: u64,
    bytes: Vec<u8>,
    /// What has been changed, from the first byte to the last.
    changed: Range<usize>,
    /// The number of the last look.
    looked: u64,
}

impl<'s, R: ReadAt, S: StepSink> Pages<'s, R, S> {
    pub(super) fn new(file: File<'s, R, S>, geometry: Geometry) -> Self {
        let page_len = geometry.cluster_size().min(MAX_PAGE_LEN);
        let capacity = (ROOM / page_len).clamp(*PAGES.start(), *PAGES.end());
        // Both are small.
        let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self { file, page_len: small(page_len), capacity: small(capacity), pages: Vec::new(), looks: 0 }
    }

    pub(super) fn file(&mut self) -> &mut File<'s, R, S> {
        &mut self.file
    }

    /// The `N` bytes at byte `at`, which lie in one page, of a table of this kind.
    pub(super) fn look<const N: usize>(&mut self, kind: Kind, at: u64) -> Result<[u8; N], Error> {
        let (page, from) = self.page(kind, at)?;
        let bytes = page.bytes.get(from..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or(Error::new(ErrorKind::Corrupt, at, "a table ends early"))
    }

    /// Changes the bytes at byte `at`, which lie in one page, of a table of this kind.
    pub(super) fn change(&mut self, kind: Kind, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let (page, from) = self.page(kind, at)?;
        let place = page.bytes.get_mut(from..).and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(Error::new(ErrorKind::Corrupt, at, "a table ends early"))?.copy_from_slice(bytes);
        let to = from + bytes.len();
        page.changed = if page.changed.is_empty() {
            from..to
        } else {
            page.changed.start.min(from)..page.changed.end.max(to)
        };
        Ok(())
    }

    /// Whether a table that is at hand has bytes in `range` of the file.
    pub(super) fn overlap(&self, range: &Range<u64>) -> bool {
        let len = self.page_len as u64;
        self.pages.iter().any(|page| page.at < range.end && range.start < page.at + len)
    }

    /// Writes all that was changed, so that the image is in order at each moment, and waits for it.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        for kind in ORDER {
            let Self { file, pages, .. } = self;
            let mut pages = pages.iter_mut().filter(|page| page.kind == kind && !page.changed.is_empty());
            let Some(first) = pages.next() else { continue };
            // Counts that are too high do no harm, whenever they are written.
            if kind != Kind::RefcountBlock {
                file.settle()?;
            }
            first.write(file)?;
            pages.try_for_each(|page| page.write(file))?;
        }
        self.file.settle()
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.commit()?;
        self.file.finish()
    }

    /// The page of byte `at`, and where in it that is.
    fn page(&mut self, kind: Kind, at: u64) -> Result<(&mut Page, usize), Error> {
        let within = at % self.page_len as u64;
        let start = at - within;
        let number = match self.pages.iter().position(|page| page.at == start) {
            Some(number) => number,
            None => self.load(kind, start)?,
        };
        self.looks += 1;
        let other = Error::new(ErrorKind::Corrupt, at, "a cluster that is part of two tables");
        let page = self.pages.get_mut(number).filter(|page| page.kind == kind).ok_or(other)?;
        page.looked = self.looks;
        Ok((page, usize::try_from(within).unwrap_or(usize::MAX)))
    }

    /// Reads the page at byte `at`, and returns its number.
    fn load(&mut self, kind: Kind, at: u64) -> Result<usize, Error> {
        let mut bytes = self.give_way()?.unwrap_or_else(|| vec![0; self.page_len]);
        self.file.read(at, &mut bytes)?;
        self.pages.push(Page { kind, at, bytes, changed: 0..0, looked: self.looks });
        Ok(self.pages.len() - 1)
    }

    /// The memory of the page that has not been looked at for longest, if there may be no more.
    fn give_way(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.pages.len() < self.capacity {
            return Ok(None);
        }
        let oldest = self.pages.iter().enumerate().min_by_key(|(_, page)| page.looked);
        let Some((number, kind)) = oldest.map(|(number, page)| (number, page.kind)) else { return Ok(None) };
        if kind != Kind::RefcountBlock && self.pages.get(number).is_some_and(|page| !page.changed.is_empty())
        {
            self.commit()?;
        }
        let mut page = self.pages.swap_remove(number);
        page.write(&mut self.file)?;
        Ok(Some(page.bytes))
    }
}

impl Page {
    /// Writes what was changed, if anything was.
    fn write<R: ReadAt, S: StepSink>(&mut self, file: &mut File<'_, R, S>) -> Result<(), Error> {
        let changed = core::mem::take(&mut self.changed);
        match self.bytes.get(changed.clone()) {
            Some(bytes) if !bytes.is_empty() => file.write(self.at + changed.start as u64, bytes),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use fmt_core::{FileId, Step};

    use super::*;

    /// A file of zeros, which takes notes of where it is read and written.
    #[derive(Debug, Default)]
    struct Notes(RefCell<Vec<(&'static str, u64)>>);

    impl ReadAt for Notes {
        fn file_len(&self) -> u64 {
            1 << 20
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
            buf.fill(0);
            self.0.borrow_mut().push(("read", offset));
            Ok(())
        }
    }

    impl StepSink for Notes {
        fn step(&self, step: Step<'_>) -> Result<(), Error> {
            let Step::Write { dst, .. } = step else { panic!("{step:?}") };
            self.0.borrow_mut().push(("write", dst));
            Ok(())
        }
    }

    impl Notes {
        /// What was noted since this was asked last.
        fn take(&self) -> Vec<(&'static str, u64)> {
            self.0.take()
        }
    }

    fn pages(notes: &Notes) -> Pages<'_, Notes, Notes> {
        let file = File::new(notes, notes, FileId(1), 1 << 20);
        Pages::new(file, Geometry::new(16, false).unwrap())
    }

    #[test]
    fn each_kind_waits_for_the_one_before() {
        let notes = Notes::default();
        let mut pages = pages(&notes);
        let tables =
            [(Kind::L1, 0), (Kind::L2, 1), (Kind::L2, 2), (Kind::RefcountTable, 3), (Kind::RefcountBlock, 4)];
        let at = |cluster: u64| cluster * 65536 + 8 * cluster;
        for (kind, cluster) in tables {
            pages.change(kind, at(cluster), &[1; 8]).unwrap();
        }
        notes.take();
        pages.commit().unwrap();
        let expected = [
            ("write", at(4)),
            ("read", 0),
            ("write", at(3)),
            ("read", 0),
            ("write", at(1)),
            ("write", at(2)),
            ("read", 0),
            ("write", at(0)),
            ("read", 0),
        ];
        assert_eq!(notes.take(), expected);
        pages.commit().unwrap();
        assert_eq!(notes.take(), [], "nothing was changed");
    }

    #[test]
    fn a_page_that_gives_way_is_written() {
        let notes = Notes::default();
        let mut pages = pages(&notes);
        pages.change(Kind::RefcountBlock, 0, &[1; 8]).unwrap();
        pages.change(Kind::L2, 65536, &[1; 8]).unwrap();
        for cluster in 2..8 {
            pages.look::<8>(Kind::L1, cluster * 65536).unwrap();
        }
        notes.take();
        // Refcounts wait for nothing.
        pages.look::<8>(Kind::L1, 8 * 65536).unwrap();
        assert_eq!(notes.take(), [("write", 0), ("read", 8 * 65536)]);
        // Entries wait for what they point to, and what gives way waits until they are there.
        pages.look::<8>(Kind::RefcountBlock, 0).unwrap();
        assert_eq!(notes.take(), [("write", 65536), ("read", 0), ("read", 0)]);
    }

    #[test]
    fn no_page_is_of_two_tables() {
        let notes = Notes::default();
        let mut pages = pages(&notes);
        assert_eq!(pages.look(Kind::L2, 65536 + 8), Ok([0; 8]));
        assert_eq!(pages.look::<8>(Kind::L1, 65536).unwrap_err().kind, ErrorKind::Corrupt);
        let overlaps = |range| pages.overlap(&range);
        assert_eq!(
            [0..65536, 65535..65537, 131_071..131_072, 131_072..200_000].map(overlaps),
            [false, true, true, false]
        );
    }
}
