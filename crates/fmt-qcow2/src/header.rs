//! The header, checked: what an image is, and where its tables are.

use alloc::vec::Vec;
use core::mem::offset_of;

use fmt_core::{Codec, Error, ErrorKind, ReadAt, SECTOR};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::extension::{self, Extensions};
use crate::geometry::Geometry;
use crate::limits::{
    MAX_BACKING_FILE_LEN, MAX_L1_LEN, MAX_REFCOUNT_TABLE_LEN, MAX_SNAPSHOT_TABLE_LEN, MAX_SNAPSHOTS,
};
use crate::raw::{
    Autoclear, COMPRESSION_DEFLATE, COMPRESSION_ZSTD, CRYPT_AES, CRYPT_LUKS, CRYPT_NONE, Compatible,
    Incompatible, L1_ENTRY_LEN, MAGIC, REFCOUNT_TABLE_ENTRY_LEN, RawHeader, SNAPSHOT_HEADER_LEN,
    V2_HEADER_LEN, V3_HEADER_LEN,
};
use crate::snapshot;

/// Which version of the format an image has: what `qemu-img` calls `compat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Version 2, `compat=0.10`: no features, no zero clusters.
    V2,
    /// Version 3, `compat=1.1`.
    V3,
}

/// The image that has what this one has not allocated. It is the caller who decides whether to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackingFile {
    /// Its name as the image gives it: never empty, at most 1023 bytes, and not to be trusted.
    pub name: Vec<u8>,
    /// The name of its format, if the image gives one.
    pub format: Option<Vec<u8>>,
}

/// The file that has the disk's bytes, where the image itself has only tables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataFile {
    /// Its name as the image gives it: never empty, at most 4095 bytes, and not to be trusted.
    pub name: Vec<u8>,
    /// Whether it can be read as a raw disk without the image.
    pub raw: bool,
}

/// A table in the file, inside the bounds of [`limits`](crate::limits). The file may end before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The byte offset in the file: a multiple of the cluster size.
    pub offset: u64,
    /// How many entries it has.
    pub entries: u32,
}

impl Table {
    /// The length in bytes of a table of L1 entries.
    pub(crate) const fn l1_len(self) -> u64 {
        self.entries as u64 * L1_ENTRY_LEN
    }
}

/// An image's header. Whatever it says has been checked: see [`read`](Self::read).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    version: Version,
    geometry: Geometry,
    virtual_size: u64,
    l1: Table,
    snapshots: Table,
    codec: Codec,
    refcounts: Table,
    refcount_bits: u32,
    incompatible: Incompatible,
    compatible: Compatible,
    autoclear: Autoclear,
    backing_file: Option<BackingFile>,
    data_file: Option<DataFile>,
}

impl Header {
    /// Reads the header, its extensions and the bounds of the snapshot table of the image in `source`, and refuses
    /// whatever `qemu-img` refuses. Bytes that the file does not have are zeros, as for `qemu-img`.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotThisFormat`] without the magic bytes;
    /// - [`ErrorKind::UnsupportedFormat`] for version 1, which is the format qcow;
    /// - [`ErrorKind::UnsupportedFeature`] for other versions, encryption, and unknown incompatible features;
    /// - [`ErrorKind::TooLarge`] beyond a bound of [`limits`](crate::limits);
    /// - [`ErrorKind::Corrupt`] for what contradicts the specification;
    /// - those of reading.
    pub fn read<S: ReadAt + ?Sized>(source: &S) -> Result<Self, Error> {
        let raw = read_raw(source)?;
        let incompatible = incompatible(&raw)?;
        let geometry = geometry(&raw, incompatible)?;
        check_header_len(&raw, geometry)?;
        check_encryption(&raw)?;
        let refcounts = refcounts(&raw, geometry)?;
        let snapshots = snapshots(source, &raw, geometry)?;
        let l1 = l1(&raw, geometry)?;
        let autoclear = Autoclear::from_bits_retain(raw.autoclear.get());
        let extensions = extensions(source, &raw, geometry, autoclear)?;
        Ok(Self {
            version: if raw.version.get() == 2 { Version::V2 } else { Version::V3 },
            geometry,
            // Half a sector at the end is none: so `qemu-img` reads it.
            virtual_size: raw.size.get() - raw.size.get() % SECTOR,
            l1,
            snapshots,
            codec: codec(&raw, incompatible)?,
            refcounts,
            refcount_bits: 1 << raw.refcount_order.get(),
            incompatible,
            compatible: Compatible::from_bits_truncate(raw.compatible.get()),
            autoclear,
            backing_file: backing_file(source, &raw, geometry, extensions.backing_format)?,
            data_file: data_file(incompatible, autoclear, extensions.data_file)?,
        })
    }

