//! What kind of image to write, and which options go together.

use fmt_core::{Codec, Error, ErrorKind, FileId, Zeros, round_up_to_sector};

use crate::geometry::{CLUSTER_BITS, Geometry};
use crate::header::Version;
use crate::limits::{
    MAX_BACKING_FILE_LEN, MAX_BACKING_FORMAT_LEN, MAX_DATA_FILE_LEN, MAX_FILE_LEN, MAX_L1_LEN,
};
use crate::raw::L1_ENTRY_LEN;
use crate::refcount::{Refcounts, Width};

/// What kind of image to write. The default is what `qemu-img dd` makes: version 3, clusters of 64 KiB, refcounts of
/// 16 bits, deflate for clusters that come to be compressed, and zeros written.
///
/// Setters take anything: what does not go together is told when the options are used.
///
/// ```
/// use fmt_core::Zeros;
/// use fmt_qcow2::Options;
///
/// let options = Options::default().cluster_size(2 << 20).zeros(Zeros::Absent);
/// assert_eq!(options.max_len(1 << 30).unwrap(), (512 + 5) << 21);
/// assert!(options.cluster_size(3000).max_len(1 << 30).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'n> {
    version: Version,
    cluster_size: u64,
    pub(crate) extended_l2: bool,
    refcount_bits: u32,
    pub(crate) lazy_refcounts: bool,
    pub(crate) codec: Codec,
    pub(crate) zeros: Zeros,
    preallocation: Preallocation,
    pub(crate) backing_file: Option<Backing<'n>>,
    pub(crate) data_file: Option<External<'n>>,
}

/// How much of the disk is allocated before there is data for it.
///
/// What is allocated and not written is expected to be zeros: that holds for an output file that is new or was
/// emptied, and not for a block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// Every cluster has its place in the file. It is also `falloc`, in a file whose space the caller has reserved.
    Metadata,
    /// Every cluster has its place, and is written.
    Full,
}

/// The name of a backing file, and of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backing<'n> {
    pub(crate) name: &'n [u8],
    pub(crate) format: Option<&'n [u8]>,
}

/// An external data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct External<'n> {
    pub(crate) file: FileId,
    pub(crate) name: &'n [u8],
    pub(crate) raw: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            version: Version::V3,
            cluster_size: 65536,
            extended_l2: false,
            refcount_bits: 16,
            lazy_refcounts: false,
            codec: Codec::Deflate,
            zeros: Zeros::Written,
            preallocation: Preallocation::Off,
            backing_file: None,
            data_file: None,
        }
    }
}

impl<'n> Options<'n> {
    /// The version of the format: `compat`.
    #[must_use]
    pub const fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Clusters of `bytes`: a power of two from 512 to 2 MiB.
    #[must_use]
    pub const fn cluster_size(self, bytes: u64) -> Self {
        Self { cluster_size: bytes, ..self }
    }

    /// Whether clusters have subclusters, of which each is allocated for itself. They need version 3 and clusters of
    /// 16 KiB or more.
    #[must_use]
    pub const fn extended_l2(self, extended_l2: bool) -> Self {
        Self { extended_l2, ..self }
    }

    /// Refcounts of `bits`: a power of two up to 64. In version 2 there are only 16.
    #[must_use]
    pub const fn refcount_bits(self, bits: u32) -> Self {
        Self { refcount_bits: bits, ..self }
    }

    /// Whether refcounts need not be kept up to date while the image is in use. Needs version 3.
    #[must_use]
    pub const fn lazy_refcounts(self, lazy_refcounts: bool) -> Self {
        Self { lazy_refcounts, ..self }
    }

    /// How clusters are compressed: [`Codec::Deflate`], which QEMU calls zlib, or, in version 3, [`Codec::Zstd`].
    #[must_use]
    pub const fn codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// What becomes of zeros. With [`Zeros::Absent`] they are not allocated, or, above a backing file, marked as zeros;
    /// in version 2, which has no such mark, they are written there.
    #[must_use]
    pub const fn zeros(self, zeros: Zeros) -> Self {
        Self { zeros, ..self }
    }

