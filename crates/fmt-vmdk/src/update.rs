//! The steps that write into a VMDK that is there.

use alloc::vec::Vec;
use core::ops::Range;

use fmt_core::{
    BlockEdit, BlockTable, DiskMap, DiskPlan, EditWindow, Error, ErrorKind, Extent, FileId, Output, ReadAt,
    SECTOR, StepSink, Window,
};

use crate::descriptor::{self, NO_PARENT};
use crate::header::{Packing, SparseExtent};
use crate::limits::{GD_WINDOW, GT_EDIT_WINDOW, IDENTITY_LEN, MAX_FILE_LEN};
use crate::map::{EMBEDDED_AT, VmdkMap};
use crate::raw::GTE_ZERO;
use crate::sparse::TOO_MANY_GRAINS;

/// A VMDK that is there and written to: a monolithicSparse one of any version, without a parent.
///
/// Grains that are there are written in place. One that is not is added when data touches it, behind the end of the file; what
/// was not written of it is zeros. A whole grain of zeros is marked as such where the header allows that, and its
/// place in the file is lost, as it is with `qemu-img`; elsewhere zeros are written. Entries are changed in both copies of
/// the grain tables. With the first change, and only if there is one, the descriptor gets a new content identity.
///
/// What is written must be told apart: header, descriptor, directories and tables lie before the grains, as the header says,
/// or the disk is refused.
///
/// # When it ends in the middle
///
/// A table speaks of a grain only once all of it has been said, and [done](fmt_core::edit). So of a VMDK whose writer was
/// stopped, each byte is what it was or what it should have become; it may have grains at its end that nothing leads to, and
/// the two copies of a table may differ. Nothing is flushed: after the machine itself has failed, none of this holds.
#[derive(Debug)]
pub struct VmdkUpdate<'s, R: ?Sized, S> {
    output: Output<'s, S>,
    edit: BlockEdit,
    grains: Grains<'s, R>,
}

impl<'s, R: ReadAt + ?Sized, S: StepSink> VmdkUpdate<'s, R, S> {
    /// Opens the image in `image`, which is the file `file` of `sink`, for writing. No step is taken yet.
    ///
    /// `cid` is the disk's next content identity: any other than it has, and than that of
    /// [no parent](NO_PARENT).
    ///
    /// # Errors
    ///
    /// Those of [`VmdkMap::open`]; [`ErrorKind::UnsupportedFeature`] for a streamOptimized disk, for one of an ESXi host, for
    /// one with a parent, and for a descriptor that is not behind the header; [`ErrorKind::Corrupt`] for a descriptor whose
    /// identity cannot be changed, and for directories that do not lie between it and the grains;
    /// [`ErrorKind::TooLarge`] for a descriptor that has no room for its identity.
    pub fn open(image: &'s R, sink: &'s S, file: FileId, cid: u32) -> Result<Self, Error> {
        let map = VmdkMap::open(image, file)?;
        let unsupported = |what| Error::new(ErrorKind::UnsupportedFeature, 0, what);
        if map.identity().parent.is_some() || map.identity().parent_cid != NO_PARENT {
            return Err(unsupported("writing into a VMDK with a parent"));
        }
        let extent = map.parts().iter().find_map(|part| part.sparse());
        let extent = *extent.ok_or(unsupported("writing into a VMDK that is not one sparse file"))?;
        if extent.packing != Packing::Plain {
            return Err(unsupported("writing into a streamOptimized VMDK"));
        }
        let places = Places::of(&extent)?;
        let descriptor = places.descriptor(image, cid)?;
        let file_len = image.file_len();
        let no_room = Error::new(ErrorKind::TooLarge, file_len, "a file that is longer than any can be");
        let end = file_len.checked_next_multiple_of(extent.grain_len).ok_or(no_room)?;
        let first = end.max(places.grains_at);
        let max_len = first.saturating_add(extent.len.saturating_add(extent.grain_len)).min(MAX_FILE_LEN);
        Ok(Self {
            output: Output::resume(sink, file, file_len, max_len),
            edit: BlockEdit::new(extent.grain_len, map.virtual_size()),
            grains: Grains {
                image,
                extent,
                places,
                descriptor: Some(descriptor),
                directories: [GD_WINDOW; 2].map(Window::new),
                tables: [GT_EDIT_WINDOW; 2].map(EditWindow::new),
                file_len,
                first,
                next: first,
            },
        })
    }

    /// The disk's size in bytes.
    #[must_use]
    pub const fn virtual_size(&self) -> u64 {
        self.grains.extent.len
    }

    /// The length in bytes of the grains in which the disk is allocated.
    #[must_use]
    pub const fn block_len(&self) -> Option<u64> {
        Some(self.grains.extent.grain_len)
    }
}

