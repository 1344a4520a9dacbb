//! The qcow2 disk image format, versions 2 and 3 (`compat` 0.10 and 1.1).
//!
//! The specification is `docs/interop/qcow2.txt` in QEMU's documentation; where it leaves something open, what
//! `qemu-img` does counts. Whatever an image claims, reading it takes memory and time within [`limits`].
//!
//! | module | layer |
//! |---|---|
//! | [`raw`] | structures, flags and masks as they lie in the file |
//! | [`limits`] | what an image may have at most, and how much of it is held |
//! | [`geometry`] | [`Geometry`]: sizes of clusters and tables |
//! | [`header`] | [`Header`]: what an image is, checked; the names of the files that it needs |
//! | [`map`] | [`Qcow2Map`]: where the disk's bytes are |
//! | [`options`] | [`Options`]: what kind of image to write |
//! | [`plan`] | [`Qcow2Plan`]: the steps that write a disk |
//! | [`update`] | [`Qcow2Update`]: the steps that write into a disk that is there |
//!
//! The crate opens no file: names of backing and data files come back as bytes. It decompresses nothing: compressed
//! clusters come back as places. Refused by name are encryption, and incompatible features that are not known.
//!
//! ```
//! use std::cell::RefCell;
//! use fmt_core::{DiskMap, DiskPlan, Error, Extent, FileId, Source, Step, StepSink};
//! use fmt_qcow2::{Options, Qcow2Map, Qcow2Plan};
//!
//! /// A file in memory. Its data is all zeros.
//! struct Memory(RefCell<Vec<u8>>);
//! impl StepSink for Memory {
//!     fn step(&self, step: Step<'_>) -> Result<(), Error> {
//!         let mut file = self.0.borrow_mut();
//!         match step {
//!             Step::SetLen { len, .. } => file.resize(len as usize, 0),
//!             Step::Write { dst, bytes, .. } => file[dst as usize..][..bytes.len()].copy_from_slice(bytes),
//!             Step::Fill { .. } => {}
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let memory = Memory(RefCell::default());
//! let mut plan = Qcow2Plan::begin(&memory, FileId(1), 1 << 20, &Options::default())?;
//! plan.extent(Extent { start: 0, len: 65536, source: Source::Data { file: FileId(0), offset: 0 } })?;
//! plan.finish()?;
//!
//! let image = memory.0.into_inner();
//! let mut disk = Qcow2Map::new(image.as_slice(), FileId(1))?;
//! let extents: Vec<Extent> = disk.extents(0..1 << 20).collect::<Result<_, _>>()?;
//! assert_eq!(extents[0].source, Source::Data { file: FileId(1), offset: 3 * 65536 });
//! assert_eq!(extents[1], Extent { start: 65536, len: 15 * 65536, source: Source::Unallocated });
//! # Ok::<(), Error>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod clusters;
mod entry;
mod extension;
pub mod geometry;
pub mod header;
pub mod limits;
pub mod map;
pub mod options;
mod output;
mod pack;
pub mod plan;
pub mod raw;
mod refcount;
mod run;
pub mod settings;
mod snapshot;
mod space;
mod start;
pub mod update;
mod zeroed;

pub use geometry::Geometry;
pub use header::{Header, Version};
pub use map::Qcow2Map;
pub use options::{Options, Preallocation};
pub use plan::Qcow2Plan;
pub use settings::SETTINGS;
pub use snapshot::Wanted;
pub use update::Qcow2Update;
