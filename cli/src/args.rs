//! The command line.
//!
//! It is read as `qemu-img` reads its own with `getopt_long`: options and operands in any order, long options by any
//! prefix that is theirs alone, the last of a repeated option, `--` before what only looks like an option, and no
//! option after the first operand where `POSIXLY_CORRECT` is set.

mod convert;
mod dd;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

pub(crate) use self::convert::ConvertArgs;
pub(crate) use self::dd::DdArgs;
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
    /// Convert disks, one behind the other, into a new image
    Convert(Box<ConvertArgs>),
    /// Copy a part of a disk, block by block, into a new image
    Dd(DdArgs),
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
    /// Refuse to make an output larger than SIZE, before anything is created or overwritten unless the output grows as it
    /// is written. The environment variable INSTAR_MAX_OUTPUT says the same; the smaller one counts
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) max_output: Option<OsString>,
}

/// Reads the command line. Where it asks for help, or is wrong, that has been said; the exit code is returned.
pub(crate) fn parse() -> Result<Args, ExitCode> {
    let operands_end_options = std::env::var_os("POSIXLY_CORRECT").is_some();
    let read_as_getopt_does = |command: clap::Command, operands| {
        command.infer_long_args(true).mut_arg(operands, |arg| arg.trailing_var_arg(operands_end_options))
    };
    let command = Args::command()
        .mut_subcommand("dd", |dd| read_as_getopt_does(dd, "operands"))
        .mut_subcommand("convert", |convert| {
            // What is plainly the format of `dd` is that of the source here.
            read_as_getopt_does(convert, "files").mut_arg("format", |arg| arg.long("source-format"))
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
