//! What the fuzz targets share.
//!
//! | module | what |
//! |---|---|
//! | [`sparse`] | files of any length in a few bytes |
//! | [`files`] | the files of a command, likewise |
//! | [`lookups`] | what any reader must answer |
//! | [`updates`] | what is done to a file in place |
//! | [`plans`] | what any writer must write |
//! | [`commands`] | what any command must do |
//! | [`conversions`] | conversions, and what they are of |

pub mod commands;
pub mod conversions;
pub mod files;
pub mod lookups;
pub mod plans;
pub mod sparse;
pub mod updates;
