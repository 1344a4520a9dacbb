//! The command line of `instar dd`.

use std::ffi::OsString;
use std::path::PathBuf;

use uuid::Uuid;

use super::{InputArgs, OutputArgs};

/// Copy a part of a disk, block by block, into a new image.
///
/// The disk's blocks from `skip` up to, not including, `count` are copied: `skip=1 count=3` copies two blocks. All of
/// them are written, zeros included. The output is created, or overwritten if it is there, and padded with zeros to whole
/// sectors of 512 bytes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = OPERANDS, override_usage = "instar dd [OPTIONS] if=INPUT of=OUTPUT [bs=SIZE] [count=N] [skip=N]")]
pub(crate) struct DdArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// The output's format
    #[arg(short = 'O', long, value_name = "FMT", default_value = "raw", allow_hyphen_values = true)]
    pub(crate) output_format: OsString,

    /// The identity of the output, where its format has one. By default it is random. With a UUID, and the time in the
    /// environment variable SOURCE_DATE_EPOCH, the same input gives the same output
    #[arg(long, value_name = "UUID")]
    pub(crate) uuid: Option<Uuid>,

    /// Let images name files beneath DIR too. May be given several times. An image may always name the files beneath the
    /// directory that it is in
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) allow_path: Vec<PathBuf>,

    /// What to copy: see below
    #[arg(value_name = "OPERAND")]
    pub(crate) operands: Vec<OsString>,
}

const OPERANDS: &str = "\
Operands, in any order; of a repeated one the last counts:
  if=INPUT   the image to read: a file or a block device
  of=OUTPUT  the image to write: a new file, an existing file, or a block device
  bs=SIZE    the size of a block, 1 to 2147483647 bytes [default: 512]
  count=N    the block to stop at, counted from the beginning of the disk [default: the end of the disk]
  skip=N     the block to begin with [default: 0]

Numbers may carry a suffix: b for 1, k, M, G, T, P, E for powers of 1024. 1.5M and 0x200 are numbers too.
A file name with a colon needs ./ before it, for it would name a protocol. INPUT may also be a description like
json:{\"driver\": \"qcow2\", \"file\": {\"filename\": \"PATH\"}}.

Examples:
  instar dd if=disk.img of=copy.img bs=1M
  instar dd -f raw if=disk.img of=second-gigabyte.img bs=1G skip=1 count=2";
