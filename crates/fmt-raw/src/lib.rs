//! The raw disk image format: the file's bytes are the disk's.
//!
//! There is no specification but what tools do: a disk is a whole number of 512-byte sectors, so a file that ends
//! within a sector reads as zeros up to the sector's end, and an output file is padded to it.
//!
//! | module | layer |
//! |---|---|
//! | [`map`] | [`RawMap`]: where the disk's bytes are |
//! | [`mod@settings`] | [`Options`], and [`SETTINGS`]: the same as text |
//! | [`plan`] | [`RawPlan`]: the steps that write a disk |
//!
//! ```
//! use fmt_core::{DiskMap, Extent, FileId, Source};
//! use fmt_raw::RawMap;
//!
//! let mut disk = RawMap::new(FileId(0), 1000).unwrap();
//! assert_eq!(disk.virtual_size(), 1024);
//!
//! let extents: Vec<Extent> = disk.extents(0..1024).collect::<Result<_, _>>().unwrap();
//! let data = Source::Data { file: FileId(0), offset: 0 };
//! assert_eq!(extents[0], Extent { start: 0, len: 1000, source: data });
//! assert_eq!(extents[1], Extent { start: 1000, len: 24, source: Source::Zero });
//! ```

#![no_std]
#![forbid(unsafe_code)]

pub mod map;
pub mod plan;
pub mod settings;

pub use map::RawMap;
pub use plan::RawPlan;
pub use settings::{Options, Preallocation, SETTINGS};
