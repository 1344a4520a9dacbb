//! The words that every disk image format of instar shares.
//!
//! An image is read as a stream of [`Extent`]s: for each range of the virtual disk, where its bytes are. It is
//! written as a plan of [`Step`]s: what to do to the output files. Nothing here does I/O of its own, knows one
//! format better than another, or panics. Memory is taken for windows only, of a size that the caller knows.
//!
//! | module | layer |
//! |---|---|
//! | [`mod@file`] | [`FileId`], the number of a file, and [`ReadAt`], the bytes of one |
//! | [`extent`] | [`Extent`] and [`DiskMap`]: reading, as questions and answers about places |
//! | [`chain`] | [`Chain`]: a disk, and the disks behind it |
//! | [`window`] | [`Window`]: a table of any size, through a piece of bounded size |
//! | [`step`] | [`Step`] and [`StepSink`]: writing, as a list of things to do |
//! | [`fill`] | [`BlockFill`]: extents of any size into blocks of one size; [`Zeros`]: what becomes of zeros |
//! | [`edit`] | [`BlockEdit`]: extents into blocks, some of which are there; [`EditWindow`]: a table that is changed in place |
//! | [`output`] | [`Output`]: an output file as writers see it |
//! | [`growth`] | [`Growth`]: the length of an output, which is not known before it is written |
//! | [`format`](mod@format) | [`Format`]: the formats by name |
//! | [`mod@probe`] | [`probe()`]: which format a file's first bytes show |
//! | [`error`] | [`Error`]: a kind to match on, the place, and words for a person |
//! | [`setting`] | [`Setting`]: options of outputs as text |
//! | [`math`] | sectors, and arithmetic that says when it overflows |
//! | `testing` | what readers and writers promise, checked; behind the feature of that name |
//!
//! ```
//! use fmt_core::{Format, probe};
//!
//! let qcow2 = b"QFI\xfb\0\0\0\x03 and the rest of the header";
//! assert_eq!(probe(qcow2), Format::Qcow2);
//! assert_eq!(probe(b"any other bytes"), Format::Raw);
//! ```

#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chain;
pub mod edit;
pub mod error;
pub mod extent;
pub mod file;
pub mod fill;
pub mod format;
pub mod growth;
pub mod math;
pub mod output;
pub mod probe;
pub mod setting;
pub mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod window;

pub use chain::Chain;
pub use edit::{BlockEdit, BlockTable, EditWindow};
pub use error::{Error, ErrorKind};
pub use extent::{Codec, Compressed, DiskMap, Extent, Source};
pub use file::{FileId, ReadAt};
pub use fill::{BlockFill, Zeros};
pub use format::Format;
pub use growth::Growth;
pub use math::{SECTOR, round_up_to_sector};
pub use output::Output;
pub use probe::probe;
pub use setting::{Setting, SettingError};
pub use step::{DiskPlan, PackingPlan, Step, StepSink};
pub use window::Window;
