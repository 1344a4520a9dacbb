//! How long commands take, beside the tools that do the same.

mod case;
mod measure;
mod place;
mod table;

use std::fs;

use anyhow::{Result, bail};

use self::case::{CASES, Case, FORMATS};
use self::measure::Bench;
use self::place::Place;
use crate::workspace;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["dd"] => dd(CASES, false),
        ["dd", "--quick"] => dd(CASES, true),
        ["dd", "--formats"] => dd(FORMATS, false),
        ["dd", "--formats", "--quick"] => dd(FORMATS, true),
        _ => bail!("usage: cargo xtask bench dd [--formats] [--quick]"),
    }
}

/// Prints how long `instar dd` takes. That it takes too long is a result, and no failure.
fn dd(cases: &[Case], quick: bool) -> Result<()> {
    let bench = Bench::new(workspace::build_instar()?, quick)?;
    let disk = workspace::target_dir();
    fs::create_dir_all(&disk)?;
    for place in [Place::memory()?, Place::disk(&disk)?] {
        table::print_head(&place);
        for case in cases {
            table::print_row(&place, case, &bench.measure(&place, case)?);
        }
    }
    table::print_notes();
    Ok(())
}
