//! Everything that must hold.

use core::time::Duration;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{command, difftest, fuzz, guests, hostile, no_operands, smoke, test, workspace};

struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// What fails soonest comes first.
const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "lints", run: lints },
    Step { name: "lints of the guests", run: guest_lints },
    Step { name: "documentation", run: documentation },
    Step { name: "builds without std", run: no_std },
    Step { name: "sizes of the guests", run: || guests::check_sizes(&[]) },
    Step { name: "release build and first use", run: smoke::run },
    Step { name: "tests", run: || test::run(&[]) },
    Step { name: "tests of commands, in processes", run: test::in_processes },
    Step { name: "comparison with qemu-img", run: difftest::ci },
    Step { name: "hostile images", run: || hostile::run(&[]) },
    Step { name: "fuzzing", run: fuzz::ci },
];

pub(crate) fn run(args: &[&str]) -> Result<()> {
    no_operands(args)?;
    let mut times = Vec::new();
    for step in STEPS {
        println!("\n== {}", step.name);
        let start = Instant::now();
        (step.run)().with_context(|| format!("the step '{}' failed", step.name))?;
        times.push((step.name, start.elapsed()));
    }
    print_times(&times);
    Ok(())
}

fn print_times(times: &[(&str, Duration)]) {
    println!("\n== all steps succeeded");
    for (name, time) in times {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time)| time).sum();
    println!("{:>8.1} s  in all", total.as_secs_f64());
}

fn format() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
}

fn lints() -> Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// With the feature that the rest of the workspace never turns on, and in the profile that has no unwinding: without
/// std there is none.
fn guest_lints() -> Result<()> {
    let mut command = workspace::cargo(&["clippy", "--profile", "guest", "--target", guest_build::TARGET]);
    command.args(["--package", "guest-rt", "--package", guest_build::LOADER.package]);
    for guest in guest_build::GUESTS {
        command.args(["--package", guest.package]);
    }
    command::run(command.args(["--features", "bare-metal", "--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut command = workspace::cargo(&["doc", "--workspace", "--no-deps"]);
    command::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The crates that others embed, with no feature on.
fn no_std() -> Result<()> {
    let packages =
        ["fmt-core", "fmt-raw", "fmt-qcow2", "fmt-vmdk", "fmt-vhd", "fmt-vhdx", "dd-window", "guest-abi"]
            .map(|name| ["--package", name]);
    command::run(workspace::cargo(&["build", "--no-default-features"]).args(packages.as_flattened()))
}

fn cargo(args: &[&str]) -> Result<()> {
    command::run(&mut workspace::cargo(args))
}
