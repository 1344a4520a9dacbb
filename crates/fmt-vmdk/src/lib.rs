//! VMware's virtual disk format, VMDK: what `qemu-img` reads of it but seSparse, and all that it writes.
//!
//! A disk is one sparse file, or a descriptor that names files: flat ones, which hold the disk as it is, and sparse ones,
//! which hold it in grains. Specification: *Virtual Disk Format 5.0* (VMware).
//!
//! | module | layer |
//! |---|---|
//! | [`raw`] | the structures' bytes |
//! | [`limits`] | every bound, by name |
//! | [`header`] | a sparse extent's header, checked |
//! | [`descriptor`] | the descriptor: identities, create type |
//! | [`extent_line`] | the descriptor's extents |
//! | `grains` | lookup in the grain directory and tables of one sparse extent |
//! | [`map`] | [`VmdkMap`]: where the disk's bytes are |
//! | [`options`] | [`Options`]: what a disk that is written is to be |
//! | [`mod@settings`] | [`SETTINGS`]: the same as text |
//! | [`plan`] | [`VmdkPlan`]: the steps that write a disk |
//! | [`update`] | [`VmdkUpdate`]: the steps that write into a disk that is there |
//! | `sparse`, `stream` | the steps that write one extent |
//! | `layout`, `text`, `head`, `tables`, `output` | what is written, and where |
//!
//! ```
//! use std::cell::RefCell;
//! use fmt_core::{DiskMap, DiskPlan, Error, Extent, FileId, Source, Step, StepSink};
//! use fmt_vmdk::{Options, VmdkMap, VmdkPlan};
//!
//! struct Image(RefCell<Vec<u8>>);
//! impl StepSink for Image {
//!     fn step(&self, step: Step<'_>) -> Result<(), Error> {
//!         match step {
//!             Step::SetLen { len, .. } => self.0.borrow_mut().resize(len as usize, 0),
//!             Step::Write { dst, bytes, .. } => self.0.borrow_mut()[dst as usize..][..bytes.len()].copy_from_slice(bytes),
//!             Step::Fill { .. } => {} // What the disk holds would be copied here.
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let image = Image(RefCell::default());
//! let mut plan = VmdkPlan::begin(&image, FileId(1), 1 << 20, &Options::new(0x1234, b"disk.vmdk")).unwrap();
//! plan.extent(Extent { start: 0, len: 1000, source: Source::Data { file: FileId(0), offset: 0 } }).unwrap();
//! plan.finish().unwrap();
//!
//! let bytes = image.0.into_inner();
//! let mut disk = VmdkMap::open(bytes.as_slice(), FileId(1)).unwrap();
//! let extents: Vec<Extent> = disk.extents(0..1 << 20).collect::<Result<_, _>>().unwrap();
//! let data = Source::Data { file: FileId(1), offset: 65536 };
//! assert_eq!(extents[0], Extent { start: 0, len: 65536, source: data });
//! assert_eq!(extents[1], Extent { start: 65536, len: 983040, source: Source::Unallocated });
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod descriptor;
pub mod extent_line;
mod grains;
mod head;
pub mod header;
mod layout;
pub mod limits;
pub mod map;
pub mod options;
pub mod plan;
pub mod raw;
pub mod settings;
mod sparse;
mod stream;
mod tables;
mod text;
pub mod update;

pub use descriptor::{CreateType, Descriptor, Identity};
pub use extent_line::{ExtentKind, ExtentLine};
pub use map::VmdkMap;
pub use options::{Adapter, ExtentFile, Options, Parent, Subformat};
pub use plan::VmdkPlan;
pub use settings::SETTINGS;
pub use update::VmdkUpdate;