impl<R: ReadAt + ?Sized, S: StepSink> DiskPlan for VmdkUpdate<'_, R, S> {
    /// Writes one extent. What is [`Source::Unallocated`](fmt_core::Source::Unallocated) stays as it is.
    fn extent(&mut self, extent: Extent) -> Result<(), Error> {
        let Self { output, edit, grains } = self;
        edit.extent(output, extent, &mut Table { grains, output })
    }

    fn finish(mut self) -> Result<(), Error> {
        let Self { output, edit, grains } = &mut self;
        edit.finish(output)?;
        grains.tables.iter_mut().try_for_each(|table| table.finish(grains.image, output))?;
        if grains.next == grains.first { Ok(()) } else { output.finish(grains.next) }
    }
}

/// What lies before the grains, in bytes: found to be apart, but for the directories, which are only read.
#[derive(Clone, Debug)]
struct Places {
    descriptor: Range<u64>,
    /// The grain directory, and the redundant one if there is one.
    directories: [Option<Range<u64>>; 2],
    grains_at: u64,
}

impl Places {
    fn of(extent: &SparseExtent) -> Result<Self, Error> {
        let unsupported = |at, what| Error::new(ErrorKind::UnsupportedFeature, at, what);
        let places = extent.places.ok_or(unsupported(0, "writing into an ESXi host's sparse extent"))?;
        if places.descriptor_at != EMBEDDED_AT {
            return Err(unsupported(28, "writing into a VMDK whose descriptor is not behind its header"));
        }
        let (grains_at, end) = (places.grains_at, EMBEDDED_AT.saturating_add(places.descriptor_len));
        let directory = |at: u64| at..at.saturating_add(extent.gd_entries.saturating_mul(4));
        let directories = [Some(directory(extent.gd_at)), places.rgd_at.map(directory)];
        let apart = |range: &Range<u64>| end <= range.start && range.end <= grains_at;
        if end > grains_at || !directories.iter().flatten().all(apart) {
            let what = "descriptor, grain directories and grains do not lie one behind the other";
            return Err(Error::new(ErrorKind::Corrupt, 0, what));
        }
        Ok(Self { descriptor: EMBEDDED_AT..end, directories, grains_at })
    }

    /// What is to be written in the descriptor's place for it to tell `cid`.
    fn descriptor<R: ReadAt + ?Sized>(&self, image: &R, cid: u32) -> Result<Vec<u8>, Error> {
        let Range { start, end } = self.descriptor;
        let mut text = descriptor::with_cid(image, start, cid)?;
        // A zero ends the text.
        let room = (end - start).min(IDENTITY_LEN as u64);
        let len = (text.len() as u64 + 1).next_multiple_of(SECTOR).min(room);
        let len = usize::try_from(len).ok().filter(|&len| text.len() < len);
        let no_room = Error::new(ErrorKind::TooLarge, start, "the descriptor, for the place that it has");
        text.resize(len.ok_or(no_room)?, 0);
        Ok(text)
    }

    /// The byte offset of the grain table of `len` bytes that begins at sector `sector`; or why it cannot be there.
    fn table_at(&self, sector: u32, len: u64) -> Result<u64, &'static str> {
        let start = u64::from(sector) * SECTOR;
        let table = start..start + len;
        let overlaps = |other: &Range<u64>| other.start < table.end && table.start < other.end;
        if table.start < self.descriptor.end || table.end > self.grains_at {
            return Err("a grain table does not lie between the descriptor and the grains");
        }
        if self.directories.iter().flatten().any(overlaps) {
            return Err("a grain table overlaps a grain directory");
        }
        Ok(start)
    }
}

/// The grains of the disk.
#[derive(Debug)]
struct Grains<'s, R: ?Sized> {
    image: &'s R,
    extent: SparseExtent,
    places: Places,
    /// The descriptor's new bytes, until they are written.
    descriptor: Option<Vec<u8>>,
    /// The grain directory, and the redundant one.
    directories: [Window; 2],
    /// The grain tables of the one, and of the other.
    tables: [EditWindow; 2],
    /// The length of the file before anything was added.
    file_len: u64,
    /// Where the first grain that is added lies, and where the next will be.
    first: u64,
    next: u64,
}