    /// How much is allocated in advance. Above a backing file that needs extended L2 entries. Clusters cannot be
    /// compressed then.
    #[must_use]
    pub const fn preallocation(self, preallocation: Preallocation) -> Self {
        Self { preallocation, ..self }
    }

    /// The name of the file that has what is not allocated, as it is to be found from the image, and the name of its
    /// format: at most 1023 and 15 bytes, that fit the first cluster.
    #[must_use]
    pub const fn backing_file(self, name: &'n [u8], format: Option<&'n [u8]>) -> Self {
        Self { backing_file: Some(Backing { name, format }), ..self }
    }

    /// The external data file: the output that gets the disk's bytes, at the offsets that they have on the disk, and
    /// its name as it is to be found from the image: at most 4095 bytes. It gets the length of the disk. Needs version
    /// 3. Clusters cannot be compressed then.
    ///
    /// With `raw` it is to be a raw disk of its own: every cluster is allocated, as with [`Preallocation::Metadata`], and
    /// there is no backing file.
    #[must_use]
    pub const fn data_file(self, file: FileId, name: &'n [u8], raw: bool) -> Self {
        Self { data_file: Some(External { file, name, raw }), ..self }
    }

    /// The bytes that are allocated together: a subcluster, where L2 entries are extended, or a cluster.
    ///
    /// Above a backing file, each such block of the disk is written as a whole or left to the backing file as a whole.
    ///
    /// # Errors
    ///
    /// As [`max_len`](Self::max_len).
    pub fn block_len(&self) -> Result<u64, Error> {
        Ok(self.geometry()?.block_len())
    }

    /// The bytes that are compressed as a whole: a cluster.
    ///
    /// # Errors
    ///
    /// As [`max_len`](Self::max_len); [`ErrorKind::UnsupportedFeature`] where clusters cannot be compressed.
    pub fn unit_len(&self) -> Result<u64, Error> {
        match self.unpackable() {
            Some(what) => Err(unsupported(what)),
            None => Ok(self.geometry()?.cluster_size()),
        }
    }