    /// The version of the format.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The sizes of clusters and of the tables that describe them.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The disk's size in bytes: whole sectors.
    #[must_use]
    pub const fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// The L1 table. It has an entry for every byte of the disk.
    #[must_use]
    pub const fn l1(&self) -> Table {
        self.l1
    }

    /// The table of internal snapshots.
    #[must_use]
    pub const fn snapshots(&self) -> Table {
        self.snapshots
    }

    /// How compressed clusters are compressed.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The refcount table.
    #[must_use]
    pub const fn refcounts(&self) -> Table {
        self.refcounts
    }

    /// The width of a refcount: 1 to 64 bits, a power of two.
    #[must_use]
    pub const fn refcount_bits(&self) -> u32 {
        self.refcount_bits
    }

    /// The features that a reader must know.
    #[must_use]
    pub const fn incompatible(&self) -> Incompatible {
        self.incompatible
    }

    /// Of the features that a reader need not know, those that are known here.
    #[must_use]
    pub const fn compatible(&self) -> Compatible {
        self.compatible
    }

    /// The features that a writer who does not know them clears; those that are not known here, too.
    #[must_use]
    pub const fn autoclear(&self) -> Autoclear {
        self.autoclear
    }

    /// The backing file, if there is one.
    #[must_use]
    pub const fn backing_file(&self) -> Option<&BackingFile> {
        self.backing_file.as_ref()
    }

    /// The external data file, if there is one.
    #[must_use]
    pub const fn data_file(&self) -> Option<&DataFile> {
        self.data_file.as_ref()
    }
}

/// The byte offset of a header's field.
macro_rules! at {
    ($field:ident) => {
        offset_of!(RawHeader, $field) as u64
    };
}

/// The header as it lies there, with what version 2 does not have filled in.
fn read_raw<S: ReadAt + ?Sized>(source: &S) -> Result<RawHeader, Error> {
    let mut raw = RawHeader::new_zeroed();
    source.read_up_to(0, raw.as_mut_bytes())?;
    if raw.magic != MAGIC {
        return Err(Error::new(ErrorKind::NotThisFormat, 0, "qcow2"));
    }
    match raw.version.get() {
        1 => Err(Error::new(ErrorKind::UnsupportedFormat, at!(version), "qcow")),
        2 => {
            let (incompatible, compatible, autoclear) = Default::default();
            let (refcount_order, header_len) = (4.into(), V2_HEADER_LEN.into());
            let compression = COMPRESSION_DEFLATE;
            Ok(RawHeader {
                incompatible,
                compatible,
                autoclear,
                refcount_order,
                header_len,
                compression,
                ..raw
            })
        }
        3 => {
            let compression = if raw.header_len.get() > V3_HEADER_LEN { raw.compression } else { 0 };
            Ok(RawHeader { compression, ..raw })
        }
        _ => Err(unsupported(at!(version), "a qcow2 version other than 2 and 3")),
    }
}

fn incompatible(raw: &RawHeader) -> Result<Incompatible, Error> {
    let known = Incompatible::from_bits(raw.incompatible.get());
    known.ok_or(unsupported(at!(incompatible), "an incompatible feature that is not known here"))
}