impl<R: ReadAt + ?Sized> Grains<'_, R> {
    /// The byte offset of the entry of grain `grain` in the tables of the directory `copy`, or `None` where there is no table,
    /// or no such directory.
    fn entry_at(&mut self, copy: usize, grain: u64) -> Result<Option<u64>, Error> {
        let per_table = u64::from(self.extent.gtes_per_gt);
        let (Some(Some(directory)), Some(window)) =
            (self.places.directories.get(copy), self.directories.get_mut(copy))
        else {
            return Ok(None);
        };
        let at = directory.start.saturating_add(grain / per_table * 4);
        let table = window.le_u32(self.image, at)?;
        if table == 0 {
            return Ok(None);
        }
        let table = self.places.table_at(table, per_table * 4);
        let table = table.map_err(|what| Error::new(ErrorKind::Corrupt, at, what))?;
        Ok(Some(table + grain % per_table * 4))
    }

    /// Writes the descriptor, unless that has been done.
    fn begin<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<(), Error> {
        match self.descriptor.take() {
            Some(descriptor) => output.write(self.places.descriptor.start, &descriptor),
            None => Ok(()),
        }
    }
}

/// The grains, and the file that they are in.
struct Table<'g, 's, R: ?Sized, S> {
    grains: &'g mut Grains<'s, R>,
    output: &'g Output<'s, S>,
}

/// What the tables say of a grain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Nothing, or that it is zeros.
    Zeros,
    /// It lies at this sector, the entry at this byte says.
    At(u32, u64),
}

impl<R: ReadAt + ?Sized, S: StepSink> Table<'_, '_, R, S> {
    fn entry(&mut self, grain: u64) -> Result<Entry, Error> {
        let Self { grains, output } = self;
        let Some(at) = grains.entry_at(0, grain)? else { return Ok(Entry::Zeros) };
        let [table, _] = &mut grains.tables;
        let bytes = table.look(grains.image, output, at, size_of::<u32>())?;
        Ok(match bytes.first_chunk().copied().map_or(0, u32::from_le_bytes) {
            0 => Entry::Zeros,
            GTE_ZERO if grains.extent.zero_grains => Entry::Zeros,
            sector => Entry::At(sector, at),
        })
    }

    /// Changes the entry of grain `grain` in all copies of its table.
    fn set(&mut self, grain: u64, entry: u32) -> Result<(), Error> {
        let Self { grains, output } = self;
        let no_table = "writing into a part of a VMDK that has no grain table";
        let at = grains.entry_at(0, grain)?;
        let at = at.ok_or(Error::new(ErrorKind::UnsupportedFeature, grains.extent.gd_at, no_table))?;
        let redundant = grains.entry_at(1, grain)?;
        if let (Some(directory), None) = (&grains.places.directories[1], redundant) {
            let what = "the redundant grain directory lacks a table";
            return Err(Error::new(ErrorKind::Corrupt, directory.start, what));
        }
        grains.begin(output)?;
        // Two directories may share their tables: what is one place is changed once.
        let copies = [Some(at), redundant.filter(|&redundant| redundant != at)];
        for (at, table) in copies.into_iter().zip(&mut grains.tables) {
            if let Some(at) = at {
                table.look(grains.image, output, at, size_of::<u32>())?;
                table.put(at, &entry.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

impl<R: ReadAt + ?Sized, S: StepSink> BlockTable for Table<'_, '_, R, S> {
    fn find(&mut self, grain: u64) -> Result<Option<u64>, Error> {
        let Entry::At(sector, place) = self.entry(grain)? else { return Ok(None) };
        let Self { grains, output } = self;
        let (at, start) = (u64::from(sector) * SECTOR, grain.saturating_mul(grains.extent.grain_len));
        // What the last grain has behind the disk's end, the file may lack.
        let used = grains.extent.grain_len.min(grains.extent.len.saturating_sub(start));
        let corrupt = |what| Err(Error::new(ErrorKind::Corrupt, place, what));
        if at < grains.places.grains_at {
            return corrupt("a grain overlaps what lies before the grains");
        }
        // What is behind the old end has been added since: no entry that is asked for leads there.
        if at + used > grains.file_len {
            return corrupt("a grain lies beyond the end of the file");
        }
        grains.begin(output)?;
        Ok(Some(at))
    }

    fn add(&mut self, grain: u64) -> Result<u64, Error> {
        let at = self.grains.next;
        // Whoever has a number for the first sector of a grain has one for its last.
        let sector = u32::try_from(at / SECTOR).map_err(|_| TOO_MANY_GRAINS)?;
        self.set(grain, sector)?;
        self.grains.next = at.saturating_add(self.grains.extent.grain_len);
        self.output.reserve(self.grains.next)?;
        Ok(at)
    }

    fn erase(&mut self, grain: u64) -> Result<bool, Error> {
        if !self.grains.extent.zero_grains {
            return Ok(false);
        }
        if self.entry(grain)? != Entry::Zeros {
            self.set(grain, GTE_ZERO)?;
        }
        Ok(true)
    }
}
