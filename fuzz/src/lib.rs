//! What the fuzz targets share.
//!
//! | module | what |
//! |---|---|
//! | [`sparse`] | files of any length in a few bytes |
//! | [`files`] | the files of a command, likewise |
//! | [`lookups`] | what any reader must answer |
//! | [`plans`] | what any writer must write |
//! | [`commands`] | what any command must do |

pub mod commands;
pub mod files;
pub mod lookups;
pub mod plans;
pub mod sparse;
