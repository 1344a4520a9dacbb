//! The bytes of a VMDK's structures, as they lie in the file. All numbers are little-endian.
//!
//! Layouts: *Virtual Disk Format 5.0* (VMware), "Hosted Sparse Extent Format", "ESXi Host Sparse Extents" and
//! "Stream-Optimized Compressed Sparse Extents". Offsets and sizes are in sectors of 512 bytes unless said otherwise.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a hosted sparse extent.
pub const SPARSE_MAGIC: [u8; 4] = *b"KDMV";

/// The first bytes of an ESXi host's sparse extent.
pub const COWD_MAGIC: [u8; 4] = *b"COWD";

/// The header of a hosted sparse extent, one sector, at the beginning of the file and in the footer.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct SparseHeader {
    /// [`SPARSE_MAGIC`].
    pub magic: [u8; 4],
    /// The version: 1, 2 (with zeroed grains) or 3.
    pub version: U32,
    /// See [`Flags`].
    pub flags: U32,
    /// The size of the extent.
    pub capacity: U64,
    /// The size of a grain.
    pub grain_size: U64,
    /// Where the embedded descriptor is, or 0.
    pub descriptor_offset: U64,
    /// The size of the embedded descriptor.
    pub descriptor_size: U64,
    /// How many entries a grain table has.
    pub num_gtes_per_gt: U32,
    /// Where the redundant grain directory is.
    pub rgd_offset: U64,
    /// Where the grain directory is, or [`GD_AT_END`].
    pub gd_offset: U64,
    /// How much of the file is taken by what comes before the grains.
    pub overhead: U64,
    /// Not 0 while the file is in use.
    pub unclean_shutdown: u8,
    /// [`NEWLINES`], if a transfer as text has not changed them.
    pub newlines: [u8; 4],
    /// How grains are compressed: 0 not at all, [`DEFLATE`].
    pub compress_algorithm: U16,
    /// Zeros.
    pub pad: [u8; 433],
}

/// A `gd_offset` that says: the directory is where the footer says.
pub const GD_AT_END: u64 = u64::MAX;

/// The bytes by which a file tells that it was transferred as text.
pub const NEWLINES: [u8; 4] = *b"\n \r\n";

/// The only compression algorithm there is: zlib streams (RFC 1950).
pub const DEFLATE: u16 = 1;

/// A grain table entry of a grain that reads as zeros, where [`Flags::ZERO_GRAINS`] is set.
pub const GTE_ZERO: u32 = 1;

bitflags! {
    /// What a hosted sparse extent's header tells. Unknown bits are ignored, as `qemu-img` ignores them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// [`SparseHeader::newlines`] is valid.
        const NEWLINES = 1;
        /// There is a redundant grain directory.
        const REDUNDANT = 1 << 1;
        /// Grain table entries may be [`GTE_ZERO`].
        const ZERO_GRAINS = 1 << 2;
        /// Grains are compressed. `compress_algorithm` is what counts.
        const COMPRESSED = 1 << 16;
        /// A marker stands before each grain and each table.
        const MARKERS = 1 << 17;
    }
}

/// The header of an ESXi host's sparse extent, as far as it is used.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct CowdHeader {
    /// [`COWD_MAGIC`].
    pub magic: [u8; 4],
    /// The version: 1.
    pub version: U32,
    /// 3.
    pub flags: U32,
    /// The size of the extent.
    pub num_sectors: U32,
    /// The size of a grain.
    pub grain_size: U32,
    /// Where the grain directory is.
    pub gd_offset: U32,
    /// How many entries the grain directory has.
    pub num_gd_entries: U32,
    /// The next free sector.
    pub free_sector: U32,
}

/// How many entries a grain table of an ESXi host's sparse extent has.
pub const COWD_GTES_PER_GT: u32 = 4096;

/// What stands before a compressed grain.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct GrainMarker {
    /// The grain's place on the disk.
    pub lba: U64,
    /// The length in bytes of the compressed data, which follow.
    pub size: U32,
}

/// What stands before a table, the footer, and at the end of a stream: one sector.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct MetadataMarker {
    /// How many sectors of it follow.
    pub sectors: U64,
    /// 0, which tells it from a [`GrainMarker`].
    pub size: U32,
    /// [`MARKER_FOOTER`], [`MARKER_END`], or a table's mark.
    pub kind: U32,
    /// Zeros.
    pub pad: [u8; 496],
}

/// The kind of the marker at the end of a stream.
pub const MARKER_END: u32 = 0;

/// The kind of the marker before a grain table.
pub const MARKER_TABLE: u32 = 1;

/// The kind of the marker before the grain directory.
pub const MARKER_DIRECTORY: u32 = 2;

/// The kind of the marker before the footer.
pub const MARKER_FOOTER: u32 = 3;

/// The last three sectors of a stream.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Footer {
    /// A marker of the kind [`MARKER_FOOTER`].
    pub marker: MetadataMarker,
    /// The header that counts, with the place of the grain directory.
    pub header: SparseHeader,
    /// A marker of the kind [`MARKER_END`].
    pub end: MetadataMarker,
}

impl MetadataMarker {
    /// The marker before so many sectors of this kind.
    #[must_use]
    pub const fn new(sectors: u64, kind: u32) -> Self {
        Self { sectors: U64::new(sectors), size: U32::ZERO, kind: U32::new(kind), pad: [0; 496] }
    }
}

/// An empty header, to be filled.
impl Default for SparseHeader {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_their_sizes() {
        assert_eq!(size_of::<SparseHeader>(), 512);
        assert_eq!(size_of::<MetadataMarker>(), 512);
        assert_eq!(size_of::<Footer>(), 1536);
        assert_eq!(size_of::<GrainMarker>(), 12);
        assert_eq!(size_of::<CowdHeader>(), 32);
        assert_eq!(core::mem::offset_of!(SparseHeader, compress_algorithm), 77);
    }
}
