//! The `instar` command: arguments in, messages and exit codes out.
//!
//! | module | what |
//! |---|---|
//! | `args` | the command line |
//! | `budget` | how much a command may do |
//! | `commands` | one module per subcommand: its operands, its request to the guest, its report to the user |
//! | `filename` | what a name on the command line stands for |
//! | `list` | lists of options |
//! | `output_options` | the options of outputs, `-o` |
//! | `identity` | what a new image is called and when it was made |
//! | `sandbox` | which sandbox the user wants guests to run in |
//! | `failure` | why a command failed, in words that say what to do |
//! | `console` | messages, the progress bar, the status line |
//! | `signals` | the signals that ask for something |

#![forbid(unsafe_code)]

mod args;
mod budget;
mod commands;
mod console;
mod failure;
mod filename;
mod identity;
mod list;
mod output_options;
mod sandbox;
mod signals;

use std::process::ExitCode;

use args::{Args, Subcommand};
use console::Console;
use failure::Failure;
use signals::Signals;

fn main() -> ExitCode {
    if let Err(error) = vmm::confine::at_start() {
        return fail(&error.to_string());
    }
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signal handlers cannot be installed: {error}")),
    };
    let args = match args::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut console = Console::new(&signals);
    let result = run(&args, &mut console);
    console.clear();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = fail(&failure.to_string());
            signals.die_of_interruption();
            code
        }
    }
}

fn run(args: &Args, console: &mut Console) -> Result<(), Failure> {
    let sandboxes = sandbox::of(args.sandbox)?;
    match &args.subcommand {
        Subcommand::Convert(args) => commands::convert::run(args, &sandboxes, console),
        Subcommand::Dd(args) => commands::dd::run(args, &sandboxes, console),
    }
}

/// Says what went wrong. Like `qemu-img`, there is one exit code for everything.
fn fail(message: &str) -> ExitCode {
    console::say(message);
    ExitCode::FAILURE
}
