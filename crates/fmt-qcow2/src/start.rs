//! The first cluster of a new image: the header and the feature names.

use fmt_core::{Error, ErrorKind, StepSink};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use crate::geometry::Geometry;
use crate::output::Output;
use crate::raw::{
    Autoclear, Compatible, EXTENSION_END, EXTENSION_FEATURE_NAMES, Incompatible, MAGIC, RawExtension,
    RawFeatureName, RawHeader,
};
use crate::refcount::{REFCOUNT_ORDER, Refcounts};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Start {
    header: RawHeader,
    names: RawExtension,
    feature_names: [RawFeatureName; FEATURE_NAMES.len()],
    end: RawExtension,
}

const _: () = assert!(size_of::<Start>() <= 512, "it fits the smallest cluster");

/// Writes the first cluster of an image whose L1 table, if it has one, is right behind.
pub(crate) fn write<S: StepSink>(
    output: &Output<'_, S>,
    geometry: Geometry,
    size: u64,
    refcounts: &Refcounts,
) -> Result<(), Error> {
    let mut start = Start::new_zeroed();
    let l1_entries = geometry.l1_entries(size);
    let header = &mut start.header;
    header.magic = MAGIC;
    header.version = 3.into();
    header.cluster_bits = geometry.cluster_bits().into();
    header.size = size.into();
    header.l1_entries = narrow(l1_entries)?.into();
    header.l1_offset = if l1_entries == 0 { 0.into() } else { geometry.cluster_size().into() };
    header.refcount_table_offset = refcounts.table_offset().into();
    header.refcount_table_clusters = narrow(refcounts.table_clusters())?.into();
    header.refcount_order = REFCOUNT_ORDER.into();
    header.header_len = narrow(size_of::<RawHeader>() as u64)?.into();
    start.names.kind = EXTENSION_FEATURE_NAMES.into();
    start.names.len = narrow(size_of_val(&start.feature_names) as u64)?.into();
    start.feature_names = FEATURE_NAMES.map(|(kind, bit, name)| feature_name(kind, bit, name));
    start.end.kind = EXTENSION_END.into();
    output.write(0, start.as_bytes())?;
    let written = size_of::<Start>() as u64;
    output.zero(written, geometry.cluster_size() - written)
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
