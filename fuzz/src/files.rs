//! The files of a command.

use fmt_core::probe::{PROBE_LEN, probe};
use fmt_core::testing::SparseFile;
use fmt_core::{Format, ReadAt};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_ops::testing::{Input, MemoryHost};
use zerocopy::FromBytes;

use crate::sparse;

/// How many files a command has at most, beside those that it makes.
const MAX_FILES: usize = 8;

/// What comes before the pieces of a file. Numbers are little-endian.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Head {
    /// By this, images name it; it is padded with zero bytes.
    name: [u8; 16],
    len: u64,
    /// How many pieces follow, as in a [sparse file](sparse::file).
    pieces: u64,
}

/// A file, and what it is called.
#[derive(Clone, Debug)]
pub struct File {
    /// By this, images name it.
    pub name: Vec<u8>,
    /// What is in it.
    pub content: SparseFile,
}

/// The files that `input` describes, one behind the other.
#[must_use]
pub fn files(input: &[u8]) -> Vec<File> {
    let (mut files, mut rest) = (Vec::new(), input);
    while files.len() < MAX_FILES
        && let Ok((head, behind)) = Head::read_from_prefix(rest)
    {
        let Head { name, len, pieces } = head;
        let (content, behind) = sparse::with_pieces(len, pieces, behind);
        files.push(File { name: text(&name).to_vec(), content });
        rest = behind;
    }
    files
}

impl File {
    /// The file as a host has it. As `qemu-img` does, it goes by the name where no mark tells the format.
    #[must_use]
    pub fn as_input(&self) -> Input {
        Input::from(self.content.clone()).named_dmg(self.is_named_dmg())
    }

    fn is_named_dmg(&self) -> bool {
        self.name.ends_with(b".dmg")
    }

    /// Whether it is raw to a command that is told that it is of the format of this name, or is not told.
    #[must_use]
    pub fn reads_as_raw(&self, format: &[u8; FORMAT_NAME_LEN]) -> bool {
        let mut head = [0; PROBE_LEN];
        let head = self.content.read_up_to(0, &mut head).expect("it can be read");
        let is_asked = text(format).is_empty();
        is_named(format, Format::Raw) || (is_asked && !self.is_named_dmg() && probe(head) == Format::Raw)
    }
}

/// A host with the first `inputs` of `files`, which are read, then what `add_outputs` adds, and the other files, which images
/// may name as they may the inputs.
#[must_use]
pub fn host(files: &[File], inputs: usize, add_outputs: impl FnOnce(MemoryHost) -> MemoryHost) -> MemoryHost {
    let add = |host: MemoryHost, file: &File| host.with_named(file.name.clone(), file.as_input());
    let (inputs, others) = files.split_at(inputs);
    let host = inputs.iter().fold(MemoryHost::new(), add);
    others.iter().fold(add_outputs(host), add)
}

/// Whether `name` is that of `format`.
#[must_use]
pub fn is_named(name: &[u8; FORMAT_NAME_LEN], format: Format) -> bool {
    text(name) == format.name().as_bytes()
}

/// What is before the zero bytes that pad a name.
#[must_use]
pub fn text(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == 0).next().unwrap_or_default()
}