fn geometry(raw: &RawHeader, incompatible: Incompatible) -> Result<Geometry, Error> {
    let bits = raw.cluster_bits.get();
    if Geometry::new(bits, false).is_none() {
        return Err(corrupt(at!(cluster_bits), "the cluster size is not between 512 bytes and 2 MiB"));
    }
    let geometry = Geometry::new(bits, incompatible.contains(Incompatible::EXTENDED_L2));
    geometry.ok_or(corrupt(at!(cluster_bits), "subclusters are smaller than 512 bytes"))
}

fn check_header_len(raw: &RawHeader, geometry: Geometry) -> Result<(), Error> {
    let len = raw.header_len.get();
    if raw.version.get() > 2 && len < V3_HEADER_LEN {
        return Err(corrupt(at!(header_len), "the header is too short"));
    }
    if u64::from(len) > geometry.cluster_size() {
        return Err(corrupt(at!(header_len), "the header is longer than a cluster"));
    }
    if !len.is_multiple_of(8) {
        return Err(corrupt(at!(header_len), "the header's length is not a multiple of eight"));
    }
    Ok(())
}

fn check_encryption(raw: &RawHeader) -> Result<(), Error> {
    match raw.crypt_method.get() {
        CRYPT_NONE => Ok(()),
        CRYPT_AES => Err(unsupported(at!(crypt_method), "AES encryption")),
        CRYPT_LUKS => Err(unsupported(at!(crypt_method), "LUKS encryption")),
        _ => Err(unsupported(at!(crypt_method), "an encryption method that is not known here")),
    }
}

/// A reader needs no refcounts, but what has impossible ones is no image.
fn refcounts(raw: &RawHeader, geometry: Geometry) -> Result<Table, Error> {
    if raw.refcount_order.get() > 6 {
        return Err(corrupt(at!(refcount_order), "refcounts are wider than 64 bits"));
    }
    let clusters = raw.refcount_table_clusters.get();
    if clusters == 0 {
        return Err(corrupt(at!(refcount_table_clusters), "there is no refcount table"));
    }
    let len = u64::from(clusters) * geometry.cluster_size();
    if len > MAX_REFCOUNT_TABLE_LEN {
        return Err(too_large(at!(refcount_table_clusters), "the refcount table"));
    }
    let (at, offset) = (at!(refcount_table_offset), raw.refcount_table_offset.get());
    check_place(geometry, offset, len, at, "the refcount table's offset is invalid")?;
    // Eight bytes each, and no more than the bound above.
    let entries = u32::try_from(len / REFCOUNT_TABLE_ENTRY_LEN).unwrap_or(u32::MAX);
    Ok(Table { offset, entries })
}

fn snapshots<S: ReadAt + ?Sized>(source: &S, raw: &RawHeader, geometry: Geometry) -> Result<Table, Error> {
    let (offset, entries) = (raw.snapshots_offset.get(), raw.snapshot_count.get());
    if u64::from(entries) > MAX_SNAPSHOTS {
        return Err(too_large(at!(snapshot_count), "the number of snapshots"));
    }
    let len = u64::from(entries) * SNAPSHOT_HEADER_LEN;
    const { assert!(MAX_SNAPSHOTS * SNAPSHOT_HEADER_LEN < MAX_SNAPSHOT_TABLE_LEN) };
    check_place(geometry, offset, len, at!(snapshots_offset), "the snapshot table's offset is invalid")?;
    snapshot::check_table(source, offset, entries)?;
    Ok(Table { offset, entries })
}

