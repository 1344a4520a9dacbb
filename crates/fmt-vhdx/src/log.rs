//! The log: which of its entries have to be carried out before the file can be read.

use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, ReadAt, Window};
use zerocopy::FromBytes;

use crate::checksum::Crc32c;
use crate::header::Header;
use crate::raw::{Guid, LOG_SECTOR, LogDescriptor, LogEntry};

/// How long a log can be that has to be replayed, in bytes. Logs are 1 MiB unless someone asked for more.
pub const MAX_LOG_LEN: u64 = 64 << 20;

/// How much of the log is kept at a time, in bytes.
const WINDOW: usize = 64 << 10;

/// How many descriptors one sector holds. The header of an entry takes the room of two.
const DESCRIPTORS_PER_SECTOR: u32 = 128;

/// An entry that is whole: its checksum is right. Sectors are counted from the beginning of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its first sector.
    pub(crate) sector: u32,
    /// How many sectors it takes. It may go on at the beginning of the log.
    pub(crate) sectors: u32,
    /// The sector of the oldest entry that has to be carried out.
    tail: u32,
    pub(crate) sequence_number: u64,
    pub(crate) descriptors: u32,
    /// How long the file was, at least, when the entry was written.
    pub(crate) flushed_file_offset: u64,
    /// How long the file has to be.
    pub(crate) last_file_offset: u64,
}

impl Entry {
    /// How many sectors its descriptors take. Data sectors come behind them.
    pub(crate) const fn descriptor_sectors(&self) -> u32 {
        descriptor_sectors(self.descriptors)
    }
}

const fn descriptor_sectors(descriptors: u32) -> u32 {
    descriptors.saturating_add(2).div_ceil(DESCRIPTORS_PER_SECTOR)
}

/// A log with something in it to replay.
pub(crate) struct Log<'s, S: ?Sized> {
    source: &'s S,
    /// The byte offset of the log in the file.
    at: u64,
    /// The log's length in sectors.
    sectors: u32,
    guid: Guid,
    window: Window,
}

impl<'s, S: ReadAt + ?Sized> Log<'s, S> {
    /// The log of `source`, or `None` if there is nothing to replay.
    pub(crate) fn open(source: &'s S, header: &Header) -> Result<Option<Self>, Error> {
        if header.log_guid == Guid::ZERO {
            return Ok(None);
        }
        let log = header.log;
        if log.len > MAX_LOG_LEN {
            return Err(Error::new(
                ErrorKind::TooLarge,
                log.at,
                "a log of more than 64 MiB has to be replayed",
            ));
        }
        if log.end().is_none_or(|end| end > source.file_len()) {
            return Err(Error::new(ErrorKind::Corrupt, log.at, "the log lies beyond the end of the file"));
        }
        let sectors = u32::try_from(log.len / LOG_SECTOR as u64).unwrap_or(0);
        Ok(Some(Self { source, at: log.at, sectors, guid: header.log_guid, window: Window::new(WINDOW) }))
    }

    /// The entries to carry out, in this order (MS-VHDX section 2.3.3): the sequence that ends in the largest number.
    ///
    /// A log in which no entry was ever begun has none. The specification calls such a file corrupt, but it is what
    /// remains when the machine stops between the header and the first entry, and `qemu-img` reads it too.
    pub(crate) fn active_sequence(&mut self) -> Result<Vec<Entry>, Error> {
        let (entries, begun) = self.scan()?;
        match active(&entries, self.sectors) {
            Some(sequence) => Ok(sequence),
            None if !begun => Ok(Vec::new()),
            None => Err(Error::new(ErrorKind::Corrupt, self.at, "the log has no valid sequence of entries")),
        }
    }

    /// The byte offset in the file of sector `sector`. Behind the last one comes the first.
    pub(crate) fn offset_of(&self, sector: u32) -> u64 {
        let sector = sector.checked_rem(self.sectors).unwrap_or(0);
        self.at.saturating_add(u64::from(sector) * LOG_SECTOR as u64)
    }

    /// The bytes of sector `sector`.
    pub(crate) fn sector(&mut self, sector: u32) -> Result<&[u8], Error> {
        let at = self.offset_of(sector);
        let bytes = self.window.look(self.source, at, LOG_SECTOR)?;
        bytes.get(..LOG_SECTOR).ok_or(Error::new(ErrorKind::Corrupt, at, "the log ends early"))
    }

