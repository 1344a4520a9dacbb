//! The VHDX disk image format of Hyper-V (MS-VHDX): reader and writer, without I/O of their own.
//!
//! A file has two headers, of which one is current; a log, whose entries have to be carried out before anything else is
//! read; regions, found through a table: the metadata, and the block allocation table (BAT); and payload blocks. Reading
//! goes down the first table, writing down the second.
//!
//! | module | layer |
//! |---|---|
//! | [`raw`] | the structures as they lie in the file |
//! | [`checksum`] | CRC-32C |
//! | [`header`] | [`Header`]: the current header, and where the log is |
//! | [`log`], [`replay`] | [`Replayed`]: the file as it is once its log has been carried out, without carrying it out |
//! | [`region`] | [`Regions`]: where BAT and metadata are, and what no block may touch |
//! | [`metadata`] | [`Metadata`]: what the disk is like |
//! | [`parent`] | [`ParentLocator`]: what a differencing file says about its parent |
//! | [`bat`] | what the entries of the BAT say, and how they are counted |
//! | [`map`] | [`VhdxMap`]: where the disk's bytes are |
//!
//! | module | layer |
//! |---|---|
//! | [`layout`] | [`Options`], and where everything goes |
//! | [`mod@settings`] | [`SETTINGS`]: options as text |
//! | [`plan`] | [`VhdxPlan`]: the steps that write a disk |
//! | [`update`] | [`VhdxUpdate`]: the steps that write into a disk that is there |
//!
//! ```
//! # use core::cell::RefCell;
//! # use fmt_core::{DiskMap, DiskPlan, Error, Extent, FileId, Source, Step, StepSink};
//! # use fmt_vhdx::{Guid, Options, VhdxMap, VhdxPlan};
//! struct Image(RefCell<Vec<u8>>); // Whoever takes the steps: here, a file in memory, and an input full of sevens.
//! impl StepSink for Image {
//!     fn step(&self, step: Step<'_>) -> Result<(), Error> {
//!         let mut image = self.0.borrow_mut();
//!         match step {
//!             Step::SetLen { len, .. } => image.resize(len as usize, 0),
//!             Step::Write { dst, bytes, .. } => image[dst as usize..][..bytes.len()].copy_from_slice(bytes),
//!             Step::Fill { dst, len, source: Source::Zero, .. } => image[dst as usize..][..len as usize].fill(0),
//!             Step::Fill { dst, len, .. } => image[dst as usize..][..len as usize].fill(7),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let image = Image(RefCell::default());
//! let options = Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16])); // Any unique ones.
//! let mut plan = VhdxPlan::begin(&image, FileId(1), 20 << 20, &options)?;
//! let data = Source::Data { file: FileId(0), offset: 0 };
//! plan.extent(Extent { start: 8 << 20, len: 4096, source: data })?;
//! plan.finish()?;
//!
//! let bytes = image.0.into_inner();
//! let mut disk = VhdxMap::open(&bytes[..], FileId(1))?;
//! assert_eq!(disk.virtual_size(), 20 << 20);
//! let extents = disk.extents(0..u64::MAX).collect::<Result<Vec<Extent>, _>>()?;
//! let block = Source::Data { file: FileId(1), offset: 4 << 20 };
//! assert_eq!(extents[0], Extent { start: 0, len: 8 << 20, source: Source::Unallocated });
//! assert_eq!(extents[1], Extent { start: 8 << 20, len: 8 << 20, source: block });
//! assert_eq!(extents[2], Extent { start: 16 << 20, len: 4 << 20, source: Source::Unallocated });
//! # Ok::<(), Error>(())
//! ```
//!
//! # What does not depend on the image
//!
//! Nothing here panics on any bytes. Memory is bounded by the constants of the modules, whatever the image claims: windows
//! over BAT and bitmaps, an index of the log of at most [`replay::MAX_PATCHES`] ranges, tables of 64 KiB. Time is bounded
//! by the length of the file, and by the range that is asked for.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bat;
mod bitmap;
pub mod checksum;
mod emit;
pub mod header;
pub mod layout;
pub mod log;
pub mod map;
pub mod metadata;
pub mod parent;
pub mod plan;
pub mod raw;
pub mod region;
pub mod replay;
pub mod settings;
pub mod update;

pub use header::Header;
pub use layout::{Options, Subformat};
pub use map::VhdxMap;
pub use metadata::Metadata;
pub use parent::ParentLocator;
pub use plan::VhdxPlan;
pub use raw::Guid;
pub use region::Regions;
pub use replay::Replayed;
pub use settings::SETTINGS;
pub use update::{VhdxUpdate, WriteGuids};
