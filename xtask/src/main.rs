//! What a developer runs, and CI with them: `cargo xtask help` lists it.

mod baselines;
mod bench;
mod ci;
mod command;
mod difftest;
mod fuzz;
mod guests;
mod hostile;
mod seeds;
mod smoke;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

struct Task {
    name: &'static str,
    /// What may follow the name.
    operands: &'static str,
    help: &'static str,
    run: fn(&[&str]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task { name: "help", operands: "", help: "list the tasks", run: help },
    Task {
        name: "ci",
        operands: "",
        help: "everything that must hold, in order, up to the first failure",
        run: ci::run,
    },
    Task {
        name: "test",
        operands: "[ARGS]",
        help: "all tests; ARGS are those of `cargo test`",
        run: test::run,
    },
    Task {
        name: "fuzz",
        operands: "[--seconds N] [--target NAME]",
        help: "replay what each fuzz target has, then search for N seconds [5]",
        run: fuzz::run,
    },
    Task {
        name: "difftest",
        operands: "[--command NAME] [--seed S] [--runs N]",
        help: "compare N random commands [2000] with qemu-img's; S repeats a run",
        run: difftest::run,
    },
    Task {
        name: "baselines",
        operands: "[--command NAME] --qemu-img PATH…",
        help: "record what these versions of qemu-img do in the recorded cases, and say what is new",
        run: baselines::run,
    },
    Task {
        name: "hostile",
        operands: "[--seed S] [--cases N] [--converted N] [--format F] [--only NAME]",
        help: "read real images with something wrong with them, beside `qemu-img`; convert one in N [8]",
        run: hostile::run,
    },
    Task {
        name: "fuzz-seeds",
        operands: "",
        help: "make the images that fuzz targets begin with, with the installed qemu-img",
        run: seeds::run,
    },
    Task {
        name: "build-guests",
        operands: "",
        help: "build the guests into target/guests",
        run: guests::build_guests,
    },
    Task {
        name: "check-sizes",
        operands: "",
        help: "build the guests, and compare their size with what they may take",
        run: guests::check_sizes,
    },
    Task {
        name: "bench",
        operands: "(dd [--formats] | convert) [--quick]",
        help: "time `instar dd` beside `qemu-img dd` and cp, or `instar convert` beside `qemu-img convert`",
        run: bench::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<()> {
    let (name, operands) = args.split_first().unwrap_or((&"help", &[]));
    let task = TASKS.iter().find(|task| task.name == *name);
    let task = task.with_context(|| format!("there is no task '{name}': see `cargo xtask help`"))?;
    (task.run)(operands)
}

fn help(args: &[&str]) -> Result<()> {
    no_operands(args)?;
    let usages: Vec<_> = TASKS.iter().map(|task| format!("{} {}", task.name, task.operands)).collect();
    let width = usages.iter().map(String::len).max().unwrap_or_default();
    println!("Usage: cargo xtask TASK\n");
    for (task, usage) in TASKS.iter().zip(usages) {
        println!("  {usage:width$}  {}", task.help);
    }
    Ok(())
}

/// Refuses operands, for a task that has none.
fn no_operands(args: &[&str]) -> Result<()> {
    ensure!(args.is_empty(), "unexpected: {}", args.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_task_is_an_error() {
        assert_eq!(
            dispatch(&["no-such-task"]).unwrap_err().to_string(),
            "there is no task 'no-such-task': see `cargo xtask help`"
        );
    }

    #[test]
    fn a_task_without_operands_refuses_them() {
        assert!(dispatch(&["help", "me"]).is_err());
    }
}
