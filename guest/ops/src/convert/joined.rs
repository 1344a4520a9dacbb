//! Disks, one behind the other.

use alloc::vec::Vec;
use core::cell::Cell;

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, Format, Source, round_up_to_sector};

use fmt_qcow2::Wanted;

use crate::host::InFile;
use crate::input::{self, Disk};
use crate::{Failure, Host};

/// The inputs as one disk. Each takes whole sectors of it.
pub(super) struct Joined<'h> {
    parts: Vec<Part<'h>>,
}

struct Part<'h> {
    disk: Disk<'h>,
    /// Where it begins and ends on the whole disk.
    start: u64,
    end: u64,
}

impl<'h> Joined<'h> {
    /// The first `inputs` files of the host, opened as `format` or as whatever each shows; of each the `snapshot`, if one
    /// is given.
    pub(super) fn open<H: Host>(
        host: &'h H,
        inputs: u32,
        format: Option<Format>,
        snapshot: Option<Wanted<'_>>,
        blamed: &'h Cell<FileId>,
    ) -> Result<Self, Failure> {
        let (mut parts, mut start) = (Vec::new(), 0_u64);
        for file in (0..inputs).map(FileId) {
            let disk = input::open(host, file, format, snapshot, blamed)?;
            let end = round_up_to_sector(disk.virtual_size()).and_then(|len| start.checked_add(len));
            let end = end.ok_or(Error::new(ErrorKind::TooLarge, 0, "all inputs together")).in_file(file)?;
            parts.push(Part { disk, start, end });
            start = end;
        }
        Ok(Self { parts })
    }

    /// The extent that holds byte `at` in the image that is the input there, whatever it stands on.
    pub(super) fn own_extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        self.part(at)?.extent_at(at, Disk::own_extent_at)
    }

    fn part(&mut self, at: u64) -> Result<&mut Part<'h>, Error> {
        let index = self.parts.partition_point(|part| part.end <= at);
        self.parts.get_mut(index).ok_or(Error::new(
            ErrorKind::TooLarge,
            0,
            "a place beyond the end of the disk",
        ))
    }
}

impl DiskMap for Joined<'_> {
    fn virtual_size(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        self.part(at)?.extent_at(at, Disk::extent_at)
    }
}

impl<'h> Part<'h> {
    /// What `ask` tells of byte `at` of the whole disk.
    fn extent_at(
        &mut self,
        at: u64,
        ask: impl FnOnce(&mut Disk<'h>, u64) -> Result<Extent, Error>,
    ) -> Result<Extent, Error> {
        let size = self.disk.virtual_size();
        let place = at - self.start;
        if place >= size {
            return Ok(Extent { start: at, len: self.end - at, source: Source::Zero });
        }
        let extent = ask(&mut self.disk, place)?.clip(&(place..size));
        let extent = extent.ok_or(Error::new(ErrorKind::Corrupt, place, "an extent elsewhere"))?;
        Ok(Extent { start: at, ..extent })
    }
}
