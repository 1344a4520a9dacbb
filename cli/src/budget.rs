//! How much a command may do.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use dd_window::parse_size;

use crate::args::OutputArgs;
use crate::failure::Failure;

/// The variable by which an administrator bounds outputs.
const VARIABLE: &str = "INSTAR_MAX_OUTPUT";

/// The greatest length that an output may have, in bytes: the smaller one of what the option and the environment say.
pub(crate) fn max_output(args: &OutputArgs) -> Result<Option<u64>, Failure> {
    let option = args.max_output.clone().map(|value| size("--max-output", value)).transpose()?;
    let administrator = std::env::var_os(VARIABLE).map(|value| size(VARIABLE, value)).transpose()?;
    Ok(option.into_iter().chain(administrator).min())
}

fn size(name: &'static str, value: OsString) -> Result<u64, Failure> {
    parse_size(value.as_bytes()).map_err(|_| Failure::NotANumber(name, value))
}