    /// Descriptor `index` of `entry`, and the byte offset in the file where it lies.
    pub(crate) fn descriptor(&mut self, entry: &Entry, index: u32) -> Result<(LogDescriptor, u64), Error> {
        // The first two places of the entry are taken by its header.
        let place = index.saturating_add(2);
        let (sector, within) = (place / DESCRIPTORS_PER_SECTOR, place % DESCRIPTORS_PER_SECTOR);
        let sector = entry.sector.saturating_add(sector);
        let within = within as usize * size_of::<LogDescriptor>();
        let at = self.offset_of(sector).saturating_add(within as u64);
        let bytes = self.sector(sector)?.get(within..).unwrap_or(&[]);
        let (descriptor, _) = LogDescriptor::read_from_prefix(bytes)
            .map_err(|_| Error::new(ErrorKind::Corrupt, at, "a log descriptor ends early"))?;
        Ok((descriptor, at))
    }

    /// The whole entries in ascending order, and whether there is any entry of this log, whole or not.
    ///
    /// Only the first sector of an entry begins as an entry does. So entries do not overlap, and each sector is looked at
    /// once, or twice where an entry goes on at the beginning of the log, whatever the entries say.
    fn scan(&mut self) -> Result<(Vec<Entry>, bool), Error> {
        let (mut entries, mut begun) = (Vec::new(), false);
        let mut sector = 0;
        while sector < self.sectors {
            let mut step = 1;
            if let Some((entry, checksum)) = self.begin(sector)? {
                begun = true;
                if let Some(entry) = entry
                    && self.checksum(&entry)?.is_some_and(|found| found.is(checksum))
                {
                    step = entry.sectors;
                    entries.push(entry);
                }
            }
            sector = sector.saturating_add(step);
        }
        Ok((entries, begun))
    }

    /// The entry of this log that begins at `sector`, if one does, with the checksum that it should have; without the
    /// entry where its header contradicts itself.
    fn begin(&mut self, sector: u32) -> Result<Option<(Option<Entry>, u32)>, Error> {
        let (guid, sectors) = (self.guid, self.sectors);
        let Ok((raw, _)) = LogEntry::read_from_prefix(self.sector(sector)?) else { return Ok(None) };
        if raw.signature != LogEntry::SIGNATURE || raw.log_guid != guid {
            return Ok(None);
        }
        let entry = Entry {
            sector,
            sectors: in_sectors(raw.entry_length.get()).unwrap_or(0),
            tail: in_sectors(raw.tail.get()).unwrap_or(u32::MAX),
            sequence_number: raw.sequence_number.get(),
            descriptors: raw.descriptor_count.get(),
            flushed_file_offset: raw.flushed_file_offset.get(),
            last_file_offset: raw.last_file_offset.get(),
        };
        let sound = entry.sequence_number != 0
            && entry.tail < sectors
            && entry.sectors <= sectors
            // Which makes it one sector at least.
            && entry.descriptor_sectors() <= entry.sectors;
        Ok(Some((sound.then_some(entry), raw.checksum.get())))
    }

    /// The checksum of `entry`, or `None` if another one begins inside.
    fn checksum(&mut self, entry: &Entry) -> Result<Option<Crc32c>, Error> {
        let mut crc = Crc32c::new().structure(self.sector(entry.sector)?);
        for index in 1..entry.sectors {
            let bytes = self.sector(entry.sector.saturating_add(index))?;
            if bytes.starts_with(&LogEntry::SIGNATURE) {
                return Ok(None);
            }
            crc = crc.bytes(bytes);
        }
        Ok(Some(crc))
    }
}

/// `len` bytes as sectors, if they are whole ones.
fn in_sectors(len: u32) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, reason = "4096")]
    const SECTOR: u32 = LOG_SECTOR as u32;
    len.is_multiple_of(SECTOR).then_some(len / SECTOR)
}

