//! The `instar` command: arguments in, messages and exit codes out.
//!
//! | module | what |
//! |---|---|
//! | `args` | the command line |
//! | `commands` | one module per subcommand: its operands, its request to the guest, its report to the user |
//! | `filename` | what a name on the command line stands for |
//! | `identity` | what a new image is called and when it was made |
//! | `failure` | why a command failed, in words that say what to do |
//! | `console` | messages, the progress bar, the status line |
//! | `signals` | the signals that ask for something |

#![forbid(unsafe_code)]

mod args;
mod commands;
mod console;
mod failure;
mod filename;
mod identity;
mod signals;

use std::process::ExitCode;

use args::Subcommand;
use console::Console;
use signals::Signals;

fn main() -> ExitCode {
    if let Err(error) = vmm::confine::at_start() {
        return fail(&error.to_string());
    }
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signal handlers cannot be installed: {error}")),
    };
    let subcommand = match args::parse() {
        Ok(subcommand) => subcommand,
        Err(code) => return code,
    };
    let mut console = Console::new(&signals);
    let result = match subcommand {
        Subcommand::Dd(args) => commands::dd::run(&args, &mut console),
    };
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

/// Says what went wrong. Like `qemu-img`, there is one exit code for everything.
fn fail(message: &str) -> ExitCode {
    console::say(message);
    ExitCode::FAILURE
}
