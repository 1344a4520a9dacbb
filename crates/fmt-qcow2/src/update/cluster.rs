//! A cluster of the disk while it is changed.

use core::fmt;
use core::ops::Range;

use fmt_core::{DiskMap, Error, ErrorKind, Extent, ReadAt, Source, StepSink};

use super::tables::{Entry, Tables};
use crate::entry::{Cluster, Kind, Rules, alike};
use crate::geometry::{Geometry, SUBCLUSTERS};
use crate::header::{Header, Version};
use crate::raw::{COPIED, OFFSET_MASK, ZERO};
use crate::run::Places;

/// What is needed besides the tables to change a disk.
pub(super) struct Context<'s> {
    pub(super) header: Header,
    pub(super) rules: Rules,
    /// The disk behind this one, if it was given.
    pub(super) backing: Option<&'s mut dyn DiskMap>,
}

/// A cluster of the disk that is being changed.
///
/// It consists of blocks: of subclusters where L2 entries are extended, of one block elsewhere. A set of blocks has
/// thirty-two bits, as [`Cluster`] has them.
///
/// A block that has no bytes in the file yet, or has them where they must stay, is written from its one end to the other:
/// what no extent covers is taken from what it was. The L2 entry comes last.
#[derive(Debug)]
pub(super) struct Open {
    /// Its number on the disk.
    pub(super) index: u64,
    entry: Entry,
    was: Cluster,
    /// The byte offset in the file where blocks are written, as soon as there is such a place.
    place: Option<u64>,
    /// The blocks that have their bytes there.
    data: u32,
    /// The blocks that have their bytes where the cluster was, which is not that place.
    left: u32,
    /// The blocks that are marked as zeros.
    zero: u32,
    /// What has not been written yet of the block that is being written, in bytes of the cluster.
    filling: Range<u64>,
    is_changed: bool,
}

impl Context<'_> {
    fn geometry(&self) -> Geometry {
        self.rules.geometry
    }

    pub(super) fn has_backing(&self) -> bool {
        self.header.backing_file().is_some()
    }

    /// Whether blocks can be made zeros without writing them.
    fn marks_zeros(&self) -> bool {
        self.header.version() > Version::V2 || !self.has_backing()
    }

    /// `extent`, or the beginning of what is behind it, if that is where it is.
    fn resolve(&mut self, extent: Extent) -> Result<Extent, Error> {
        let zeros = Extent { source: Source::Zero, ..extent };
        if extent.source != Source::Unallocated {
            return Ok(extent);
        }
        if !self.has_backing() {
            return Ok(zeros);
        }
        let Some(backing) = &mut self.backing else {
            let what = "changing a part of a cluster that only the backing image has";
            return Err(Error::new(ErrorKind::UnsupportedFeature, extent.start, what));
        };
        if extent.start >= backing.virtual_size() {
            return Ok(zeros);
        }
        let found = backing.extent_at(extent.start)?.clip(&(extent.start..extent.end()));
        let found = found.ok_or(Error::new(ErrorKind::Corrupt, extent.start, "an extent elsewhere"))?;
        Ok(if found.source == Source::Unallocated { Extent { source: Source::Zero, ..found } } else { found })
    }

    /// A block's bits.
    fn bits(&self, block: u64) -> u32 {
        if self.geometry().extended_l2() { 1 << block } else { u32::MAX }
    }

    /// The bytes of a cluster, `index`, that are on the disk: the last cluster may reach over its end.
    fn on_disk(&self, index: u64) -> u64 {
        let size = self.geometry().cluster_size();
        size.min(self.header.virtual_size() - index * size)
    }
}