fn l1(raw: &RawHeader, geometry: Geometry) -> Result<Table, Error> {
    let table = Table { offset: raw.l1_offset.get(), entries: raw.l1_entries.get() };
    if table.l1_len() > MAX_L1_LEN {
        return Err(too_large(at!(l1_entries), "the L1 table"));
    }
    check_place(geometry, table.offset, table.l1_len(), at!(l1_offset), "the L1 table's offset is invalid")?;
    if u64::from(table.entries) < geometry.l1_entries(raw.size.get()) {
        return Err(corrupt(at!(l1_entries), "the L1 table is too small for the disk"));
    }
    Ok(table)
}

/// Checks the L1 table of the snapshot whose entry is at byte `at`.
pub(crate) fn check_snapshot_l1(table: Table, geometry: Geometry, at: u64) -> Result<(), Error> {
    if table.l1_len() > MAX_L1_LEN {
        return Err(too_large(at, "the L1 table of a snapshot"));
    }
    check_place(geometry, table.offset, table.l1_len(), at, "the offset of a snapshot's L1 table is invalid")
}

/// A table begins where a cluster can, and ends below 2<sup>63</sup>.
fn check_place(geometry: Geometry, offset: u64, len: u64, at: u64, what: &'static str) -> Result<(), Error> {
    let end = offset.checked_add(len).filter(|&end| end <= i64::MAX.unsigned_abs());
    if end.is_none() || !geometry.is_aligned(offset) {
        return Err(corrupt(at, what));
    }
    Ok(())
}

fn codec(raw: &RawHeader, incompatible: Incompatible) -> Result<Codec, Error> {
    let flagged = incompatible.contains(Incompatible::COMPRESSION);
    match (raw.compression, flagged) {
        (COMPRESSION_DEFLATE, false) => Ok(Codec::Deflate),
        (COMPRESSION_ZSTD, true) => Ok(Codec::Zstd),
        (COMPRESSION_DEFLATE | COMPRESSION_ZSTD, _) => {
            Err(corrupt(at!(compression), "the compression type contradicts its feature bit"))
        }
        _ => Err(unsupported(at!(compression), "a compression type that is not known here")),
    }
}

/// Extensions end where the backing file's name begins, or with the first cluster.
fn extensions<S: ReadAt + ?Sized>(
    source: &S,
    raw: &RawHeader,
    geometry: Geometry,
    autoclear: Autoclear,
) -> Result<Extensions, Error> {
    let end = match raw.backing_file_offset.get() {
        0 => geometry.cluster_size(),
        offset if offset <= geometry.cluster_size() => offset,
        _ => {
            return Err(corrupt(
                at!(backing_file_offset),
                "the backing file's name is not in the first cluster",
            ));
        }
    };
    Extensions::read(source, u64::from(raw.header_len.get())..end, geometry, autoclear)
}

fn backing_file<S: ReadAt + ?Sized>(
    source: &S,
    raw: &RawHeader,
    geometry: Geometry,
    format: Option<Vec<u8>>,
) -> Result<Option<BackingFile>, Error> {
    let offset = raw.backing_file_offset.get();
    if offset == 0 {
        return Ok(None);
    }
    let max = geometry.cluster_size().saturating_sub(offset).min(MAX_BACKING_FILE_LEN);
    let len = u64::from(raw.backing_file_len.get());
    let name = extension::name(source, offset, len, max, "the backing file's name")?;
    Ok(name.map(|name| BackingFile { name, format }))
}

fn data_file(
    incompatible: Incompatible,
    autoclear: Autoclear,
    name: Option<Vec<u8>>,
) -> Result<Option<DataFile>, Error> {
    let raw = autoclear.contains(Autoclear::RAW_DATA_FILE);
    match (incompatible.contains(Incompatible::DATA_FILE), name) {
        (true, Some(name)) => Ok(Some(DataFile { name, raw })),
        (true, None) => Err(corrupt(at!(incompatible), "the external data file has no name")),
        (false, _) if raw => {
            Err(corrupt(at!(autoclear), "a raw external data file, but no external data file"))
        }
        (false, _) => Ok(None),
    }
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}

const fn unsupported(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::UnsupportedFeature, at, what)
}

const fn too_large(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, at, what)
}
