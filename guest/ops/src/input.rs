//! An input of any format, opened as a disk with all that is behind it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use fmt_core::{Chain, DiskMap, Error, ErrorKind, Extent, FileId, Format, ReadAt, probe};
use fmt_raw::RawMap;

use crate::host::InFile;
use crate::{Failure, Host, HostFile};

/// A disk, and the disks behind it.
pub type Disk<'h> = Chain<Layer<'h>>;

/// Opens the input `file` as `format`, or as whatever it shows, with its backing images.
///
/// Where one of the images turns out to be broken later, `blamed` says which.
///
/// # Errors
///
/// [`ErrorKind::UnsupportedFormat`] for a format that is known and cannot be read, and those of the formats.
pub fn open<'h, H: Host>(
    host: &'h H,
    file: FileId,
    format: Option<Format>,
    blamed: &'h Cell<FileId>,
) -> Result<Disk<'h>, Failure> {
    let (top, mut backing) = open_one(host, file, format, blamed)?;
    let mut disk = Chain::new(top);
    while let Some(Backing { from, name, format }) = backing.take() {
        let file = host.open(from, &name).in_file(from)?;
        let (layer, next) = open_one(host, file, format, blamed)?;
        disk.push(layer).in_file(file)?;
        backing = next;
    }
    Ok(disk)
}

/// One image of a chain.
pub struct Layer<'h> {
    file: FileId,
    map: Box<dyn DiskMap + 'h>,
    blamed: &'h Cell<FileId>,
}

/// The image that an image stands on.
struct Backing {
    /// The image that names it.
    from: FileId,
    name: Vec<u8>,
    format: Option<Format>,
}

impl DiskMap for Layer<'_> {
    fn virtual_size(&self) -> u64 {
        self.map.virtual_size()
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        self.map.extent_at(at).inspect_err(|_| self.blamed.set(self.file))
    }
}

fn open_one<'h, H: Host>(
    host: &'h H,
    file: FileId,
    format: Option<Format>,
    blamed: &'h Cell<FileId>,
) -> Result<(Layer<'h>, Option<Backing>), Failure> {
    let input = HostFile::new(host, file);
    let (map, backing) = match format.map_or_else(|| probe_input(&input), Ok).in_file(file)? {
        Format::Raw => (Box::new(RawMap::new(file, input.file_len()).in_file(file)?) as _, None),
        other => return Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())).in_file(file),
    };
    Ok((Layer { file, map, blamed }, backing))
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
