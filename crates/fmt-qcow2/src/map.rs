//! Where a qcow2 disk's bytes are.

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, ReadAt, Source, Window};

use crate::entry::Rules;
use crate::geometry::Geometry;
use crate::header::{self, Header, Table};
use crate::limits::{L1_WINDOW, L2_WINDOW};
use crate::raw::{L1_ENTRY_LEN, OFFSET_MASK};
use crate::run::Places;
use crate::snapshot::{self, Wanted};
use crate::zeroed;

/// A qcow2 disk.
///
/// What is [`Source::Unallocated`] is in the backing file, where the header names one, and reads as zeros
/// elsewhere: also past the backing file's end. A compressed cluster is one unit; its decompressed form may go on
/// beyond the cluster, and what it has there does not count.
///
/// Tables and data that the file is too short for read as zeros, as `qemu-img` reads them. A compressed cluster of
/// which the file has nothing is an error there and here.
///
/// It holds [`L1_WINDOW`] and [`L2_WINDOW`] bytes of the tables at most, whatever the size of the disk.
#[derive(Debug)]
pub struct Qcow2Map<S> {
    source: S,
    file: FileId,
    header: Header,
    /// The L1 table that is looked at. It ends below 2^63.
    l1_table: Table,
    rules: Rules,
    /// The file that has the data, and its length in bytes: the image itself or its external data file.
    data: Option<(FileId, u64)>,
    l1: Window,
    l2: Window,
}

/// What the L1 table says.
enum L1Entry {
    /// There is an L2 table, at this byte of the file.
    Table(u64),
    /// There is none for the next so many bytes of the disk.
    Absent(u64),
}

impl<S: ReadAt> Qcow2Map<S> {
    /// The disk of the image in `source`, which extents call `file`. Where [`needs_data_file`](Self::needs_data_file)
    /// says so, its data is in another file, which is to be given with [`set_data_file`](Self::set_data_file).
    ///
    /// # Errors
    ///
    /// Those of [`Header::read`].
    pub fn new(source: S, file: FileId) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        let data = header.data_file().is_none().then(|| (file, source.file_len()));
        let rules = Rules::of(&header);
        let (l1, l2) = (Window::new(L1_WINDOW), Window::new(L2_WINDOW));
        let l1_table = header.l1();
        Ok(Self { source, file, header, l1_table, rules, data, l1, l2 })
    }

    /// The image's header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The name of the external data file, as long as there is one that was not given.
    #[must_use]
    pub fn needs_data_file(&self) -> Option<&[u8]> {
        let name = self.header.data_file().map(|file| file.name.as_slice());
        name.filter(|_| self.data.is_none())
    }

    /// Gives the external data file, of `len` bytes, which extents then call `file`. An image that has none
    /// ignores it.
    pub fn set_data_file(&mut self, file: FileId, len: u64) {
        if self.header.data_file().is_some() {
            self.data = Some((file, len));
        }
    }

    /// Shows the disk as an internal snapshot has it, instead of as it is now. As in `qemu-img`, it has the size that it has
    /// now: what a snapshot does not have of it is not allocated.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] where there is no such snapshot, [`ErrorKind::TooLarge`] and [`ErrorKind::Corrupt`]
    /// for an L1 table as no image has one, and those of reading.
    pub fn show_snapshot(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        let (table, at) = snapshot::find(&self.source, self.header.snapshots(), wanted)?;
        header::check_snapshot_l1(table, self.geometry(), at)?;
        self.l1_table = table;
        Ok(())
    }

    fn geometry(&self) -> Geometry {
        self.rules.geometry
    }

    fn places(&self) -> Places {
        let image = (self.file, self.source.file_len());
        Places { rules: self.rules, codec: self.header.codec(), image, data: self.data }
    }

    fn l1_entry(&mut self, at: u64) -> Result<L1Entry, Error> {
        let reach = self.geometry().l2_reach();
        let (index, within) = (at / reach, at % reach);
        let table = self.l1_table;
        let entry_at = table.offset.saturating_add(index * L1_ENTRY_LEN);
        if index >= table.entries.into() || entry_at >= self.source.file_len() {
            return Ok(L1Entry::Absent(self.header.virtual_size() - at));
        }
        let entry = u64::from_be_bytes(zeroed::read(&mut self.l1, &self.source, entry_at)?);
        let table = entry & OFFSET_MASK;
        if table == 0 {
            return Ok(L1Entry::Absent((1 + self.empty_l1_entries(entry_at)?) * reach - within));
        }
        if !self.geometry().is_aligned(table) {
            let what = "an L2 table's offset is not aligned to a cluster";
            return Err(Error::new(ErrorKind::Corrupt, entry_at, what));
        }
        Ok(L1Entry::Table(table))
    }

    /// How many entries without a table follow the one at `entry_at`, as far as the window shows them.
    fn empty_l1_entries(&mut self, entry_at: u64) -> Result<u64, Error> {
        if self.source.file_len() - entry_at < L1_ENTRY_LEN {
            return Ok(0);
        }
        let left = self.l1_table.l1_len() - (entry_at - self.l1_table.offset);
        let seen = self.l1.look(&self.source, entry_at, size_of::<u64>())?;
        let own = usize::try_from(left).ok().and_then(|own| seen.get(..own));
        let (entries, _) = own.unwrap_or(seen).as_chunks();
        let empty = |entry: &&[u8; 8]| u64::from_be_bytes(**entry) & OFFSET_MASK == 0;
        Ok(entries.iter().skip(1).take_while(empty).count() as u64)
    }

    /// The extent at byte `at`, as far as the window shows the L2 table at byte `table` of the file.
    fn in_table(&mut self, places: Places, table: u64, at: u64) -> Result<Extent, Error> {
        let geometry = self.geometry();
        let (size, entry_len) = (geometry.cluster_size(), geometry.l2_entry_len());
        let within = at % geometry.l2_reach();
        let before = within / size * entry_len as u64;
        // Tables begin below 2^56.
        let entry_at = table + before;
        let left = self.source.file_len().saturating_sub(entry_at);
        if left == 0 {
            let len = geometry.l2_reach() - within;
            return Ok(Extent { start: at, len, source: Source::Unallocated });
        }
        if left < entry_len as u64 {
            let last: [u8; 16] = zeroed::read(&mut self.l2, &self.source, entry_at)?;
            return places.run(last.get(..entry_len).unwrap_or(&last), at, entry_at);
        }
        let seen = self.l2.look(&self.source, entry_at, entry_len)?;
        let own = usize::try_from(size - before).ok().and_then(|own| seen.get(..own));
        places.run(own.unwrap_or(seen), at, entry_at)
    }
}

impl<S: ReadAt> DiskMap for Qcow2Map<S> {
    fn virtual_size(&self) -> u64 {
        self.header.virtual_size()
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let size = self.virtual_size();
        let beyond = Error::new(ErrorKind::TooLarge, 0, "a place beyond the end of the disk");
        if at >= size {
            return Err(beyond);
        }
        let places = self.places();
        let found = match self.l1_entry(at)? {
            L1Entry::Absent(len) => Extent { start: at, len, source: Source::Unallocated },
            L1Entry::Table(table) => self.in_table(places, table, at)?,
        };
        let found = found.clip(&(0..size)).ok_or(beyond)?;
        Ok(places.clip_to_file(found, at))
    }
}
