//! An input of any format, opened as a disk with all that is behind it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use fmt_core::{Chain, DiskMap, Error, ErrorKind, Extent, FileId, Format, ReadAt, probe};
use fmt_qcow2::Qcow2Map;
use fmt_raw::RawMap;
use fmt_vhd::VhdMap;
use fmt_vhdx::VhdxMap;
use fmt_vmdk::VmdkMap;

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
        Format::Qcow2 => open_qcow2(host, input)?,
        Format::Vmdk => open_vmdk(host, input)?,
        Format::Vpc => open_vhd(input)?,
        Format::Vhdx => open_vhdx(input)?,
        other => return Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())).in_file(file),
    };
    Ok((Layer { file, map, blamed }, backing))
}

type Opened<'h> = Result<(Box<dyn DiskMap + 'h>, Option<Backing>), Failure>;

fn open_qcow2<'h, H: Host>(host: &'h H, input: HostFile<'h, H>) -> Opened<'h> {
    let file = input.id();
    let mut map = Qcow2Map::new(input, file).in_file(file)?;
    let data = map.needs_data_file().map(|name| host.open(file, name)).transpose().in_file(file)?;
    if let Some(data) = data {
        map.set_data_file(data, host.file_len(data));
    }
    let backing = map.header().backing_file().map(|backing| -> Result<_, Error> {
        let format = backing.format.as_deref().map(backing_format).transpose()?;
        Ok(Backing { from: file, name: backing.name.clone(), format })
    });
    let backing = backing.transpose().in_file(file)?;
    Ok((Box::new(map), backing))
}

fn open_vmdk<'h, H: Host>(host: &'h H, input: HostFile<'h, H>) -> Opened<'h> {
    let file = input.id();
    let open = |extent: &fmt_vmdk::ExtentLine| {
        let id = host.open(file, &extent.name)?;
        Ok((HostFile::new(host, id), id))
    };
    let map = VmdkMap::open_with(input, file, open).in_file(file)?;
    let parent = map.identity().parent.clone();
    let backing = parent.map(|name| Backing { from: file, name, format: Some(Format::Vmdk) });
    Ok((Box::new(map), backing))
}

fn open_vhd<'h, H: Host>(input: HostFile<'h, H>) -> Opened<'h> {
    let file = input.id();
    let map = VhdMap::open(input, file).in_file(file)?;
    if map.parent().is_some() {
        return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "a differencing disk")).in_file(file);
    }
    Ok((Box::new(map), None))
}

fn open_vhdx<'h, H: Host>(input: HostFile<'h, H>) -> Opened<'h> {
    let file = input.id();
    let map = VhdxMap::open(input, file).in_file(file)?;
    if map.parent().is_some() {
        return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "a differencing disk")).in_file(file);
    }
    Ok((Box::new(map), None))
}

/// The format that an image gives its backing image.
fn backing_format(name: &[u8]) -> Result<Format, Error> {
    let unknown = Error::new(ErrorKind::UnsupportedFeature, 0, "a backing image of an unknown format");
    Format::from_name(name).ok_or(unknown)
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
