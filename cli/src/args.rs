//! The command line.
//!
//! It is read as `qemu-img` reads its own with `getopt_long`: options and operands in any order, long options by any
//! prefix that is theirs alone, the last of a repeated option, `--` before what only looks like an option, and no
//! option after the first operand where `POSIXLY_CORRECT` is set.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use uuid::Uuid;

use crate::console;
use crate::sandbox::Wanted;

/// Copy and convert disk images that you do not trust.
///
/// instar does what qemu-img does, with the same options and exit codes. What reads an image runs in a sandbox that can
/// do nothing but compute; the rest of instar only moves bytes.
#[derive(Debug, Parser)]
#[command(name = "instar", version, infer_long_args = true, args_override_self = true)]
pub(crate) struct Args {
    /// What images are read in. The environment variable INSTAR_SANDBOX says the same; where both want something
    /// else, it is `kvm`
    #[arg(
        long,
        value_name = "SANDBOX",
        value_enum,
        default_value = "auto",
        global = true,
        display_order = 99
    )]
    pub(crate) sandbox: Wanted,

    #[command(subcommand)]
    pub(crate) subcommand: Subcommand,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Copy a part of a disk, block by block, into a new image
    Dd(DdArgs),
}

/// Copy a part of a disk, block by block, into a new image.
///
/// The disk's blocks from `skip` up to, not including, `count` are copied: `skip=1 count=3` copies two blocks. All of
/// them are written, zeros included. The output is created, or overwritten if it is there, and padded with zeros to whole
/// sectors of 512 bytes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DD_OPERANDS, override_usage = "instar dd [OPTIONS] if=INPUT of=OUTPUT [bs=SIZE] [count=N] [skip=N]")]
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

/// What is said about inputs, whatever the command.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct InputArgs {
    /// The input's format. By default the input is asked; with `raw` its bytes are taken as they are
    #[arg(short, long, value_name = "FMT", allow_hyphen_values = true)]
    pub(crate) format: Option<OsString>,

    /// INPUT is not a name, but a description: driver=FMT,file.filename=PATH
    #[arg(long, conflicts_with = "format")]
    pub(crate) image_opts: bool,

    /// Read images even while another process writes to them. What is copied may then be of different moments
    #[arg(short = 'U', long)]
    pub(crate) force_share: bool,

    /// Refused, with the reason
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(crate) object: Option<OsString>,
}

/// What is said about outputs, whatever the command.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct OutputArgs {
    /// Refuse to make an output larger than SIZE, before anything is created or overwritten. The environment variable
    /// INSTAR_MAX_OUTPUT says the same; the smaller one counts
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) max_output: Option<OsString>,
}

const DD_OPERANDS: &str = "\
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

/// Reads the command line. Where it asks for help, or is wrong, that has been said; the exit code is returned.
pub(crate) fn parse() -> Result<Args, ExitCode> {
    let operands_end_options = std::env::var_os("POSIXLY_CORRECT").is_some();
    let command = Args::command().mut_subcommand("dd", |dd| {
        dd.infer_long_args(true).mut_arg("operands", |arg| arg.trailing_var_arg(operands_end_options))
    });
    let args = command.try_get_matches().and_then(|matches| Args::from_arg_matches(&matches));
    args.map_err(|error| answer(&error))
}

/// Prints what clap has to say instead of a command line: help on stdout, or what is wrong with it on stderr.
fn answer(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(message) => {
            console::say(&harmless(message.trim_end()));
            ExitCode::FAILURE
        }
        None => {
            // Where nobody listens, there is nobody to tell.
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Lines of clap's, with words of the command line among them, made harmless for a terminal.
fn harmless(lines: &str) -> String {
    let is_kept = |c| matches!(c, '\n' | '\'' | '"' | '\\');
    let escaped = |c: char| if is_kept(c) { c.to_string() } else { c.escape_debug().to_string() };
    lines.chars().map(escaped).collect()
}
