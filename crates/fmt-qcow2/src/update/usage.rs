//! Which clusters of the file are in use: the refcounts, changed where they are (section "Host cluster management").

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::Range;

use fmt_core::{Error, ErrorKind, ReadAt, Source, StepSink};

use super::pages::{Kind, Pages};
use crate::header::{Header, Table};
use crate::limits::{MAX_FILE_LEN, MAX_REFCOUNT_TABLE_LEN};
use crate::raw::{OFFSET_MASK, REFCOUNT_TABLE_ENTRY_LEN, RawHeader, SNAPSHOT_HEADER_LEN};
use crate::refcount::Width;

/// How many runs of clusters may wait for being given up.
const MAX_RUNS: usize = 4096;

/// The clusters of the file.
///
/// New ones are taken behind all others. What is given up keeps its refcount until nothing in the file refers to it.
#[derive(Debug)]
pub(super) struct Usage<'s, R, S> {
    pages: Pages<'s, R, S>,
    width: Width,
    /// The refcount table.
    table: Table,
    /// The header itself, and the tables that it names, in bytes of the file: nothing else may lie there.
    fixed: [Range<u64>; 3],
    /// The first cluster behind all others.
    next: u64,
    /// Clusters that each have one user less.
    given_up: Vec<Range<u64>>,
}

impl<'s, R: ReadAt, S: StepSink> Usage<'s, R, S> {
    pub(super) fn new(mut pages: Pages<'s, R, S>, header: &Header, width: Width) -> Self {
        let size = width.geometry().cluster_size();
        let (l1, snapshots) = (header.l1(), header.snapshots());
        let snapshots_len = u64::from(snapshots.entries) * SNAPSHOT_HEADER_LEN;
        let fixed =
            [0..size, l1.offset..l1.offset + l1.l1_len(), snapshots.offset..snapshots.offset + snapshots_len];
        let next = pages.file().end().div_ceil(size);
        Self { pages, width, table: header.refcounts(), fixed, next, given_up: Vec::new() }
    }

