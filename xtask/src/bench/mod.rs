//! How long commands take, beside the tools that do the same.

mod case;
mod measure;
mod place;
mod table;

use std::fs;

use anyhow::{Result, bail};

use self::case::{CONVERT, DD, DD_FORMATS, Suite};
use self::measure::Bench;
use self::place::Place;
use crate::workspace;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (args, quick) = match args {
        [args @ .., "--quick"] => (args, true),
        args => (args, false),
    };
    match args {
        ["dd"] => measure(&DD, quick),
        ["dd", "--formats"] => measure(&DD_FORMATS, quick),
        ["convert"] => measure(&CONVERT, quick),
        _ => bail!("usage: cargo xtask bench (dd [--formats] | convert) [--quick]"),
    }
}

/// Prints how long instar takes. That it takes too long is a result, and no failure.
fn measure(suite: &Suite, quick: bool) -> Result<()> {
    let bench = Bench::new(workspace::build_instar()?, quick)?;
    let disk = workspace::target_dir();
    fs::create_dir_all(&disk)?;
    for place in [Place::memory()?, Place::disk(&disk)?] {
        table::print_head(&place, suite);
        for case in suite.cases {
            table::print_row(&place, case, &bench.measure(&place, case)?);
        }
    }
    table::print_notes(suite);
    Ok(())
}
