//! The command line of `instar convert`.

use std::ffi::OsString;
use std::path::PathBuf;

use uuid::Uuid;

use super::{InputArgs, OutputArgs};

/// Convert disks, one behind the other, into a new image.
///
/// Zeros are left out as far as the output's format and the file system can do without them. The output is created, or
/// overwritten if it is there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = NOTES, override_usage = "instar convert [OPTIONS] INPUT [INPUT...] OUTPUT")]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// The output's format
    #[arg(short = 'O', long, value_name = "FMT", default_value = "raw", allow_hyphen_values = true)]
    pub(crate) target_format: OsString,

    /// Options of the output's format: NAME=VALUE,NAME=VALUE. `-o help` lists them. May be given several times
    #[arg(short = 'o', long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub(crate) target_format_options: Vec<OsString>,

    /// Compress the output
    #[arg(short = 'c', long)]
    pub(crate) compress: bool,

    /// Make an output that stands on FILE, and leave out what the input has from its own backing file. The name is kept as
    /// it is; where it is relative, it begins at the output's directory
    #[arg(short = 'b', short_alias = 'B', long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) backing: Option<OsString>,

    /// The format of the backing file
    #[arg(short = 'F', long, value_name = "FMT", allow_hyphen_values = true)]
    pub(crate) backing_format: Option<OsString>,

    /// Convert an internal snapshot: its ID or name, or snapshot.id=ID,snapshot.name=NAME
    #[arg(short = 'l', long, value_name = "SNAPSHOT", allow_hyphen_values = true)]
    pub(crate) snapshot: Option<OsString>,

    /// Leave holes in the file for so many zeros: a multiple of 512 up to 16M, by default 4k. With 0 everything is written
    #[arg(short = 'S', long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) sparse_size: Option<OsString>,

    /// Write into an output that is there already
    #[arg(short = 'n', long)]
    pub(crate) no_create: bool,

    /// What is there already reads as zeros, so that zeros need not be written
    #[arg(long)]
    pub(crate) target_is_zero: bool,

    /// Take what cannot be read for zeros
    #[arg(long)]
    pub(crate) salvage: bool,

    /// Say how far it is
    #[arg(short = 'p', long)]
    pub(crate) progress: bool,

    /// Say nothing but warnings and errors
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,

    /// How many threads copy: 1 to 16
    #[arg(short = 'm', long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) parallel: Option<OsString>,

    /// Let pieces be written in any order, as they always may
    #[arg(short = 'W', long)]
    pub(crate) oob_writes: bool,

    /// Let the kernel copy, as it always may. Neither with -S, nor -c, nor --salvage
    #[arg(short = 'C', long)]
    pub(crate) copy_range_offloading: bool,

    /// How many bytes are written in a second, at most
    #[arg(short = 'r', long, value_name = "RATE", allow_hyphen_values = true)]
    pub(crate) rate_limit: Option<OsString>,

    /// How the output is cached. With all but `unsafe`, it is on the medium at the end
    #[arg(short = 't', long, value_name = "CACHE", default_value = "unsafe", allow_hyphen_values = true)]
    pub(crate) target_cache: OsString,

    /// How inputs are cached, which makes no difference here
    #[arg(short = 'T', long, value_name = "CACHE", default_value = "writeback", allow_hyphen_values = true)]
    pub(crate) source_cache: OsString,

    /// The identity of the output, where its format has one. By default it is random. With a UUID, and the time in the
    /// environment variable SOURCE_DATE_EPOCH, the same inputs give the same output
    #[arg(long, value_name = "UUID")]
    pub(crate) uuid: Option<Uuid>,

    /// Let images name files beneath DIR too. May be given several times. An image may always name the files beneath the
    /// directory that it is in
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) allow_path: Vec<PathBuf>,

    /// Refused, with the reason
    #[arg(long, hide = true)]
    pub(crate) bitmaps: bool,

    /// Refused, with the reason
    #[arg(long, hide = true)]
    pub(crate) skip_broken_bitmaps: bool,

    /// Refused, with the reason
    #[arg(long, hide = true)]
    pub(crate) target_image_opts: bool,

    /// The images to read, and the image to write
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<OsString>,
}

const NOTES: &str = "\
Sizes may carry a suffix: b for 1, k, M, G, T, P, E for powers of 1024. 1.5M and 0x200 are sizes too.
A file name with a colon needs ./ before it, for it would name a protocol. INPUT may also be a description like
json:{\"driver\": \"qcow2\", \"file\": {\"filename\": \"PATH\"}}.

Examples:
  instar convert -O qcow2 disk.vmdk disk.qcow2
  instar convert -f raw -O qcow2 -o compat=1.1,cluster_size=2M first.img second.img both.qcow2";
