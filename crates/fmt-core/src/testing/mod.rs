//! What readers and writers promise, for the tests and fuzzers of every format to hold them to. A promise that is broken
//! is a panic.
//!
//! | module | what |
//! |---|---|
//! | [`reading`] | [`extent_at`]: a [`DiskMap`](crate::DiskMap)'s answer, checked; [`Counted`]: how much is read for it |
//! | [`writing`] | [`Output`] and [`PlannedFile`]: a file as the steps of a [`DiskPlan`](crate::DiskPlan) make it |
//! | [`updating`] | [`UpdatedFile`]: a file that is there, as such steps change it |
//! | [`disk`] | [`Piece`]: disks made up from a few numbers, of any size |
//! | [`sparse`] | [`SparseFile`]: files of any length in little memory |

pub mod disk;
pub mod reading;
pub mod sparse;
pub mod updating;
pub mod writing;

pub use disk::{Content, Piece, blocks, extents, magnitude};
pub use reading::{Counted, extent_at};
pub use sparse::SparseFile;
pub use updating::{UpdatedFile, disk_bytes};
pub use writing::{Origin, Output, PlannedFile};

use crate::FileId;

/// The file that made-up disks have their data in.
pub const INPUT: FileId = FileId(0);

/// The file that is written.
pub const OUTPUT: FileId = FileId(1);
