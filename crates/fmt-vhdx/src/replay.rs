//! The file as it is once its log has been carried out, without carrying it out.

use alloc::collections::BTreeMap;

use fmt_core::{Error, ErrorKind, ReadAt};
use zerocopy::FromBytes;

use crate::header::Header;
use crate::log::{Entry, Log};
use crate::raw::{LOG_SECTOR, LogData, LogDescriptor, REGION_TABLES_AT};

/// How many pieces of the file a log can change here: one for each sector of the longest log.
pub const MAX_PATCHES: usize = 16 << 10;

const SECTOR: u64 = LOG_SECTOR as u64;

/// A file whose log counts as carried out (MS-VHDX section 2.3.3). The file itself is not changed.
///
/// All bytes that the log writes lie somewhere in the file, so what is kept is an index: for each range that the log
/// changes, where its bytes are instead. A sector from the log lies there in three pieces: its first eight and its last
/// four bytes in the descriptor, the rest in the data sector.
#[derive(Debug)]
pub struct Replayed<S> {
    source: S,
    /// By the byte offset of their first byte. They do not overlap.
    patches: BTreeMap<u64, Patch>,
    /// The length of the file, which the log may grow.
    len: u64,
}

/// A range of the file that the log writes.
#[derive(Clone, Copy, Debug)]
struct Patch {
    /// The first byte after it.
    end: u64,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Zeros,
    /// A sector, from its descriptor and its data sector, given by their byte offsets in the file.
    Sector {
        descriptor: u64,
        data: u64,
    },
}

/// Where a byte of the file is, and how many bytes from it on lie there in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub place: Place,
    /// How many bytes lie in one piece. Not 0.
    pub len: u64,
}

/// A place of the bytes of a file whose log counts as carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this byte offset of the file as it is.
    File(u64),
    /// Nowhere: they are zeros.
    Zeros,
}

impl<S: ReadAt> Replayed<S> {
    /// `source`, whose current header is `header`, with its log carried out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for a log of more than [`MAX_LOG_LEN`](crate::log::MAX_LOG_LEN) or with more changes than
    /// [`MAX_PATCHES`]; [`ErrorKind::Corrupt`] for a log without a valid sequence, for entries that contradict themselves
    /// or write where a log must not, and for a file that has been cut off since.
    pub fn open(source: S, header: &Header) -> Result<Self, Error> {
        let (mut patches, mut len) = (Patches(BTreeMap::new()), source.file_len());
        if let Some(mut log) = Log::open(&source, header)? {
            for entry in log.active_sequence()? {
                len = len.max(entry.last_file_offset);
                patches.entry(&mut log, &entry, header, source.file_len())?;
            }
        }
        let patches = patches.0;
        let len = patches.last_key_value().map_or(len, |(_, last)| len.max(last.end));
        Ok(Self { source, patches, len })
    }

    /// Whether the log changes anything in the file.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.patches.is_empty() || self.len != self.source.file_len()
    }

    /// Where byte `at` is, or `None` beyond the end.
    #[must_use]
    pub fn piece(&self, at: u64) -> Option<Piece> {
        let rest = self.len.checked_sub(at).filter(|&rest| rest > 0)?;
        let before = self.patches.range(..=at).next_back();
        if let Some((&start, patch)) = before.filter(|(_, patch)| at < patch.end) {
            return Some(patch.piece(start, at));
        }
        let next = self.patches.range(at..).next().map_or(rest, |(&start, _)| start - at);
        Some(match self.source.file_len().checked_sub(at) {
            Some(in_file @ 1..) => Piece { place: Place::File(at), len: next.min(in_file).min(rest) },
            _ => Piece { place: Place::Zeros, len: next.min(rest) },
        })
    }
}

impl<S: ReadAt> ReadAt for Replayed<S> {
    fn file_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<(), Error> {
        let mut at = offset;
        while !buf.is_empty() {
            let past_end = Error::new(ErrorKind::Io, offset, "read past the end of the file");
            let piece = self.piece(at).ok_or(past_end)?;
            let len = usize::try_from(piece.len).map_or(buf.len(), |len| len.min(buf.len()));
            let (head, rest) = buf.split_at_mut(len);
            match piece.place {
                Place::File(offset) => self.source.read_exact_at(offset, head)?,
                Place::Zeros => head.fill(0),
            }
            at = at.saturating_add(len as u64);
            buf = rest;
        }
        Ok(())
    }
}

