//! An input of any format, opened as a disk with all that is behind it.

mod parent;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use fmt_core::{Chain, DiskMap, Error, ErrorKind, Extent, FileId, Format, ReadAt, probe};
use fmt_qcow2::{Qcow2Map, Wanted};
use fmt_raw::RawMap;
use fmt_vhd::VhdMap;
use fmt_vhdx::VhdxMap;
use fmt_vmdk::VmdkMap;

use crate::host::InFile;
use crate::{Failure, Host, HostFile};
use parent::Identity;

/// A disk, and the disks behind it.
pub type Disk<'h> = Chain<Layer<'h>>;

/// Opens the input `file` as `format`, or as whatever it shows, with its backing images. Of the file itself, it is the
/// internal `snapshot`, if one is given.
///
/// Where one of the images turns out to be broken later, `blamed` says which.
///
/// # Errors
///
/// [`ErrorKind::UnsupportedFormat`] for a format that is known and cannot be read,
/// [`ErrorKind::UnsupportedFeature`] for a snapshot in a format that has none or that is not there, [`ErrorKind::WrongParent`] for a backing
/// image that is not what it was when an image was put on it, and those of the formats.
pub fn open<'h, H: Host>(
    host: &'h H,
    file: FileId,
    format: Option<Format>,
    snapshot: Option<Wanted<'_>>,
    blamed: &'h Cell<FileId>,
) -> Result<Disk<'h>, Failure> {
    let layer = |file, map| Layer { file, map, blamed };
    let Image { map, mut backing, mut has_units, .. } = open_one(host, file, format, snapshot)?;
    let mut disk = Chain::new(layer(file, map));
    while let Some(Backing { from, name, format, known_as }) = backing.take() {
        let file = host.open(from, &name).in_file(from)?;
        let image = open_one(host, file, format, None)?;
        image.identity.check(&known_as).in_file(file)?;
        disk.push(layer(file, image.map)).in_file(file)?;
        backing = image.backing;
        has_units |= image.has_units;
    }
    if has_units {
        host.expect_units();
    }
    Ok(disk)
}

/// One image of a chain.
pub struct Layer<'h> {
    file: FileId,
    map: Box<dyn DiskMap + 'h>,
    blamed: &'h Cell<FileId>,
}

/// One image, and what it says of itself and of the one behind it.
struct Image<'h> {
    map: Box<dyn DiskMap + 'h>,
    identity: Identity,
    backing: Option<Backing>,
    /// Some of it may be compressed.
    has_units: bool,
}

/// The image that an image stands on.
struct Backing {
    /// The image that names it.
    from: FileId,
    name: Vec<u8>,
    /// What it is to be read as. Without a format it is probed.
    format: Option<Format>,
    /// It must be one of these, or may be any where there are none.
    known_as: Vec<Identity>,
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
    snapshot: Option<Wanted<'_>>,
) -> Result<Image<'h>, Failure> {
    let input = HostFile::new(host, file);
    let format = format.map_or_else(|| probe_input(&input), Ok).in_file(file)?;
    if snapshot.is_some() && format != Format::Qcow2 {
        return Err(Error::new(ErrorKind::NotFound, 0, "snapshot")).in_file(file);
    }
    match format {
        Format::Raw => {
            let map = RawMap::new(file, input.file_len()).in_file(file)?;
            Ok(Image { map: Box::new(map), identity: Identity::None, backing: None, has_units: false })
        }
        Format::Qcow2 => open_qcow2(host, input, snapshot),
        Format::Vmdk => open_vmdk(host, input),
        Format::Vpc => open_vhd(input),
        Format::Vhdx => open_vhdx(input),
        other => Err(Error::new(ErrorKind::UnsupportedFormat, 0, other.name())),
    }
    .in_file(file)
}

fn open_qcow2<'h, H: Host>(
    host: &'h H,
    input: HostFile<'h, H>,
    snapshot: Option<Wanted<'_>>,
) -> Result<Image<'h>, Error> {
    let file = input.id();
    let mut map = Qcow2Map::new(input, file)?;
    if let Some(wanted) = snapshot {
        map.show_snapshot(wanted)?;
    }
    if let Some(name) = map.needs_data_file() {
        let data = host.open(file, name)?;
        map.set_data_file(data, host.file_len(data));
    }
    let backing = map.header().backing_file().map(|backing| -> Result<_, Error> {
        let format = backing.format.as_deref().map(backing_format).transpose()?;
        Ok(Backing { from: file, name: backing.name.clone(), format, known_as: Vec::new() })
    });
    let backing = backing.transpose()?;
    Ok(Image { map: Box::new(map), identity: Identity::None, backing, has_units: true })
}

fn open_vmdk<'h, H: Host>(host: &'h H, input: HostFile<'h, H>) -> Result<Image<'h>, Error> {
    let file = input.id();
    let open = |extent: &fmt_vmdk::ExtentLine| {
        let id = host.open(file, &extent.name)?;
        Ok((HostFile::new(host, id), id))
    };
    let map = VmdkMap::open_with(input, file, open)?;
    let fmt_vmdk::Identity { cid, parent_cid, parent, .. } = map.identity().clone();
    let known_as = Vec::from([Identity::Cid(parent_cid)]);
    let backing = parent.map(|name| Backing { from: file, name, format: Some(Format::Vmdk), known_as });
    Ok(Image { map: Box::new(map), identity: Identity::Cid(cid), backing, has_units: true })
}

fn open_vhd<'h, H: Host>(input: HostFile<'h, H>) -> Result<Image<'h>, Error> {
    let file = input.id();
    let map = VhdMap::open(input, file)?;
    let backing = map.parent().map(|parent| -> Result<_, Error> {
        let name = parent::vhd_name(&map, parent)?;
        let known_as = Vec::from([Identity::UniqueId(parent.unique_id())]);
        Ok(Backing { from: file, name, format: Some(Format::Vpc), known_as })
    });
    let backing = backing.transpose()?;
    let identity = Identity::UniqueId(map.footer().unique_id());
    Ok(Image { map: Box::new(map), identity, backing, has_units: false })
}

fn open_vhdx<'h, H: Host>(input: HostFile<'h, H>) -> Result<Image<'h>, Error> {
    let file = input.id();
    let map = VhdxMap::open(input, file)?;
    let backing = map.parent().map(|parent| -> Result<_, Error> {
        let name = parent::vhdx_name(parent)?;
        let known_as = parent.linkage()?.into_iter().map(Identity::DataWriteGuid).collect();
        Ok(Backing { from: file, name, format: Some(Format::Vhdx), known_as })
    });
    let backing = backing.transpose()?;
    let identity = Identity::DataWriteGuid(map.header().data_write_guid);
    Ok(Image { map: Box::new(map), identity, backing, has_units: false })
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
