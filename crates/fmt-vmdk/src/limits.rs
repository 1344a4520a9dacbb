//! Every bound, by name. What is beyond is refused with [`ErrorKind::TooLarge`](fmt_core::ErrorKind::TooLarge), or
//! named where it is said otherwise; nothing is allocated by what an image claims.

use fmt_core::SECTOR;

/// The largest disk: what `qemu-img` counts as the largest length.
pub const MAX_DISK_LEN: u64 = (i64::MAX as u64) & !((1 << 30) - 1);

/// The largest grain in sectors: 1 GiB, as in `qemu-img`.
pub const MAX_GRAIN_SECTORS: u64 = 0x20_0000;

/// The largest grain that may be compressed, in bytes. It has to be decompressed as a whole; 64 KiB is what all
/// tools write.
pub const MAX_COMPRESSED_GRAIN_LEN: u64 = 2 << 20;

/// The most entries of a grain directory, as in `qemu-img`.
pub const MAX_GD_ENTRIES: u64 = 32 << 20;

/// The most entries of a hosted sparse extent's grain table: what the specification prescribes.
pub const MAX_GTES_PER_GT: u32 = 512;

/// The longest descriptor in bytes, where it names extents.
pub const MAX_DESCRIPTOR_LEN: usize = 256 << 10;

/// How many bytes of a descriptor are searched for identities and the parent's name: 20 sectors, as in `qemu-img`.
pub const IDENTITY_LEN: usize = 20 * 512;

/// The most extents that a descriptor may name: a disk of 8 TiB, the largest that VMware has, in pieces of 2 GiB.
pub const MAX_EXTENTS: usize = 4096;

/// The longest name of an extent in bytes, as in `qemu-img`.
pub const MAX_EXTENT_NAME_LEN: usize = 511;

/// The longest name of a parent in bytes, as in `qemu-img`.
pub const MAX_PARENT_NAME_LEN: usize = 4095;

/// The size in bytes of the window through which grain directories are read.
pub const GD_WINDOW: usize = 4 << 10;

/// The size in bytes of the window through which grain tables are read: sixteen tables, or two of an ESXi host's.
pub const GT_WINDOW: usize = 32 << 10;

/// The size in bytes of the windows through which grain tables are changed, one for each copy.
pub const GT_EDIT_WINDOW: usize = 32 << 10;

/// How many table entries are looked at for one extent, but for those of the last table.
pub const MAX_RUN: u64 = 4096;

/// Sectors of a sparse extent's file are numbered in 32 bits: no grain lies behind this byte.
pub const MAX_FILE_LEN: u64 = (1 << 32) * SECTOR;

/// The largest disk that is written as a stream, in bytes: its grain directory, which comes last, is kept in up to 8 MiB of
/// memory.
pub const MAX_STREAM_LEN: u64 = 64 << 40;
