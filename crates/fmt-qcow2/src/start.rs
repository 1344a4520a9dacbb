//! The first cluster of a new image: the header, its extensions, and the name of the backing file.

use alloc::vec::Vec;

use fmt_core::{Codec, Error, ErrorKind, Output, StepSink};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::header::Version;
use crate::options::{Backing, Design, Options};
use crate::raw::{
    Autoclear, COMPRESSION_DEFLATE, COMPRESSION_ZSTD, Compatible, EXTENSION_BACKING_FORMAT,
    EXTENSION_DATA_FILE, EXTENSION_END, EXTENSION_FEATURE_NAMES, Incompatible, MAGIC, RawExtension,
    RawFeatureName, RawHeader, V2_HEADER_LEN,
};
use crate::refcount::Refcounts;

/// The first cluster, all but where the refcounts are. The L1 table, if there is one, is right behind.
#[derive(Debug)]
pub(crate) struct Start {
    header: RawHeader,
    header_len: usize,
    /// What follows the header.
    rest: Vec<u8>,
    cluster_size: u64,
}

impl Start {
    /// The first cluster of an image with these options, if they have room in it.
    pub(crate) fn new(design: &Design, options: &Options<'_>) -> Result<Self, Error> {
        let header = header(design, options)?;
        let header_len = match design.version {
            Version::V2 => V2_HEADER_LEN as usize,
            Version::V3 => size_of::<RawHeader>(),
        };
        let cluster_size = design.geometry.cluster_size();
        let mut start = Self { header, header_len, rest: Vec::new(), cluster_size };
        if let Some(format) = options.backing_file.and_then(|file| file.format) {
            start.extension(EXTENSION_BACKING_FORMAT, format);
        }
        if let Some(file) = options.data_file {
            start.extension(EXTENSION_DATA_FILE, file.name);
        }
        let name = options.backing_file.map_or(&[][..], |file| file.name);
        start.feature_names(design, name.len());
        start.extension(EXTENSION_END, &[]);
        start.backing_file(options.backing_file)?;
        Ok(start)
    }

    fn len(&self) -> u64 {
        (self.header_len + self.rest.len()) as u64
    }

    fn extension(&mut self, kind: u32, bytes: &[u8]) {
        // A name has no more than 4095 bytes.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.rest.extend_from_slice(RawExtension { kind: kind.into(), len: len.into() }.as_bytes());
        self.rest.extend_from_slice(bytes);
        self.rest.resize(self.rest.len().next_multiple_of(8), 0);
    }

    /// The names of the features are for people: they are left out where something else needs the room.
    fn feature_names(&mut self, design: &Design, name_len: usize) {
        let names = FEATURE_NAMES.map(|(kind, bit, name)| feature_name(kind, bit, name));
        let needed = 2 * size_of::<RawExtension>() + names.as_bytes().len() + name_len;
        if design.version > Version::V2 && self.len() + needed as u64 <= self.cluster_size {
            self.extension(EXTENSION_FEATURE_NAMES, names.as_bytes());
        }
    }

    /// The name of the backing file ends what is used of the cluster.
    fn backing_file(&mut self, backing_file: Option<Backing<'_>>) -> Result<(), Error> {
        if let Some(file) = backing_file {
            self.header.backing_file_offset = self.len().into();
            self.header.backing_file_len = narrow(file.name.len() as u64)?.into();
            self.rest.extend_from_slice(file.name);
        }
        if self.len() > self.cluster_size {
            let what = "the names of other files, for the first cluster of the image";
            return Err(Error::new(ErrorKind::TooLarge, 0, what));
        }
        Ok(())
    }

    /// Writes the whole cluster.
    pub(crate) fn write<S: StepSink>(
        mut self,
        output: &Output<'_, S>,
        refcounts: &Refcounts,
    ) -> Result<(), Error> {
        self.header.refcount_table_offset = refcounts.table_offset().into();
        self.header.refcount_table_clusters = narrow(refcounts.table_clusters())?.into();
        let mut bytes = self.header.as_bytes().get(..self.header_len).unwrap_or_default().to_vec();
        bytes.append(&mut self.rest);
        output.write(0, &bytes)?;
        let written = bytes.len() as u64;
        output.zero(written, self.cluster_size - written)
    }
}

fn header(design: &Design, options: &Options<'_>) -> Result<RawHeader, Error> {
    let (geometry, zstd) = (design.geometry, options.codec == Codec::Zstd);
    let l1_entries = geometry.l1_entries(design.size);
    let mut header = RawHeader::new_zeroed();
    header.magic = MAGIC;
    header.version = if design.version == Version::V2 { 2.into() } else { 3.into() };
    header.cluster_bits = geometry.cluster_bits().into();
    header.size = design.size.into();
    header.l1_entries = narrow(l1_entries)?.into();
    header.l1_offset = if l1_entries == 0 { 0.into() } else { geometry.cluster_size().into() };
    let mut incompatible = Incompatible::empty();
    incompatible.set(Incompatible::DATA_FILE, options.data_file.is_some());
    incompatible.set(Incompatible::COMPRESSION, zstd);
    incompatible.set(Incompatible::EXTENDED_L2, options.extended_l2);
    header.incompatible = incompatible.bits().into();
    let mut compatible = Compatible::empty();
    compatible.set(Compatible::LAZY_REFCOUNTS, options.lazy_refcounts);
    header.compatible = compatible.bits().into();
    let mut autoclear = Autoclear::empty();
    autoclear.set(Autoclear::RAW_DATA_FILE, options.data_file.is_some_and(|file| file.raw));
    header.autoclear = autoclear.bits().into();
    header.refcount_order = design.width.order().into();
    header.header_len = narrow(size_of::<RawHeader>() as u64)?.into();
    header.compression = if zstd { COMPRESSION_ZSTD } else { COMPRESSION_DEFLATE };
    Ok(header)
}

/// The names by which other programs tell the features of an image that they do not know: those `qemu-img` writes.
const FEATURE_NAMES: [(u8, u64, &[u8]); 8] = [
    (0, Incompatible::DIRTY.bits(), b"dirty bit"),
    (0, Incompatible::CORRUPT.bits(), b"corrupt bit"),
    (0, Incompatible::DATA_FILE.bits(), b"external data file"),
    (0, Incompatible::COMPRESSION.bits(), b"compression type"),
    (0, Incompatible::EXTENDED_L2.bits(), b"extended L2 entries"),
    (1, Compatible::LAZY_REFCOUNTS.bits(), b"lazy refcounts"),
    (2, Autoclear::BITMAPS.bits(), b"bitmaps"),
    (2, Autoclear::RAW_DATA_FILE.bits(), b"raw external data"),
];

fn feature_name(kind: u8, flag: u64, text: &[u8]) -> RawFeatureName {
    let mut name = [0; 46];
    for (place, byte) in name.iter_mut().zip(text) {
        *place = *byte;
    }
    // A flag is one of 64 bits.
    let bit = u8::try_from(flag.trailing_zeros()).unwrap_or(u8::MAX);
    RawFeatureName { kind, bit, name }
}

fn narrow(number: u64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::new(ErrorKind::TooLarge, 0, "a table"))
}