    pub(super) fn pages(&mut self) -> &mut Pages<'s, R, S> {
        &mut self.pages
    }

    fn cluster_size(&self) -> u64 {
        self.width.geometry().cluster_size()
    }

    /// Refuses the table at byte `at` of the file: where no cluster can begin, and where [`check`](Self::check) does.
    pub(super) fn check_table(&self, at: u64, entry_at: u64) -> Result<(), Error> {
        if !self.width.geometry().is_aligned(at) {
            return Err(corrupt(entry_at, "a table's offset is not aligned to a cluster"));
        }
        self.check(&(at..at + self.cluster_size()), entry_at)
    }

    /// Refuses `range` of the file, which the entry at byte `entry_at` has a use for: beyond the end of the file, and where
    /// the header has another use for it.
    pub(super) fn check(&self, range: &Range<u64>, entry_at: u64) -> Result<(), Error> {
        if range.end > self.next * self.cluster_size() {
            return Err(corrupt(entry_at, "a cluster beyond the end of the file"));
        }
        let table = self.table.offset..self.table.offset + table_len(self.table);
        let lies_in = |fixed: &Range<u64>| range.start < fixed.end && fixed.start < range.end;
        if self.fixed.iter().chain([&table]).any(lies_in) {
            return Err(corrupt(entry_at, "a cluster that is part of two tables"));
        }
        Ok(())
    }

    /// Takes a cluster that nothing uses, and counts it. Returns its byte offset in the file. What lies there is left as it
    /// is.
    pub(super) fn take(&mut self) -> Result<u64, Error> {
        let cluster = self.append(1)?;
        self.count(cluster)?;
        Ok(cluster * self.cluster_size())
    }

    /// Takes a cluster for a table, which begins as `source` says.
    pub(super) fn take_table(&mut self, source: Source) -> Result<u64, Error> {
        let (at, size) = (self.take()?, self.cluster_size());
        self.pages.file().fill(at, size, source)?;
        Ok(at)
    }

    /// Takes one user away from each of the clusters that have bytes in `range` of the file. There must be no reference any
    /// more in the tables as they will be written.
    pub(super) fn give_up(&mut self, range: Range<u64>) -> Result<(), Error> {
        let size = self.cluster_size();
        let run = range.start / size..range.end.div_ceil(size);
        match self.given_up.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.given_up.push(run),
        }
        if self.given_up.len() < MAX_RUNS { Ok(()) } else { self.settle() }
    }

    /// Writes all tables, and gives up what nothing refers to any more.
    fn settle(&mut self) -> Result<(), Error> {
        self.pages.commit()?;
        let mut runs = core::mem::take(&mut self.given_up);
        runs.drain(..).flatten().try_for_each(|cluster| self.lower(cluster))?;
        self.given_up = runs;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.settle()?;
        self.pages.finish()
    }

    /// Puts `clusters` clusters behind all others, and returns the first. They are not counted yet.
    fn append(&mut self, clusters: u64) -> Result<u64, Error> {
        let first = self.next;
        let end = first.checked_add(clusters).and_then(|end| end.checked_mul(self.cluster_size()));
        if end.is_none_or(|end| end > MAX_FILE_LEN) {
            return Err(too_large("the file"));
        }
        self.next = first + clusters;
        Ok(first)
    }

    /// Counts the first use of `cluster`.
    fn count(&mut self, cluster: u64) -> Result<(), Error> {
        let index = cluster / self.width.per_block();
        let block = match self.block(index)? {
            Some(block) => block,
            None => self.add_block(index)?,
        };
        self.change(block, cluster, FIRST_USE)
    }

    /// Takes one user away from `cluster`.
    fn lower(&mut self, cluster: u64) -> Result<(), Error> {
        const UNCOUNTED: &str = "a cluster that is in use has a refcount of 0";
        let at = cluster * self.cluster_size();
        let block = self.block(cluster / self.width.per_block())?.ok_or(corrupt(at, UNCOUNTED))?;
        self.change(block, cluster, |count| count.checked_sub(1).ok_or(UNCOUNTED))
    }

    /// Changes the refcount of `cluster`, which is in the block at byte `block` of the file.
    fn change(
        &mut self,
        block: u64,
        cluster: u64,
        new: fn(u64) -> Result<u64, &'static str>,
    ) -> Result<(), Error> {
        let entry = cluster % self.width.per_block();
        let (at, len) = self.width.bytes(entry);
        let at = block + at;
        // A refcount has no more than eight bytes, and lies where eight bytes do not reach over the end of a page.
        let word_at = at - at % 8;
        let mut word: [u8; 8] = self.pages.look(Kind::RefcountBlock, word_at)?;
        let within = usize::try_from(at % 8).unwrap_or(0);
        if let Some(bytes) = word.get_mut(within..within + len) {
            let count = new(self.width.get(bytes, entry)).map_err(|what| corrupt(at, what))?;
            self.width.put(bytes, entry, count);
        }
        self.pages.change(Kind::RefcountBlock, word_at, &word)
    }

    /// The byte offset of refcount block `index`, if there is one.
    fn block(&mut self, index: u64) -> Result<Option<u64>, Error> {
        if index >= self.table.entries.into() {
            return Ok(None);
        }
        let entry_at = self.table.offset + index * REFCOUNT_TABLE_ENTRY_LEN;
        let block = u64::from_be_bytes(self.pages.look(Kind::RefcountTable, entry_at)?) & OFFSET_MASK;
        if block == 0 {
            return Ok(None);
        }
        self.check_table(block, entry_at)?;
        Ok(Some(block))
    }

    /// Adds the refcount block `index`, which may have to count itself, too. It counts clusters behind the end of the file
    /// as it was, so there are no users yet.
    fn add_block(&mut self, index: u64) -> Result<u64, Error> {
        if index >= self.table.entries.into() {
            self.grow_table()?;
            // Among the clusters that it counts may be the table's own.
            if let Some(block) = self.block(index)? {
                return Ok(block);
            }
        }
        let (cluster, size) = (self.append(1)?, self.cluster_size());
        let at = cluster * size;
        self.pages.file().fill(at, size, Source::Zero)?;
        // It is counted first: any page that is looked at may cause the table to be written.
        if cluster / self.width.per_block() == index {
            self.change(at, cluster, FIRST_USE)?;
        } else {
            self.count(cluster)?;
        }
        let entry_at = self.table.offset + index * REFCOUNT_TABLE_ENTRY_LEN;
        self.pages.change(Kind::RefcountTable, entry_at, &at.to_be_bytes())?;
        Ok(at)
    }

    /// Moves the refcount table behind all other clusters, and makes it larger. The header names the old one until the new
    /// one is complete.
    fn grow_table(&mut self) -> Result<(), Error> {
        let (old, size) = (self.table, self.cluster_size());
        let clusters = self.larger_table()?;
        let first = self.append(clusters)?;
        self.pages.commit()?;

        let file = self.pages.file();
        let (old_len, len, id) = (table_len(old), clusters * size, file.id());
        // The file may end within its table, which has no more entries then.
        let copied = old_len.min(file.end().saturating_sub(old.offset));
        file.fill(first * size, copied, Source::Data { file: id, offset: old.offset })?;
        file.fill(first * size + copied, len - copied, Source::Zero)?;
        self.table = Table { offset: first * size, entries: narrow(len / REFCOUNT_TABLE_ENTRY_LEN) };
        (first..first + clusters).try_for_each(|cluster| self.count(cluster))?;

        self.pages.commit()?;
        // The number of its clusters lies behind its offset.
        let place = [(first * size).to_be_bytes().as_slice(), &narrow(clusters).to_be_bytes()].concat();
        self.pages.file().write(offset_of!(RawHeader, refcount_table_offset) as u64, &place)?;
        self.pages.file().settle()?;
        self.give_up(old.offset..old.offset + old_len)
    }

    /// How many clusters a refcount table has that counts all clusters so far, itself, its blocks, and some more.
    fn larger_table(&self) -> Result<u64, Error> {
        let size = self.cluster_size();
        // At least 64 entries, each for at least 64 clusters.
        let counted = size / REFCOUNT_TABLE_ENTRY_LEN * self.width.per_block();
        // For each of its clusters, it counts that one and less than one for the blocks that are new.
        let least = (self.next + 4).div_ceil(counted - 2);
        let most = MAX_REFCOUNT_TABLE_LEN / size;
        if least > most {
            return Err(too_large("what is allocated, for clusters of this size"));
        }
        Ok(least.max(2 * table_len(self.table) / size).min(most))
    }
}

/// The refcount of a cluster that is taken.
const FIRST_USE: fn(u64) -> Result<u64, &'static str> = |count| match count {
    0 => Ok(1),
    _ => Err("a cluster beyond the end of the file is in use"),
};

fn table_len(table: Table) -> u64 {
    u64::from(table.entries) * REFCOUNT_TABLE_ENTRY_LEN
}

/// A number of a refcount table, which has no more than 8 MiB.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