impl Patch {
    /// Where byte `at` is, which lies in this patch, which begins at `start`.
    const fn piece(&self, start: u64, at: u64) -> Piece {
        let Content::Sector { descriptor, data } = self.content else {
            return Piece { place: Place::Zeros, len: self.end - at };
        };
        /// How many bytes of a sector are in the descriptor's first part, and where the second part begins.
        const LEADING: u64 = 8;
        const TRAILING: u64 = SECTOR - 4;
        let within = at - start;
        // All of these are places in the log, which lies in the file: nothing here overflows.
        let (offset, end) = match within {
            0..LEADING => (descriptor + LogDescriptor::LEADING_AT + within, LEADING),
            LEADING..TRAILING => (data + within, TRAILING),
            _ => (descriptor + LogDescriptor::TRAILING_AT + (within - TRAILING), SECTOR),
        };
        Piece { place: Place::File(offset), len: end - within }
    }
}

/// What the log writes, entry by entry. What comes later replaces what came before.
struct Patches(BTreeMap<u64, Patch>);

impl Patches {
    fn entry<S: ReadAt>(
        &mut self,
        log: &mut Log<'_, S>,
        entry: &Entry,
        header: &Header,
        file_len: u64,
    ) -> Result<(), Error> {
        if entry.flushed_file_offset > file_len {
            let what = "the file has been cut off since its log was written";
            return Err(Error::new(ErrorKind::Corrupt, log.offset_of(entry.sector), what));
        }
        let mut data_sector = entry.descriptor_sectors();
        for index in 0..entry.descriptors {
            let (descriptor, at) = log.descriptor(entry, index)?;
            let patch = if descriptor.signature == LogDescriptor::DATA {
                data_sector = data_sector.saturating_add(1);
                sector(log, entry, &descriptor, data_sector - 1, at)?
            } else {
                zeros(&descriptor, at)?
            };
            check(entry, &descriptor, patch.end, header, at)?;
            self.insert(descriptor.file_offset.get(), patch);
            if self.0.len() > MAX_PATCHES {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    at,
                    "the log changes too many pieces of the file",
                ));
            }
        }
        Ok(())
    }

    fn insert(&mut self, start: u64, patch: Patch) {
        if patch.end <= start {
            return;
        }
        // Only zeros are ever cut: a sector is no longer than the unit of all places here.
        if let Some((_, before)) = self.0.range_mut(..start).next_back() {
            let old = *before;
            before.end = old.end.min(start);
            if old.end > patch.end {
                self.0.insert(patch.end, old);
            }
        }
        while let Some((&at, &old)) = self.0.range(start..patch.end).next() {
            self.0.remove(&at);
            if old.end > patch.end {
                self.0.insert(patch.end, old);
            }
        }
        self.0.insert(start, patch);
    }
}

/// What a descriptor writes that has a data sector, the one of `index` in the entry.
fn sector<S: ReadAt>(
    log: &mut Log<'_, S>,
    entry: &Entry,
    descriptor: &LogDescriptor,
    index: u32,
    at: u64,
) -> Result<Patch, Error> {
    if index >= entry.sectors {
        return Err(Error::new(ErrorKind::Corrupt, at, "a log descriptor has no data sector"));
    }
    let sector = entry.sector.saturating_add(index);
    let data = log.offset_of(sector);
    let wrong = Error::new(ErrorKind::Corrupt, data, "a data sector of the log belongs to another entry");
    let (raw, _) = LogData::ref_from_prefix(log.sector(sector)?).map_err(|_| wrong)?;
    let number = u64::from(raw.sequence_high.get()) << 32 | u64::from(raw.sequence_low.get());
    if raw.signature != LogData::SIGNATURE || number != entry.sequence_number {
        return Err(wrong);
    }
    let end = descriptor.file_offset.get().checked_add(SECTOR);
    let end = end.ok_or(Error::new(ErrorKind::Corrupt, at, "a log descriptor's end overflows"))?;
    Ok(Patch { end, content: Content::Sector { descriptor: at, data } })
}