impl Open {
    pub(super) fn new<R: ReadAt, S: StepSink>(
        context: &Context<'_>,
        tables: &mut Tables<'_, R, S>,
        index: u64,
    ) -> Result<Self, Error> {
        let entry = tables.entry(index)?;
        let geometry = context.geometry();
        let corrupt = |what| Error::new(ErrorKind::Corrupt, entry.at, what);
        let was = context.rules.cluster(entry.bytes(geometry), index * geometry.cluster_size());
        let was = was.map_err(corrupt)?;
        let (place, data, left, zero) = match was {
            Cluster::Compressed { .. } => (None, 0, u32::MAX, 0),
            // What is shared with snapshots stays as it is.
            Cluster::Plain { offset, data, zero } if offset != 0 && entry.is_own => {
                (Some(offset), data, 0, zero)
            }
            Cluster::Plain { data, zero, .. } => (None, 0, data, zero),
        };
        let open = Self { index, entry, was, place, data, left, zero, filling: 0..0, is_changed: false };
        if let Some(range) = open.was_at(geometry) {
            tables.usage().check(&range, entry.at)?;
            if tables.usage().pages().overlap(&range) {
                return Err(corrupt("a cluster of data that is part of a table"));
            }
        }
        Ok(open)
    }

    /// Writes `source` to bytes `range` of the cluster.
    pub(super) fn put<R: ReadAt, S: StepSink>(
        &mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
        range: Range<u64>,
        source: Source,
    ) -> Result<(), Error> {
        let block_len = context.geometry().block_len();
        let mut at = range.start;
        while at < range.end {
            let end = (at - at % block_len + block_len).min(range.end);
            self.put_in_block(context, tables, at..end, source.after(at - range.start))?;
            at = end;
        }
        Ok(())
    }

    /// Writes `source` to bytes `range` of the cluster, which are in one block.
    fn put_in_block<R: ReadAt, S: StepSink>(
        &mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
        range: Range<u64>,
        source: Source,
    ) -> Result<(), Error> {
        let block_len = context.geometry().block_len();
        let (block, len) = (range.start / block_len, range.end - range.start);
        let whole = block * block_len..((block + 1) * block_len).min(context.on_disk(self.index));
        let bits = context.bits(block);
        if !self.filling.contains(&range.start) {
            if source == Source::Zero && self.is_zero(context, bits) {
                return Ok(());
            }
            if source == Source::Zero && range == whole && context.marks_zeros() {
                self.clear(context, bits);
                return Ok(());
            }
            if let Some(place) = self.place.filter(|_| self.data & bits != 0) {
                return tables.usage().pages().file().fill(place + range.start, len, source);
            }
            self.begin(context, tables, block)?;
        }
        let place = self.restore(context, tables, self.filling.start..range.start)?;
        tables.usage().pages().file().fill(place + range.start, len, source)?;
        self.filling.start = range.end;
        Ok(())
    }

    /// Whether the blocks `bits` read as zeros already.
    fn is_zero(&self, context: &Context<'_>, bits: u32) -> bool {
        (self.data | self.left) & bits == 0 && (self.zero & bits == bits || !context.has_backing())
    }

    /// Marks the blocks `bits` as zeros, or as nothing, which is the same where there is no mark.
    fn clear(&mut self, context: &Context<'_>, bits: u32) {
        self.data &= !bits;
        self.left &= !bits;
        if context.header.version() > Version::V2 {
            self.zero |= bits;
        }
        self.is_changed = true;
    }

    /// Begins to write a block from one end to the other.
    fn begin<R: ReadAt, S: StepSink>(
        &mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
        block: u64,
    ) -> Result<(), Error> {
        self.end_block(context, tables)?;
        if self.place.is_none() {
            self.place = Some(tables.usage().take()?);
        }
        let (bits, len) = (context.bits(block), context.geometry().block_len());
        self.data |= bits;
        self.left &= !bits;
        self.zero &= !bits;
        self.is_changed = true;
        self.filling = block * len..(block + 1) * len;
        Ok(())
    }

    /// Writes the rest of the block that was begun.
    fn end_block<R: ReadAt, S: StepSink>(
        &mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
    ) -> Result<(), Error> {
        if !self.filling.is_empty() {
            self.restore(context, tables, self.filling.clone())?;
            self.filling = 0..0;
        }
        Ok(())
    }

