//! An input of any format, opened as a disk.

use fmt_core::{DiskMap, Error, ErrorKind, Extent, Format, ReadAt, probe};
use fmt_raw::RawMap;

use crate::{Host, HostFile};

/// The disk that an input holds.
#[derive(Debug)]
pub enum Disk {
    /// A raw disk.
    Raw(RawMap),
}

impl Disk {
    /// Opens `input` as `format`, or as whatever it shows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFormat`] for a format that is known and cannot be read, and those of reading.
    pub fn open<H: Host>(input: &HostFile<'_, H>, format: Option<Format>) -> Result<Self, Error> {
        match format.map_or_else(|| probe_input(input), Ok)? {
            Format::Raw => RawMap::new(input.id(), input.len()).map(Self::Raw),
            other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())),
        }
    }
}

impl DiskMap for Disk {
    fn virtual_size(&self) -> u64 {
        match self {
            Self::Raw(map) => map.virtual_size(),
        }
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        match self {
            Self::Raw(map) => map.extent_at(at),
        }
    }
}

fn probe_input<H: Host>(input: &HostFile<'_, H>) -> Result<Format, Error> {
    let mut head = [0; probe::PROBE_LEN];
    let head = input.read_up_to(0, &mut head)?;
    Ok(match probe(head) {
        // Apple's images carry their mark at the end; like `qemu-img`, go by the name.
        Format::Raw if input.is_named_dmg() => Format::Dmg,
        format => format,
    })
}
