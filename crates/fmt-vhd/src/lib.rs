//! The VHD disk image format of Virtual PC and Hyper-V, which QEMU calls `vpc`.
//!
//! | module | layer |
//! |---|---|
//! | [`raw`] | the structures as they lie in a file |
//! | [`geometry`] | [`Geometry`]: the size of a disk, as old programs see it |
//! | [`footer`] | [`Footer`]: what kind of image, how large the disk |
//! | [`header`] | [`Header`]: blocks, and their allocation table |
//! | [`parent`] | [`Parent`]: what a differencing image says about its parent |
//! | [`map`] | [`VhdMap`]: where the disk's bytes are |
//! | [`plan`] | [`VhdPlan`]: the steps that write a disk |
//! | [`update`] | [`VhdUpdate`]: the steps that write into a disk that is there |
//! | [`mod@settings`] | [`SETTINGS`]: the options of a disk that is written, as text |
//!
//! A disk of 3 MiB with data in its second half is written, and read again:
//!
//! ```
//! use fmt_core::{DiskMap, DiskPlan, Extent, FileId, Source};
//! use fmt_vhd::{Options, VhdMap, VhdPlan};
//! # use std::cell::RefCell;
//! # use fmt_core::{Error, Step, StepSink};
//! # #[derive(Default)]
//! # struct Memory(RefCell<Vec<u8>>);
//! # impl StepSink for Memory {
//! #     fn step(&self, step: Step<'_>) -> Result<(), Error> {
//! #         let mut bytes = self.0.borrow_mut();
//! #         match step {
//! #             Step::SetLen { len, .. } => bytes.resize(len as usize, 0),
//! #             Step::Write { dst, bytes: new, .. } => bytes[dst as usize..][..new.len()].copy_from_slice(new),
//! #             Step::Fill { dst, len, .. } => bytes[dst as usize..][..len as usize].fill(0),
//! #         }
//! #         Ok(())
//! #     }
//! # }
//!
//! let (output, input) = (FileId(1), FileId(0));
//! let sink = Memory::default(); // Any `StepSink`: it carries the steps out.
//! let mut plan = VhdPlan::begin(&sink, output, 3 << 20, &Options::default()).unwrap();
//! let data = Source::Data { file: input, offset: 0 };
//! plan.extent(Extent { start: 2 << 20, len: 1 << 20, source: data }).unwrap();
//! plan.finish().unwrap();
//!
//! let image = sink.0.into_inner();
//! let mut disk = VhdMap::open(image.as_slice(), output).unwrap();
//! assert_eq!(disk.virtual_size(), 3_168_256); // The next size that is cylinders × heads × sectors.
//! let extents: Vec<Extent> = disk.extents(0..3 << 20).collect::<Result<_, _>>().unwrap();
//! assert_eq!(extents[0], Extent { start: 0, len: 2 << 20, source: Source::Zero });
//! let data = Source::Data { file: output, offset: 2560 };
//! assert_eq!(extents[1], Extent { start: 2 << 20, len: 1 << 20, source: data });
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate self as fmt_vhd;
#[cfg(test)]
extern crate std;

mod blocks;
mod emit;
pub mod footer;
pub mod geometry;
pub mod header;
pub mod map;
pub mod parent;
pub mod plan;
pub mod raw;
pub mod settings;
mod table;
#[cfg(test)]
mod testing;
pub mod update;

pub use footer::{DiskType, Footer};
pub use geometry::Geometry;
pub use header::Header;
pub use map::VhdMap;
pub use parent::Parent;
pub use plan::{Options, Subformat, VhdPlan};
pub use settings::SETTINGS;
pub use update::VhdUpdate;
