//! What an image may have at most: the bounds that `qemu-img` sets, which keep memory and time bounded here.

/// The longest file in bytes: offsets in tables have 56 bits.
pub const MAX_FILE_LEN: u64 = 1 << 56;

/// The longest L1 table in bytes.
pub const MAX_L1_LEN: u64 = 32 << 20;

/// The longest refcount table in bytes.
pub const MAX_REFCOUNT_TABLE_LEN: u64 = 8 << 20;

/// The largest number of internal snapshots.
pub const MAX_SNAPSHOTS: u64 = 65536;

/// The longest snapshot table in bytes.
pub const MAX_SNAPSHOT_TABLE_LEN: u64 = 1024 * MAX_SNAPSHOTS;

/// The most extra bytes that an entry of the snapshot table may have.
pub const MAX_SNAPSHOT_EXTRA_LEN: u64 = 1024;

/// The largest number of bitmaps.
pub const MAX_BITMAPS: u64 = 65535;

/// The longest bitmap directory in bytes.
pub const MAX_BITMAP_DIRECTORY_LEN: u64 = 1024 * MAX_BITMAPS;

/// The longest name of a backing file in bytes.
pub const MAX_BACKING_FILE_LEN: u64 = 1023;

/// The longest name of a backing file's format in bytes.
pub const MAX_BACKING_FORMAT_LEN: u64 = 15;

/// The longest name of an external data file in bytes: the longest path that Linux takes.
pub const MAX_DATA_FILE_LEN: u64 = 4095;

/// How much of the header's cluster, and of the snapshot table, is read at a time.
pub const HEADER_WINDOW: usize = 4 << 10;

/// How much of the L1 table is held at a time.
pub const L1_WINDOW: usize = 32 << 10;

/// How much of an L2 table is held at a time: all of one with the usual clusters of 64 KiB.
pub const L2_WINDOW: usize = 64 << 10;
