//! A sparse extent's header, checked: after [`read`] its numbers can be relied on.

use fmt_core::{Error, ErrorKind, ReadAt, SECTOR};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::limits::{
    MAX_COMPRESSED_GRAIN_LEN, MAX_DISK_LEN, MAX_GD_ENTRIES, MAX_GRAIN_SECTORS, MAX_GTES_PER_GT,
};
use crate::raw::{self, Flags};

/// What a file that belongs to a VMDK begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A sparse extent's header.
    Sparse(SparseExtent),
    /// No header but a descriptor, at this byte; or a header that says no more than where the descriptor is.
    Descriptor(u64),
}

/// A sparse extent: what is needed to find its grains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SparseExtent {
    /// The format's version: 1 to 3.
    pub version: u32,
    /// The size of the extent in bytes.
    pub len: u64,
    /// The length of a grain in bytes: a power of two.
    pub grain_len: u64,
    /// How many entries a grain table has. Not 0.
    pub gtes_per_gt: u32,
    /// The byte offset of the grain directory.
    pub gd_at: u64,
    /// How many entries the grain directory has. They lie inside the file.
    pub gd_entries: u64,
    /// Whether a grain table entry of 1 means zeros.
    pub zero_grains: bool,
    /// How grains are stored.
    pub packing: Packing,
    /// Where the rest is, in a hosted sparse extent; nothing in one of an ESXi host.
    pub places: Option<Places>,
}

/// Where things are in a hosted sparse extent that a reader does not need to know, as the header says, unchecked. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The offset of the embedded descriptor, or 0.
    pub descriptor_at: u64,
    /// The length of the embedded descriptor's place.
    pub descriptor_len: u64,
    /// The offset of the redundant grain directory, if there is one.
    pub rgd_at: Option<u64>,
    /// Where what comes before the grains ends.
    pub grains_at: u64,
}

impl Places {
    fn of(header: &raw::SparseHeader) -> Self {
        let bytes = |sectors: u64| sectors.saturating_mul(SECTOR);
        let redundant = Flags::from_bits_retain(header.flags.get()).contains(Flags::REDUNDANT);
        Self {
            descriptor_at: bytes(header.descriptor_offset.get()),
            descriptor_len: bytes(header.descriptor_size.get()),
            rgd_at: Some(header.rgd_offset.get()).filter(|&at| redundant && at != 0).map(bytes),
            grains_at: bytes(header.overhead.get()),
        }
    }
}

/// How the grains of a sparse extent are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Plain,
    /// As zlib streams that begin where the grain table says.
    Zlib,
    /// As zlib streams behind a marker of twelve bytes, which tells their length.
    MarkedZlib,
}

impl SparseExtent {
    /// How many bytes of the disk a grain table covers.
    #[must_use]
    pub const fn table_len(&self) -> u64 {
        // A grain has at most 2^30 bytes and a table at most 2^12 entries.
        self.grain_len.saturating_mul(self.gtes_per_gt as u64)
    }
}

/// Reads what `source` begins with.
///
/// # Errors
///
/// [`ErrorKind::NotThisFormat`] for a file of less than four bytes. [`ErrorKind::UnsupportedFeature`] for a version or
/// compression that is not known, [`ErrorKind::TooLarge`] and [`ErrorKind::Corrupt`] for numbers that cannot be, and
/// those of reading.
pub fn read<S: ReadAt + ?Sized>(source: &S) -> Result<Head, Error> {
    let mut header = raw::SparseHeader::new_zeroed();
    let head = source.read_up_to(0, header.as_mut_bytes())?;
    if head.len() < raw::SPARSE_MAGIC.len() {
        return Err(Error::new(ErrorKind::NotThisFormat, 0, "vmdk"));
    }
    match header.magic {
        raw::SPARSE_MAGIC => hosted(source, &header),
        raw::COWD_MAGIC => cowd(source, header.as_bytes()).map(Head::Sparse),
        _ => Ok(Head::Descriptor(0)),
    }
}

