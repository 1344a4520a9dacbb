//! The metadata items: what the disk is like.

use alloc::vec;
use core::ops::Range;

use fmt_core::{Error, ErrorKind, ReadAt};
use zerocopy::{FromBytes, IntoBytes};

use crate::raw::{
    self, FileParameterFlags, FileParameters, Guid, MetadataEntry, MetadataFlags, MetadataTable, TABLE_LEN,
};
use crate::region::Region;

/// The lengths that a payload block can have, in bytes. They are powers of two.
pub const BLOCK_SIZES: Range<u32> = 1 << 20..(256 << 20) + 1;

/// The largest disk in bytes: 64 TiB.
pub const MAX_VIRTUAL_SIZE: u64 = 64 << 40;

/// What the metadata says (MS-VHDX section 2.6), checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The disk's size in bytes, a whole number of logical sectors.
    pub virtual_size: u64,
    /// The length of a payload block in bytes, one of [`BLOCK_SIZES`].
    pub block_size: u32,
    /// Whether blocks stay allocated: the file is a fixed one.
    pub leave_blocks_allocated: bool,
    /// 512 or 4096.
    pub logical_sector_size: u32,
    /// 512 or 4096.
    pub physical_sector_size: u32,
    /// The disk's SCSI identity (page 83).
    pub disk_id: Guid,
    /// Where the parent locator is, for a differencing file.
    pub parent_locator: Option<Region>,
}

impl Metadata {
    /// Reads the metadata of `source`, whose log must have been replayed, from its `region`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnsupportedFeature`] for an unknown item that is required, [`ErrorKind::TooLarge`] for a disk of more
    /// than [`MAX_VIRTUAL_SIZE`], [`ErrorKind::Corrupt`] for items that are missing, there twice, of a length or at a
    /// place or with a value that they cannot have.
    pub fn read<S: ReadAt + ?Sized>(source: &S, region: Region) -> Result<Self, Error> {
        let mut bytes = vec![0; TABLE_LEN];
        if region.len < TABLE_LEN as u64 || source.read_up_to(region.at, &mut bytes)?.len() < TABLE_LEN {
            return Err(Error::new(ErrorKind::Corrupt, region.at, "the metadata table ends early"));
        }
        Items::parse(&bytes, region)?.read(source, region.at)
    }
}

/// Where the known items are.
#[derive(Default)]
struct Items {
    file_parameters: Option<Region>,
    virtual_disk_size: Option<Region>,
    page_83_data: Option<Region>,
    logical_sector_size: Option<Region>,
    physical_sector_size: Option<Region>,
    parent_locator: Option<Region>,
}

impl Items {
    fn parse(bytes: &[u8], region: Region) -> Result<Self, Error> {
        let corrupt = |what| Error::new(ErrorKind::Corrupt, region.at, what);
        let (table, rest) =
            MetadataTable::read_from_prefix(bytes).map_err(|_| corrupt("the metadata table ends early"))?;
        if table.signature != MetadataTable::SIGNATURE {
            return Err(corrupt("the metadata table's signature is wrong"));
        }
        let count = usize::from(table.entry_count.get());
        if count > raw::MAX_TABLE_ENTRIES {
            return Err(corrupt("the metadata table has more than 2047 entries"));
        }
        let (entries, _) = <[MetadataEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| corrupt("the metadata table ends early"))?;
        let mut items = Self::default();
        for entry in entries {
            items.keep(entry, region)?;
        }
        Ok(items)
    }

    fn keep(&mut self, entry: &MetadataEntry, region: Region) -> Result<(), Error> {
        let place = match entry.item_id {
            raw::FILE_PARAMETERS => &mut self.file_parameters,
            raw::VIRTUAL_DISK_SIZE => &mut self.virtual_disk_size,
            raw::PAGE_83_DATA => &mut self.page_83_data,
            raw::LOGICAL_SECTOR_SIZE => &mut self.logical_sector_size,
            raw::PHYSICAL_SECTOR_SIZE => &mut self.physical_sector_size,
            raw::PARENT_LOCATOR => &mut self.parent_locator,
            Guid(_)
                if MetadataFlags::from_bits_retain(entry.flags.get()).contains(MetadataFlags::REQUIRED) =>
            {
                let what = "an unknown metadata item that is required";
                return Err(Error::new(ErrorKind::UnsupportedFeature, region.at, what));
            }
            Guid(_) => return Ok(()),
        };
        match place.replace(item(entry, region)?) {
            Some(_) => Err(Error::new(ErrorKind::Corrupt, region.at, "a metadata item is there twice")),
            None => Ok(()),
        }
    }

