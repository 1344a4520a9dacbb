//! L1 and L2 tables, changed where they are (section "Cluster mapping").

use core::ops::Range;

use fmt_core::{Error, ReadAt, Source, StepSink};

use super::pages::Kind;
use super::usage::Usage;
use crate::geometry::Geometry;
use crate::header::{Header, Table};
use crate::raw::{COPIED, L1_ENTRY_LEN, OFFSET_MASK};

/// The tables that say where the clusters of the disk are.
#[derive(Debug)]
pub(super) struct Tables<'s, R, S> {
    usage: Usage<'s, R, S>,
    geometry: Geometry,
    l1: Table,
}

/// An L2 entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// As it lies there: the second half belongs to it if it is extended.
    halves: [[u8; 8]; 2],
    /// The byte offset in the file: that of the L1 entry, where there is no L2 table.
    pub(super) at: u64,
    /// Whether both the L2 table and what the entry points to have no other user.
    pub(super) is_own: bool,
}

impl Entry {
    pub(super) fn bytes(&self, geometry: Geometry) -> &[u8] {
        let bytes = self.halves.as_flattened();
        bytes.get(..geometry.l2_entry_len()).unwrap_or(bytes)
    }

    /// The first word, which all entries have.
    pub(super) fn word(&self) -> u64 {
        let [word, _] = self.halves;
        u64::from_be_bytes(word)
    }
}

/// An L2 table.
#[derive(Clone, Copy, Debug)]
struct L2 {
    /// The byte offset in the file.
    at: u64,
    is_own: bool,
}

impl<'s, R: ReadAt, S: StepSink> Tables<'s, R, S> {
    pub(super) fn new(usage: Usage<'s, R, S>, header: &Header) -> Self {
        Self { usage, geometry: header.geometry(), l1: header.l1() }
    }

    pub(super) fn usage(&mut self) -> &mut Usage<'s, R, S> {
        &mut self.usage
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        self.usage.finish()
    }

    /// The L2 entry of cluster `index` of the disk.
    pub(super) fn entry(&mut self, index: u64) -> Result<Entry, Error> {
        let Some(l2) = self.l2(index)? else {
            return Ok(Entry { halves: [[0; 8]; 2], at: self.l1_entry_at(index), is_own: false });
        };
        let at = self.entry_at(l2, index);
        let pages = self.usage.pages();
        let word = pages.look(Kind::L2, at)?;
        let bits = if self.geometry.extended_l2() { pages.look(Kind::L2, at + 8)? } else { [0; 8] };
        let is_own = l2.is_own && u64::from_be_bytes(word) & COPIED != 0;
        Ok(Entry { halves: [word, bits], at, is_own })
    }

    /// The clusters around cluster `index` of the disk that are not allocated because there is no L2 table for them.
    pub(super) fn absent(&mut self, index: u64) -> Result<Option<Range<u64>>, Error> {
        let first = index - index % self.geometry.l2_entries();
        Ok(self.l2(index)?.is_none().then_some(first..first + self.geometry.l2_entries()))
    }

    /// Puts the L2 entry of cluster `index` of the disk: its first word, and the second if it is extended.
    pub(super) fn put(&mut self, index: u64, word: u64, bits: u64) -> Result<(), Error> {
        let l2 = match self.l2(index)? {
            Some(l2) if l2.is_own => l2,
            shared => self.own_l2(index, shared)?,
        };
        let at = self.entry_at(l2, index);
        self.usage.pages().change(Kind::L2, at, &word.to_be_bytes())?;
        if self.geometry.extended_l2() {
            self.usage.pages().change(Kind::L2, at + 8, &bits.to_be_bytes())?;
        }
        Ok(())
    }

    /// A table that only the disk as it is now uses, for cluster `index`: a new one, or a copy of the one that it shares
    /// with snapshots. They keep theirs, and what the copy refers to is counted for both already.
    fn own_l2(&mut self, index: u64, shared: Option<L2>) -> Result<L2, Error> {
        let (file, size) = (self.usage.pages().file().id(), self.geometry.cluster_size());
        let source = shared.map_or(Source::Zero, |shared| Source::Data { file, offset: shared.at });
        let at = self.usage.take_table(source)?;
        let entry_at = self.l1_entry_at(index);
        self.usage.pages().change(Kind::L1, entry_at, &(at | COPIED).to_be_bytes())?;
        if let Some(shared) = shared {
            self.usage.give_up(shared.at..shared.at + size)?;
        }
        Ok(L2 { at, is_own: true })
    }

    /// The L2 table for cluster `index` of the disk.
    fn l2(&mut self, index: u64) -> Result<Option<L2>, Error> {
        let entry_at = self.l1_entry_at(index);
        let entry = u64::from_be_bytes(self.usage.pages().look(Kind::L1, entry_at)?);
        let at = entry & OFFSET_MASK;
        if at == 0 {
            return Ok(None);
        }
        self.usage.check_table(at, entry_at)?;
        Ok(Some(L2 { at, is_own: entry & COPIED != 0 }))
    }

    /// Every cluster of the disk has an L1 entry.
    fn l1_entry_at(&self, index: u64) -> u64 {
        self.l1.offset + index / self.geometry.l2_entries() * L1_ENTRY_LEN
    }

    fn entry_at(&self, l2: L2, index: u64) -> u64 {
        l2.at + index % self.geometry.l2_entries() * self.geometry.l2_entry_len() as u64
    }
}
