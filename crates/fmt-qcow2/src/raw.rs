//! What lies in the file, as it lies there: big-endian structures, flags and masks.
//!
//! ```text
//! offset 0    magic  version  backing_file_offset  backing_file_len  cluster_bits  size  crypt_method
//!        36   l1_entries  l1_offset  refcount_table_offset  refcount_table_clusters
//!        60   snapshot_count  snapshots_offset
//!        72   incompatible  compatible  autoclear  refcount_order  header_len       version 3 from here
//!        104  compression  padding                                                  if header_len reaches so far
//! ```
//!
//! Names of sections are those of the qcow2 specification (`docs/interop/qcow2.txt` in QEMU's documentation).

use bitflags::bitflags;
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of every qcow2 image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// How many bytes the header of a version 2 image has.
pub const V2_HEADER_LEN: u32 = 72;

/// How many bytes the header of a version 3 image has at least.
pub const V3_HEADER_LEN: u32 = 104;

/// The header (section "Header"). Version 2 ends before `incompatible`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// 2 or 3.
    pub version: U32,
    /// Where the name of the backing file is, or 0.
    pub backing_file_offset: U64,
    /// The length of that name in bytes.
    pub backing_file_len: U32,
    /// The binary logarithm of the cluster size.
    pub cluster_bits: U32,
    /// The disk's size in bytes.
    pub size: U64,
    /// One of the `CRYPT_` constants.
    pub crypt_method: U32,
    /// The number of entries of the L1 table.
    pub l1_entries: U32,
    /// Where the L1 table is.
    pub l1_offset: U64,
    /// Where the refcount table is.
    pub refcount_table_offset: U64,
    /// How many clusters the refcount table takes.
    pub refcount_table_clusters: U32,
    /// The number of internal snapshots.
    pub snapshot_count: U32,
    /// Where the snapshot table is.
    pub snapshots_offset: U64,
    /// [`Incompatible`] features.
    pub incompatible: U64,
    /// [`Compatible`] features.
    pub compatible: U64,
    /// [`Autoclear`] features.
    pub autoclear: U64,
    /// The binary logarithm of a refcount's width in bits.
    pub refcount_order: U32,
    /// The length of the header in bytes. The header extensions follow it.
    pub header_len: U32,
    /// One of the `COMPRESSION_` constants.
    pub compression: u8,
    /// Fills the header up to a multiple of eight bytes.
    pub padding: [u8; 7],
}

const _: () = assert!(size_of::<RawHeader>() == 112);
const _: () = assert!(core::mem::offset_of!(RawHeader, incompatible) == V2_HEADER_LEN as usize);
const _: () = assert!(core::mem::offset_of!(RawHeader, compression) == V3_HEADER_LEN as usize);

/// No encryption.
pub const CRYPT_NONE: u32 = 0;
/// The format's own AES encryption.
pub const CRYPT_AES: u32 = 1;
/// LUKS encryption.
pub const CRYPT_LUKS: u32 = 2;

/// Clusters are compressed with deflate.
pub const COMPRESSION_DEFLATE: u8 = 0;
/// Clusters are compressed with Zstandard.
pub const COMPRESSION_ZSTD: u8 = 1;

bitflags! {
    /// Features that a reader must know (section "Header", bytes 72 - 79).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Incompatible: u64 {
        /// The refcounts may be wrong.
        const DIRTY = 1 << 0;
        /// A structure was found to be broken: the image must not be written to.
        const CORRUPT = 1 << 1;
        /// The disk's bytes are in another file.
        const DATA_FILE = 1 << 2;
        /// Compression is not deflate.
        const COMPRESSION = 1 << 3;
        /// L2 entries have 128 bits and describe subclusters.
        const EXTENDED_L2 = 1 << 4;
    }
}

bitflags! {
    /// Features that a reader need not know (section "Header", bytes 80 - 87).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Compatible: u64 {
        /// Refcounts are not kept up to date while the image is in use.
        const LAZY_REFCOUNTS = 1 << 0;
    }
}

bitflags! {
    /// Features that hold only as long as every writer has known them (section "Header", bytes 88 - 95).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Autoclear: u64 {
        /// The bitmaps are consistent.
        const BITMAPS = 1 << 0;
        /// The external data file is a raw disk of its own.
        const RAW_DATA_FILE = 1 << 1;
    }
}

/// What precedes the bytes of a header extension (section "Header extensions").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtension {
    /// One of the `EXTENSION_` constants, or one that is not known.
    pub kind: U32,
    /// How many bytes follow, before what fills them up to a multiple of eight.
    pub len: U32,
}

/// There are no more extensions.
pub const EXTENSION_END: u32 = 0;
/// The name of the backing file's format.
pub const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// The names of the features.
pub const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
/// Where the bitmaps are: [`RawBitmaps`].
pub const EXTENSION_BITMAPS: u32 = 0x2385_2875;
/// Where the LUKS header is.
pub const EXTENSION_CRYPTO: u32 = 0x0537_be77;
/// The name of the external data file.
pub const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Where the bitmaps are (section "Bitmaps extension").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBitmaps {
    /// The number of bitmaps.
    pub count: U32,
    /// 0.
    pub reserved: U32,
    /// The length of the bitmap directory in bytes.
    pub directory_len: U64,
    /// Where the bitmap directory is.
    pub directory_offset: U64,
}

/// One feature's name (section "Feature name table").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawFeatureName {
    /// 0 for an incompatible feature, 1 for a compatible one, 2 for an autoclear one.
    pub kind: u8,
    /// The number of the feature's bit.
    pub bit: u8,
    /// Its name, filled up with zeros.
    pub name: [u8; 46],
}

/// The bits of an L1 or L2 entry that are an offset in the file (section "L1 and L2 tables").
pub const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// In L1 and L2 entries: the refcount of what the entry points to is exactly one.
pub const COPIED: u64 = 1 << 63;
/// In L2 entries: the cluster is compressed.
pub const COMPRESSED: u64 = 1 << 62;
/// In L2 entries of version 3 that are not extended: the cluster reads as zeros.
pub const ZERO: u64 = 1;

/// How many bytes an entry of the L1 table has.
pub const L1_ENTRY_LEN: u64 = 8;
/// How many bytes an entry of the refcount table has (section "Host cluster management").
pub const REFCOUNT_TABLE_ENTRY_LEN: u64 = 8;
/// How many bytes the header of a snapshot table's entry has (section "Snapshots").
pub const SNAPSHOT_HEADER_LEN: u64 = 40;