    fn read<S: ReadAt + ?Sized>(&self, source: &S, at: u64) -> Result<Metadata, Error> {
        let missing = |what| Error::new(ErrorKind::Corrupt, at, what);
        let parameters = self.file_parameters.ok_or(missing("the item of file parameters is missing"))?;
        let size = self.virtual_disk_size.ok_or(missing("the item of the disk's size is missing"))?;
        let page_83 = self.page_83_data.ok_or(missing("the item of page 83 data is missing"))?;
        let logical = self.logical_sector_size.ok_or(missing("the item of logical sectors is missing"))?;
        let physical = self.physical_sector_size.ok_or(missing("the item of physical sectors is missing"))?;

        let (block_size, flags) = block_size(source, parameters)?;
        let logical_sector_size = sector_size(source, logical)?;
        Ok(Metadata {
            virtual_size: virtual_size(source, size, logical_sector_size)?,
            block_size,
            leave_blocks_allocated: flags.contains(FileParameterFlags::LEAVE_BLOCKS_ALLOCATED),
            logical_sector_size,
            physical_sector_size: sector_size(source, physical)?,
            disk_id: value(source, page_83)?,
            parent_locator: self.parent(flags.contains(FileParameterFlags::HAS_PARENT), at)?,
        })
    }

    fn parent(&self, has_parent: bool, at: u64) -> Result<Option<Region>, Error> {
        match (has_parent, self.parent_locator) {
            (true, None) => {
                Err(Error::new(ErrorKind::Corrupt, at, "the item that names the parent is missing"))
            }
            (false, Some(_)) => Err(Error::new(
                ErrorKind::Corrupt,
                at,
                "an item names a parent, which the file says not to have",
            )),
            (_, locator) => Ok(locator),
        }
    }
}

/// Where the item of `entry` is in the file. The table itself takes the beginning of the region.
fn item(entry: &MetadataEntry, region: Region) -> Result<Region, Error> {
    let (offset, len) = (u64::from(entry.offset.get()), u64::from(entry.length.get()));
    let place = || {
        let at = region.at.checked_add(offset)?;
        (offset >= TABLE_LEN as u64 && offset.checked_add(len)? <= region.len).then_some(Region { at, len })
    };
    place().ok_or(Error::new(ErrorKind::Corrupt, region.at, "a metadata item lies outside its region"))
}

/// The value of an item that has one length only.
fn value<S: ReadAt + ?Sized, T: FromBytes + IntoBytes>(source: &S, item: Region) -> Result<T, Error> {
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    if item.len != bytes.len() as u64 {
        return Err(Error::new(ErrorKind::Corrupt, item.at, "a metadata item has the wrong length"));
    }
    let len = bytes.len();
    if source.read_up_to(item.at, bytes)?.len() < len {
        return Err(Error::new(
            ErrorKind::Corrupt,
            item.at,
            "a metadata item lies beyond the end of the file",
        ));
    }
    Ok(value)
}

fn block_size<S: ReadAt + ?Sized>(source: &S, item: Region) -> Result<(u32, FileParameterFlags), Error> {
    let parameters: FileParameters = value(source, item)?;
    let block_size = parameters.block_size.get();
    if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
        let what = "the block size is not a power of two between 1 MiB and 256 MiB";
        return Err(Error::new(ErrorKind::Corrupt, item.at, what));
    }
    Ok((block_size, FileParameterFlags::from_bits_retain(parameters.flags.get())))
}

fn sector_size<S: ReadAt + ?Sized>(source: &S, item: Region) -> Result<u32, Error> {
    match u32::from_le_bytes(value(source, item)?) {
        size @ (512 | 4096) => Ok(size),
        _ => Err(Error::new(ErrorKind::Corrupt, item.at, "a sector size is neither 512 nor 4096")),
    }
}

fn virtual_size<S: ReadAt + ?Sized>(source: &S, item: Region, sector_size: u32) -> Result<u64, Error> {
    let size = u64::from_le_bytes(value(source, item)?);
    if size > MAX_VIRTUAL_SIZE {
        return Err(Error::new(ErrorKind::TooLarge, item.at, "the disk is larger than 64 TiB"));
    }
    if !size.is_multiple_of(u64::from(sector_size)) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            item.at,
            "the disk's size is not a whole number of sectors",
        ));
    }
    Ok(size)
}