    /// Ends with the cluster: puts its L2 entry, if that is another, and gives up where it was.
    pub(super) fn close<R: ReadAt, S: StepSink>(
        mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
    ) -> Result<(), Error> {
        self.end_block(context, tables)?;
        if !self.is_changed {
            return Ok(());
        }
        // Compressed clusters cannot be so in part.
        if self.place.is_some() || matches!(self.was, Cluster::Compressed { .. }) {
            self.bring(context, tables)?;
        }
        let (word, bits) = self.words(context);
        tables.put(self.index, word, bits)?;
        match self.was_at(context.geometry()) {
            Some(range) if range.start != word & OFFSET_MASK => tables.usage().give_up(range),
            _ => Ok(()),
        }
    }

    /// Copies the blocks that are left where the cluster was.
    fn bring<R: ReadAt, S: StepSink>(
        &mut self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
    ) -> Result<(), Error> {
        let len = context.geometry().subcluster_size();
        let mut first = 0;
        while first < SUBCLUSTERS && self.left != 0 {
            let (kind, count) = alike(self.left, 0, first);
            if kind == Kind::Data {
                if self.place.is_none() {
                    self.place = Some(tables.usage().take()?);
                }
                let range = u64::from(first) * len..u64::from(first + count) * len;
                self.restore(context, tables, range)?;
            }
            first += count;
        }
        self.data |= core::mem::take(&mut self.left);
        Ok(())
    }

    /// The words of the L2 entry, of which the second is the bits of an extended one.
    fn words(&self, context: &Context<'_>) -> (u64, u64) {
        let data = self.data | self.left;
        let is_nothing = data == 0 && (self.zero == u32::MAX || context.header.version() == Version::V2);
        let place = match self.place {
            _ if is_nothing => 0,
            Some(place) => place | COPIED,
            None => self.entry.word(),
        };
        if context.geometry().extended_l2() {
            (place, u64::from(self.zero) << 32 | u64::from(data))
        } else {
            (place | if self.zero == 0 { 0 } else { ZERO }, 0)
        }
    }

    /// Where in the file the cluster was.
    fn was_at(&self, geometry: Geometry) -> Option<Range<u64>> {
        match self.was {
            Cluster::Compressed { offset, len } => Some(offset..offset + u64::from(len)),
            Cluster::Plain { offset: 0, .. } => None,
            Cluster::Plain { offset, .. } => Some(offset..offset + geometry.cluster_size()),
        }
    }

    /// Writes to bytes `range` of the cluster's place what was there on the disk. Returns the place.
    fn restore<R: ReadAt, S: StepSink>(
        &self,
        context: &mut Context<'_>,
        tables: &mut Tables<'_, R, S>,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        let nowhere = Error::new(ErrorKind::Corrupt, self.entry.at, "a cluster without a place");
        let place = self.place.ok_or(nowhere)?;
        let file = tables.usage().pages().file();
        let image = (file.id(), file.end());
        let places = Places { rules: context.rules, codec: context.header.codec(), image, data: Some(image) };
        let start = self.index * context.geometry().cluster_size();
        let end = range.end.min(context.on_disk(self.index));
        let mut at = range.start;
        while at < end {
            let found = places.run(self.entry.bytes(context.geometry()), start + at, self.entry.at)?;
            let found = places.clip_to_file(found, start + at).clip(&(start + at..start + end));
            let found = context.resolve(found.ok_or(nowhere)?)?;
            file.fill(place + at, found.len, found.source)?;
            at += found.len;
        }
        // Nobody reads beyond the end of the disk, unless it becomes larger.
        file.fill(place + at, range.end - at, Source::Zero)?;
        Ok(place)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = self.backing.as_ref().map(|backing| backing.virtual_size());
        f.debug_struct("Context")
            .field("header", &self.header)
            .field("backing", &backing)
            .finish_non_exhaustive()
    }
}
