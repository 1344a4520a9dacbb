//! What the fuzz targets share.
//!
//! | module | what |
//! |---|---|
//! | [`sparse`] | [`SparseFile`]: a file of any length in a few bytes |
//! | [`lookups`] | what any reader must answer |
//! | [`plans`] | what any writer must write |

pub mod lookups;
pub mod plans;
pub mod sparse;

pub use sparse::SparseFile;