/// Reads the header of a sparse extent that a descriptor names.
///
/// # Errors
///
/// As [`read`], and [`ErrorKind::Corrupt`] for what is no sparse extent, or is one only together with other files.
pub fn read_part<S: ReadAt + ?Sized>(source: &S) -> Result<SparseExtent, Error> {
    let mut header = raw::SparseHeader::new_zeroed();
    source.read_up_to(0, header.as_mut_bytes())?;
    if header.magic == raw::SPARSE_MAGIC && header.gd_offset.get() == raw::GD_AT_END {
        // `qemu-img` looks for the footer at a place that the descriptor's length tells.
        return Err(unsupported(56, "a stream as one of several files"));
    }
    match read(source)? {
        Head::Sparse(extent) if extent.len > 0 => Ok(extent),
        Head::Sparse(_) => Err(corrupt(12, "a sparse extent without sectors")),
        Head::Descriptor(_) => Err(corrupt(0, "the file of a sparse extent has no sparse extent's header")),
    }
}

fn hosted<S: ReadAt + ?Sized>(source: &S, header: &raw::SparseHeader) -> Result<Head, Error> {
    let descriptor = header.descriptor_offset.get();
    if header.capacity.get() == 0 && descriptor != 0 {
        let at = bytes(descriptor).ok_or(corrupt(28, "the descriptor's offset is beyond any file"))?;
        return Ok(Head::Descriptor(at));
    }
    if header.gd_offset.get() != raw::GD_AT_END {
        return parse(source, header, 0).map(Head::Sparse);
    }
    let (footer, at) = footer(source)?;
    parse(source, &footer, at).map(Head::Sparse)
}

/// The footer's header and its place: it stands before the last sector, and counts more than the file's first bytes.
fn footer<S: ReadAt + ?Sized>(source: &S) -> Result<(raw::SparseHeader, u64), Error> {
    let file_len = sectors_of(source).saturating_mul(SECTOR);
    let mut footer = raw::Footer::new_zeroed();
    let at = file_len.checked_sub(size_of::<raw::Footer>() as u64);
    let at = at.ok_or(corrupt(56, "the file is too short for the footer that it promises"))?;
    source.read_up_to(at, footer.as_mut_bytes())?;

    let raw::Footer { marker, header, end } = footer;
    let marked = marker.size.get() == 0 && marker.kind.get() == raw::MARKER_FOOTER;
    let ended = end.sectors.get() == 0 && end.size.get() == 0 && end.kind.get() == raw::MARKER_END;
    if !marked || !ended || header.magic != raw::SPARSE_MAGIC {
        return Err(corrupt(at, "there is no footer where the header promises one"));
    }
    Ok((header, at.saturating_add(SECTOR)))
}

/// Checks a hosted sparse extent's header, which was found at byte `at`.
fn parse<S: ReadAt + ?Sized>(source: &S, header: &raw::SparseHeader, at: u64) -> Result<SparseExtent, Error> {
    let field = |offset: u64| at.saturating_add(offset);
    let flags = Flags::from_bits_retain(header.flags.get());
    let version = header.version.get();
    if !(1..=3).contains(&version) {
        return Err(unsupported(field(4), "a VMDK version other than 1, 2 and 3"));
    }
    if flags.contains(Flags::NEWLINES) && header.newlines != raw::NEWLINES {
        return Err(corrupt(field(73), "the file was transferred as text, which changed its line ends"));
    }
    let packing = match header.compress_algorithm.get() {
        0 => Packing::Plain,
        raw::DEFLATE if flags.contains(Flags::MARKERS) => Packing::MarkedZlib,
        raw::DEFLATE => Packing::Zlib,
        _ => return Err(unsupported(field(77), "a compression algorithm other than deflate")),
    };
    if sectors_of(source) < header.overhead.get() {
        return Err(corrupt(field(64), "the file is truncated: it ends before its grains begin"));
    }

    let grain_len = grain_len(header.grain_size.get(), field(20))?;
    if packing != Packing::Plain && grain_len > MAX_COMPRESSED_GRAIN_LEN {
        return Err(too_large(field(20), "a compressed grain"));
    }
    let gtes_per_gt = header.num_gtes_per_gt.get();
    if !(1..=MAX_GTES_PER_GT).contains(&gtes_per_gt) {
        return Err(corrupt(field(44), "a grain table must have 1 to 512 entries"));
    }
    let gd_at = bytes(header.gd_offset.get());
    let extent = SparseExtent {
        version,
        len: disk_len(header.capacity.get(), field(12))?,
        grain_len,
        gtes_per_gt,
        gd_at: gd_at.ok_or(corrupt(field(56), "the grain directory is beyond the end of the file"))?,
        gd_entries: 0,
        zero_grains: flags.contains(Flags::ZERO_GRAINS),
        packing,
        places: Some(Places::of(header)),
    };
    let gd_entries = extent.len.div_ceil(extent.table_len());
    if let Some(rgd_at) = extent.places.and_then(|places| places.rgd_at) {
        let outside = corrupt(field(48), "the redundant grain directory reaches beyond the end of the file");
        directory_inside(source, rgd_at, gd_entries).ok_or(outside)?;
    }
    with_directory(source, extent, gd_entries, field(56))
}