/// The active sequence among whole entries, which come in ascending order and do not overlap.
///
/// Entries of which each follows the one before, in place and number, are a chain. The last one of a chain tells with
/// its tail where in the chain the sequence begins; a chain that does not hold its own tail has lost its beginning.
fn active(entries: &[Entry], sectors: u32) -> Option<Vec<Entry>> {
    let next = |index: usize| {
        let entry = entries.get(index)?;
        let follower_at = if index + 1 < entries.len() { index + 1 } else { 0 };
        let follower = entries.get(follower_at)?;
        let follows = entry.sector.saturating_add(entry.sectors).checked_rem(sectors)
            == Some(follower.sector)
            && entry.sequence_number.checked_add(1) == Some(follower.sequence_number);
        follows.then_some(follower_at)
    };
    let is_first = |index: usize| next(index.checked_sub(1).unwrap_or(entries.len() - 1)) != Some(index);

    let mut best: Option<Vec<Entry>> = None;
    for first in (0..entries.len()).filter(|&index| is_first(index)) {
        // Numbers grow along a chain, so that it ends.
        let chain: Vec<Entry> = core::iter::successors(Some(first), |&index| next(index))
            .filter_map(|index| entries.get(index).copied())
            .collect();
        let Some(head) = chain.last() else { continue };
        let better = best
            .as_ref()
            .and_then(|best| best.last())
            .is_none_or(|best| head.sequence_number > best.sequence_number);
        let tail = chain.iter().position(|entry| entry.sector == head.tail);
        if let Some(tail) = tail.filter(|_| better) {
            best = chain.get(tail..).map(<[Entry]>::to_vec);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sector: u32, sectors: u32, sequence_number: u64, tail: u32) -> Entry {
        let descriptors = 0;
        let (flushed_file_offset, last_file_offset) = (0, 0);
        Entry { sector, sectors, tail, sequence_number, descriptors, flushed_file_offset, last_file_offset }
    }

    #[track_caller]
    fn replays(entries: &[Entry], expected: &[u64]) {
        let found: Option<Vec<u64>> =
            active(entries, 256).map(|sequence| sequence.iter().map(|entry| entry.sequence_number).collect());
        assert_eq!(found.as_deref(), Some(expected).filter(|expected| !expected.is_empty()));
    }

    #[test]
    fn an_empty_log_has_no_sequence() {
        replays(&[], &[]);
    }

    #[test]
    fn the_sequence_begins_at_the_tail_of_its_head() {
        replays(&[entry(0, 2, 1, 0)], &[1]);
        replays(&[entry(0, 2, 1, 0), entry(2, 2, 2, 0), entry(4, 3, 3, 2)], &[2, 3]);
        replays(&[entry(0, 2, 1, 0), entry(2, 2, 2, 2)], &[2]);
    }

    #[test]
    fn the_sequence_with_the_largest_number_wins() {
        replays(&[entry(0, 2, 8, 0), entry(2, 2, 9, 0), entry(10, 2, 5, 10), entry(12, 2, 6, 10)], &[8, 9]);
        replays(&[entry(0, 2, 8, 0), entry(10, 2, 15, 10), entry(12, 2, 16, 10)], &[15, 16]);
    }

    #[test]
    fn a_sequence_goes_on_at_the_beginning_of_the_log() {
        replays(
            &[entry(0, 2, 7, 252), entry(2, 1, 8, 252), entry(252, 2, 5, 252), entry(254, 2, 6, 252)],
            &[5, 6, 7, 8],
        );
        replays(&[entry(1, 2, 7, 254), entry(254, 3, 6, 254)], &[6, 7]);
    }

    /// The beginning was overwritten: what remains must not be taken for the whole.
    #[test]
    fn a_sequence_without_its_tail_is_none() {
        replays(&[entry(4, 2, 3, 0), entry(6, 2, 4, 0)], &[]);
        replays(&[entry(0, 1, 2, 0), entry(4, 2, 3, 0), entry(6, 2, 4, 0)], &[2]);
        replays(&[entry(0, 2, 1, 2)], &[]);
    }

    #[test]
    fn numbers_that_cannot_follow_end_a_sequence() {
        replays(&[entry(0, 256, u64::MAX, 0)], &[u64::MAX]);
        replays(&[entry(0, 128, u64::MAX, 0), entry(128, 128, 1, 128)], &[u64::MAX]);
    }

    #[test]
    fn descriptors_fill_the_first_sector_and_then_more() {
        assert_eq!([0, 1, 126, 127, 254, 255].map(descriptor_sectors), [1, 1, 1, 2, 2, 3]);
    }
}
