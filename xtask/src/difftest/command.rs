//! Commands to compare: what each makes of an image, at random.

use fastrand::Rng;

use super::convert;
use super::dd;
use super::image::Format;

/// A command that both tools have.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Arguments that suit an input.
    pub(super) arguments: fn(&mut Rng, &Input) -> Vec<Argument>,
    /// Whether what it makes has no holes if `qemu-img` makes it without.
    pub(super) is_dense: bool,
    /// What names the input and the output, behind all other arguments.
    pub(super) files: &'static [&'static str],
}

pub(super) const COMMANDS: &[Command] = &[
    Command { name: "dd", arguments: dd::arguments, is_dense: true, files: dd::FILES },
    Command { name: "convert", arguments: convert::arguments, is_dense: false, files: convert::FILES },
];

/// The file that commands write.
pub(super) const OUTPUT: &str = "out.img";

/// What the arguments depend on.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) format: Format,
    /// Of its disk, before the format rounds it.
    pub(super) size: u64,
    /// Of its file.
    pub(super) file_len: u64,
    /// Where something ends on the disk, and what ends is most interesting.
    pub(super) landmarks: Vec<u64>,
}

/// The words of one argument, which belong together: `-f raw`.
pub(super) type Argument = Vec<String>;

/// A command with its arguments, apart from the files.
#[derive(Clone)]
pub(super) struct Invocation {
    pub(super) command: &'static Command,
    pub(super) arguments: Vec<Argument>,
}

impl Invocation {
    pub(super) fn random(command: &'static Command, random: &mut Rng, input: &Input) -> Self {
        Self { command, arguments: (command.arguments)(random, input) }
    }

    /// All words, the command's name first.
    pub(super) fn words(&self) -> Vec<&str> {
        let arguments = self.arguments.iter().flatten().map(String::as_str);
        [self.command.name].into_iter().chain(arguments).chain(self.command.files.iter().copied()).collect()
    }

    /// The format that is written.
    pub(super) fn output_format(&self) -> &str {
        self.value("-O").unwrap_or("raw")
    }

    /// The word behind `option`.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        let argument = self.arguments.iter().find(|argument| argument[0] == option)?;
        argument.get(1).map(String::as_str)
    }

    /// The same with one argument less, each in turn.
    pub(super) fn simpler(&self) -> impl Iterator<Item = Self> {
        (0..self.arguments.len()).map(|index| {
            let mut simpler = self.clone();
            simpler.arguments.remove(index);
            simpler
        })
    }
}