/// Checks an ESXi host's sparse extent. Its version is not looked at, as `qemu-img` does not look at it.
fn cowd<S: ReadAt + ?Sized>(source: &S, head: &[u8]) -> Result<SparseExtent, Error> {
    let (header, _) = raw::CowdHeader::read_from_prefix(head)
        .map_err(|_| corrupt(0, "the header of the sparse extent is cut short"))?;
    let grain_sectors = u64::from(header.grain_size.get());
    // `qemu-img` counts a table's sectors in 32 bits.
    if grain_sectors.saturating_mul(u64::from(raw::COWD_GTES_PER_GT)) > u64::from(u32::MAX) {
        return Err(too_large(16, "a grain"));
    }
    let extent = SparseExtent {
        version: 1,
        len: u64::from(header.num_sectors.get()).saturating_mul(SECTOR),
        grain_len: grain_len(grain_sectors, 16)?,
        gtes_per_gt: raw::COWD_GTES_PER_GT,
        gd_at: u64::from(header.gd_offset.get()).saturating_mul(SECTOR),
        gd_entries: 0,
        zero_grains: false,
        packing: Packing::Plain,
        places: None,
    };
    with_directory(source, extent, u64::from(header.num_gd_entries.get()), 20)
}

/// The extent, once it is known that its grain directory is not too large and lies inside the file.
fn with_directory<S: ReadAt + ?Sized>(
    source: &S,
    extent: SparseExtent,
    gd_entries: u64,
    field: u64,
) -> Result<SparseExtent, Error> {
    if gd_entries > MAX_GD_ENTRIES {
        return Err(too_large(field, "the grain directory"));
    }
    let outside = corrupt(field, "the grain directory reaches beyond the end of the file");
    directory_inside(source, extent.gd_at, gd_entries).ok_or(outside)?;
    Ok(SparseExtent { gd_entries, ..extent })
}

fn directory_inside<S: ReadAt + ?Sized>(source: &S, at: u64, entries: u64) -> Option<()> {
    let end = at.checked_add(entries.checked_mul(4)?)?;
    (end <= source.file_len()).then_some(())
}

/// The length in bytes of a grain of so many sectors, which the header's `field` tells.
fn grain_len(sectors: u64, field: u64) -> Result<u64, Error> {
    if sectors > MAX_GRAIN_SECTORS {
        return Err(too_large(field, "a grain"));
    }
    if !sectors.is_power_of_two() {
        return Err(corrupt(field, "the size of a grain is not a power of two"));
    }
    Ok(sectors.saturating_mul(SECTOR))
}

fn disk_len(sectors: u64, field: u64) -> Result<u64, Error> {
    bytes(sectors).filter(|&len| len <= MAX_DISK_LEN).ok_or(too_large(field, "the disk"))
}

fn bytes(sectors: u64) -> Option<u64> {
    sectors.checked_mul(SECTOR)
}

/// The file's length in sectors, the last of which may be cut short.
fn sectors_of<S: ReadAt + ?Sized>(source: &S) -> u64 {
    source.file_len().div_ceil(SECTOR)
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}

const fn too_large(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, at, what)
}

const fn unsupported(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::UnsupportedFeature, at, what)
}
