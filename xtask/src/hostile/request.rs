//! What both tools are to make of an image.

use core::fmt;

use super::case::Case;

/// `convert` makes no more of a disk than this, in bytes: what a header claims is no reason to fill a file system, nor to
/// look at all of it.
const MAX_CONVERTED: u64 = 64 << 20;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    Dd,
    Convert,
}

/// A command with its options.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    /// Those that both tools know.
    operands: Vec<String>,
    /// Those that only instar has.
    own: Vec<String>,
    /// How long the output may become, in bytes.
    pub(super) max_len: u64,
    /// Whether all of the disk is asked for.
    pub(super) is_whole: bool,
}

impl Request {
    /// A part of the disk that is never longer than the disk was before the case.
    pub(super) fn dd(case: &Case, seed: u64, disk: u64) -> Self {
        let mut random = Case::random(&case.name, seed);
        let bs: u64 = if random.bool() { 65536 } else { [512, 4096, 65537, 1 << 20][random.usize(..4)] };
        let count = disk.div_ceil(bs);
        let skip = if random.bool() { 0 } else { random.u64(..count) };
        Self {
            command: Command::Dd,
            operands: vec![format!("bs={bs}"), format!("skip={skip}"), format!("count={count}")],
            own: Vec::new(),
            max_len: (count - skip) * bs,
            is_whole: skip == 0,
        }
    }

    /// All of the disk as an image of this format.
    pub(super) fn convert(format: &str) -> Self {
        Self {
            command: Command::Convert,
            operands: vec!["-O".into(), format.into()],
            own: vec!["--max-output".into(), MAX_CONVERTED.to_string()],
            max_len: MAX_CONVERTED,
            is_whole: true,
        }
    }

    /// The words for instar.
    pub(super) fn to_instar(&self, format: &str, input: &str, output: &str) -> Vec<String> {
        self.words(&self.own, format, input, output)
    }

    /// The words for `qemu-img`.
    pub(super) fn to_qemu(&self, format: &str, input: &str, output: &str) -> Vec<String> {
        self.words(&[], format, input, output)
    }

    fn words(&self, own: &[String], format: &str, input: &str, output: &str) -> Vec<String> {
        let mut words: Vec<String> = vec![self.command.to_string(), "-f".into(), format.into()];
        words.extend(self.operands.iter().chain(own).cloned());
        words.extend(match self.command {
            Command::Dd => [format!("if={input}"), format!("of={output}")],
            Command::Convert => [input.into(), output.into()],
        });
        words
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dd => "dd",
            Self::Convert => "convert",
        })
    }
}