    /// Why clusters cannot be compressed, if they cannot.
    pub(crate) fn unpackable(&self) -> Option<&'static str> {
        if self.data_file.is_some() {
            Some("compression with an external data file")
        } else if self.preallocates() != Preallocation::Off {
            Some("compression with preallocation")
        } else {
            None
        }
    }

    /// The length in bytes of a file that holds a disk of `size` bytes, every cluster of it allocated. An external data
    /// file is apart: it has the disk's size.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::TooLarge`] when the disk needs an L1 table of more than [`MAX_L1_LEN`] bytes: with the usual
    ///   clusters, when it is larger than 2<sup>51</sup> bytes; and for names that are too long;
    /// - [`ErrorKind::UnsupportedFeature`] for options that do not exist or do not go together.
    pub fn max_len(&self, size: u64) -> Result<u64, Error> {
        Ok(self.design(size)?.max_len)
    }

    /// What follows from the options for a disk of `size` bytes, if they make sense.
    pub(crate) fn design(&self, size: u64) -> Result<Design, Error> {
        let geometry = self.geometry()?;
        let width = self.width(geometry)?;
        self.check_version()?;
        self.check_files()?;
        let size = round_up_to_sector(size).ok_or(too_large("the disk"))?;
        if geometry.l1_entries(size) > MAX_L1_LEN / L1_ENTRY_LEN {
            return Err(too_large("the disk, for clusters of this size"));
        }
        if self.data_file.is_some() && size > MAX_FILE_LEN {
            return Err(too_large("the disk, for an external data file"));
        }
        // A disk with such an L1 table has at most 2^61 bytes.
        let data_clusters = if self.data_file.is_some() { 0 } else { size.div_ceil(geometry.cluster_size()) };
        let tables = geometry.l1_entries(size);
        let refcounts =
            Refcounts::after(width, None, 1 + geometry.l1_clusters(size) + tables + data_clusters);
        let max_len = refcounts.and_then(|refcounts| refcounts.file_len()).ok_or(too_large("the file"))?;
        if self.preallocates() != Preallocation::Off {
            refcounts.ok_or(too_large("the file"))?.check()?;
        }
        Ok(Design { version: self.version, geometry, width, size, max_len })
    }

    /// How much is allocated in advance: all of a raw data file must be.
    pub(crate) fn preallocates(&self) -> Preallocation {
        match (self.preallocation, self.data_file) {
            (Preallocation::Off, Some(External { raw: true, .. })) => Preallocation::Metadata,
            (preallocation, _) => preallocation,
        }
    }

    fn geometry(&self) -> Result<Geometry, Error> {
        let bits = if self.cluster_size.is_power_of_two() { self.cluster_size.ilog2() } else { 0 };
        if !CLUSTER_BITS.contains(&bits) {
            return Err(unsupported("a cluster size other than a power of two from 512 to 2097152"));
        }
        Geometry::new(bits, self.extended_l2)
            .ok_or(unsupported("extended L2 entries with clusters of less than 16384 bytes"))
    }

    fn width(&self, geometry: Geometry) -> Result<Width, Error> {
        Width::new(geometry, self.refcount_bits)
            .ok_or(unsupported("a refcount width other than a power of two up to 64"))
    }

    fn check_version(&self) -> Result<(), Error> {
        match self.codec {
            Codec::Deflate => {}
            Codec::Zstd if self.version > Version::V2 => {}
            Codec::Zstd => return Err(unsupported("compression other than zlib with compat=0.10")),
            _ => return Err(unsupported("compression other than zlib and zstd")),
        }
        let wants = [
            (self.extended_l2, "extended L2 entries with compat=0.10"),
            (self.refcount_bits != 16, "refcounts of other than 16 bits with compat=0.10"),
            (self.lazy_refcounts, "lazy refcounts with compat=0.10"),
            (self.data_file.is_some(), "an external data file with compat=0.10"),
        ];
        match wants.into_iter().find(|&(wanted, _)| wanted) {
            Some((_, what)) if self.version == Version::V2 => Err(unsupported(what)),
            _ => Ok(()),
        }
    }

    fn check_files(&self) -> Result<(), Error> {
        if let Some(Backing { name, format }) = self.backing_file {
            check_name(name, MAX_BACKING_FILE_LEN, "the backing file's name")?;
            if let Some(format) = format {
                check_name(format, MAX_BACKING_FORMAT_LEN, "the name of the backing file's format")?;
            }
            if self.data_file.is_some_and(|file| file.raw) {
                return Err(unsupported("a backing file with a raw external data file"));
            }
            if self.preallocation != Preallocation::Off && !self.extended_l2 {
                return Err(unsupported("a backing file with preallocation, without extended L2 entries"));
            }
        }
        match self.data_file {
            Some(file) => check_name(file.name, MAX_DATA_FILE_LEN, "the name of the external data file"),
            None => Ok(()),
        }
    }
}

/// What follows from options for a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Design {
    pub(crate) version: Version,
    pub(crate) geometry: Geometry,
    pub(crate) width: Width,
    /// The disk's size in bytes: whole sectors.
    pub(crate) size: u64,
    /// The length of the file in bytes, when every cluster is allocated.
    pub(crate) max_len: u64,
}

/// A name ends before its first zero byte when it is read.
fn check_name(name: &[u8], max: u64, what: &'static str) -> Result<(), Error> {
    if name.is_empty() || name.contains(&0) {
        return Err(unsupported("a name that is empty or has a zero byte"));
    }
    if name.len() as u64 > max { Err(too_large(what)) } else { Ok(()) }
}

const fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::UnsupportedFeature, 0, what)
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