/// What a descriptor writes that has no data sector.
fn zeros(descriptor: &LogDescriptor, at: u64) -> Result<Patch, Error> {
    let corrupt = |what| Error::new(ErrorKind::Corrupt, at, what);
    if descriptor.signature != LogDescriptor::ZERO {
        return Err(corrupt("a log descriptor's signature is wrong"));
    }
    let len = u64::from_le_bytes(descriptor.leading);
    if !len.is_multiple_of(SECTOR) {
        return Err(corrupt("a log descriptor's length is not whole log sectors"));
    }
    let end = descriptor.file_offset.get().checked_add(len);
    Ok(Patch { end: end.ok_or(corrupt("a log descriptor's end overflows"))?, content: Content::Zeros })
}

/// Checks what is the same for all descriptors.
fn check(entry: &Entry, descriptor: &LogDescriptor, end: u64, header: &Header, at: u64) -> Result<(), Error> {
    let corrupt = |what| Err(Error::new(ErrorKind::Corrupt, at, what));
    let start = descriptor.file_offset.get();
    if descriptor.sequence_number.get() != entry.sequence_number {
        return corrupt("a log descriptor belongs to another entry");
    }
    if !start.is_multiple_of(SECTOR) {
        return corrupt("a log descriptor's place is not a multiple of a log sector");
    }
    if start < REGION_TABLES_AT[0] {
        return corrupt("a log descriptor writes to the headers");
    }
    // The log lies in the file: its end does not overflow.
    if start < header.log.at.saturating_add(header.log.len) && end > header.log.at {
        return corrupt("a log descriptor writes to the log");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const K: u64 = SECTOR;

    fn patches(list: &[(u64, u64, Content)]) -> Vec<(u64, u64, bool)> {
        let mut patches = Patches(BTreeMap::new());
        for &(start, end, content) in list {
            patches.insert(start * K, Patch { end: end * K, content });
        }
        let zeros = |patch: &Patch| matches!(patch.content, Content::Zeros);
        patches.0.iter().map(|(start, patch)| (start / K, patch.end / K, zeros(patch))).collect()
    }

    const ZEROS: Content = Content::Zeros;
    const DATA: Content = Content::Sector { descriptor: 0x10_0040, data: 0x10_1000 };

    #[test]
    fn later_changes_replace_earlier_ones() {
        assert_eq!(patches(&[(0, 9, ZEROS), (4, 5, DATA)]), [(0, 4, true), (4, 5, false), (5, 9, true)]);
        assert_eq!(patches(&[(4, 5, DATA), (6, 7, DATA), (0, 9, ZEROS)]), [(0, 9, true)]);
        assert_eq!(patches(&[(4, 5, DATA), (4, 5, ZEROS)]), [(4, 5, true)]);
        assert_eq!(patches(&[(0, 4, ZEROS), (2, 9, ZEROS)]), [(0, 2, true), (2, 9, true)]);
        assert_eq!(patches(&[(4, 9, ZEROS), (2, 6, ZEROS)]), [(2, 6, true), (6, 9, true)]);
        assert_eq!(
            patches(&[(0, 4, ZEROS), (3, 4, DATA), (4, 5, DATA)]),
            [(0, 3, true), (3, 4, false), (4, 5, false)]
        );
        assert_eq!(patches(&[(3, 3, ZEROS)]), []);
    }

    #[test]
    fn a_sector_lies_in_three_pieces() {
        let patch = Patch { end: 3 * K, content: DATA };
        let at = |within| patch.piece(2 * K, 2 * K + within);
        assert_eq!(at(0), Piece { place: Place::File(0x10_0048), len: 8 });
        assert_eq!(at(7), Piece { place: Place::File(0x10_004f), len: 1 });
        assert_eq!(at(8), Piece { place: Place::File(0x10_1008), len: 4084 });
        assert_eq!(at(4091), Piece { place: Place::File(0x10_1ffb), len: 1 });
        assert_eq!(at(4092), Piece { place: Place::File(0x10_0044), len: 4 });
        assert_eq!(at(4095), Piece { place: Place::File(0x10_0047), len: 1 });
    }
}
