//! The files of one command, by number.
//!
//! The guest never sees a path or a descriptor, only numbers. The host opens the files, here and nowhere else: inputs
//! at once and read-only, outputs when the guest first sizes them, so that a command that fails before has touched
//! nothing.
//!
//! | module | what |
//! |---|---|
//! | `kind` | regular file, block device, …: what a command can work with |
//! | `open` | opening without waiting for anybody |
//! | `input` | reading: positional I/O, holes, files that shrink |
//! | `output` | writing: found, made, sized, written, synced |
//! | `error` | what failed, on which file, at which byte |

mod error;
mod input;
mod kind;
mod open;
mod output;
#[cfg(test)]
mod tests;

use std::path::Path;

use guest_abi::boot::{FileEntry, NAMED_DMG, ROLE_INPUT, ROLE_OUTPUT};

pub use self::error::{FileError, FileErrorKind, FileOperation};
pub(crate) use self::input::Input;
pub use self::kind::FileKind;
use self::kind::Nature;
pub(crate) use self::output::Output;

/// The number of a file: its place among the files of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// The numbered files of one command.
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Input(Input),
    Output(Output),
}

/// What may be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its `len` bytes may be read.
    Input { len: u64 },
    /// It may be made, and written.
    Output,
}

impl Files {
    /// No files yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the file at `path` for reading.
    ///
    /// A character device counts as empty, as in `qemu-img`; [`kind`](Self::kind) tells.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is a directory, a FIFO or a socket, or is one of the outputs.
    pub fn add_input(&mut self, path: &Path) -> Result<FileId, FileError> {
        let input = Input::open(path)?;
        let is_input = |output: &&Output| output.nature().is_some_and(|it| it.is_same_file(&input.nature()));
        if let Some(output) = self.outputs().find(is_input) {
            let kind = FileErrorKind::SameFile { other: output.path().into() };
            return Err(FileError::new(path, FileOperation::Open, kind));
        }
        Ok(self.push(Entry::Input(input)))
    }

    /// Notes that `path` is to be made, or emptied, and written. Touches nothing.
    ///
    /// # Errors
    ///
    /// When there is something at `path` that cannot be an output (a directory, a FIFO, a socket, or a file that is
    /// already one of these files), or nothing and no directory to make it in.
    pub fn add_output(&mut self, path: &Path) -> Result<FileId, FileError> {
        let output = Output::find(path)?;
        if let Some(nature) = output.nature() {
            self.refuse_same_file(path, nature, None)?;
        }
        Ok(self.push(Entry::Output(output)))
    }

    /// What kind of file `id` is; nothing for an output that is not there yet, or for a number without a file.
    #[must_use]
    pub fn kind(&self, id: FileId) -> Option<FileKind> {
        match self.get(id)? {
            Entry::Input(input) => Some(input.nature().kind),
            Entry::Output(output) => output.nature().map(|nature| nature.kind),
        }
    }

    /// The path of `id`, as it was given.
    #[must_use]
    pub fn path(&self, id: FileId) -> Option<&Path> {
        match self.get(id)? {
            Entry::Input(input) => Some(input.path()),
            Entry::Output(output) => Some(output.path()),
        }
    }

    /// Whether `id` is read, not written.
    #[must_use]
    pub fn is_input(&self, id: FileId) -> bool {
        matches!(self.get(id), Some(Entry::Input(_)))
    }

    /// The length in bytes of the input `id` when it was opened; 0 for everything else.
    #[must_use]
    pub fn input_len(&self, id: FileId) -> u64 {
        match self.get(id) {
            Some(Entry::Input(input)) => input.len(),
            _ => 0,
        }
    }

    /// The files as the guest's boot page lists them, in the order of their numbers.
    pub fn boot_entries(&self) -> impl ExactSizeIterator<Item = FileEntry> {
        self.files.iter().map(|entry| match entry {
            Entry::Input(input) => {
                FileEntry { role: ROLE_INPUT, hints: hints(input.path()), len: input.len() }
            }
            Entry::Output(output) => FileEntry { role: ROLE_OUTPUT, hints: hints(output.path()), len: 0 },
        })
    }

    /// The outputs whose content is no longer what it was when the command began.
    pub fn outputs_touched(&self) -> impl Iterator<Item = &Path> {
        self.outputs().filter(|output| output.is_made()).map(Output::path)
    }

    /// What may be done with each file, in the order of their numbers.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let role = |entry: &Entry| match entry {
            Entry::Input(input) => Role::Input { len: input.len() },
            Entry::Output(_) => Role::Output,
        };
        self.files.iter().map(role).collect()
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.files.iter().filter_map(|entry| match entry {
            Entry::Input(_) => None,
            Entry::Output(output) => Some(output),
        })
    }

    /// The input `id`.
    ///
    /// # Panics
    ///
    /// If `id` is not an input. Numbers that come from a guest have been checked against [`roles`](Self::roles).
    pub(crate) fn input(&self, id: FileId) -> &Input {
        match self.get(id) {
            Some(Entry::Input(input)) => input,
            _ => panic!("{id:?} is no input"),
        }
    }

    /// The output `id`.
    ///
    /// # Panics
    ///
    /// If `id` is not an output, as for [`input`](Self::input).
    pub(crate) fn output(&self, id: FileId) -> &Output {
        match self.get(id) {
            Some(Entry::Output(output)) => output,
            _ => panic!("{id:?} is no output"),
        }
    }

    /// Opens the output `id`, creating it if need be, and gives it `len` bytes. A regular file loses what was in it;
    /// a device keeps it.
    ///
    /// What [`add_output`](Self::add_output) checked may have changed since. So it is checked again, on the opened
    /// file, before that is emptied.
    ///
    /// # Errors
    ///
    /// When that fails, or the device at this path is shorter than `len`.
    ///
    /// # Panics
    ///
    /// If `id` is not an output, as for [`input`](Self::input).
    pub(crate) fn make_output(&mut self, id: FileId, len: u64) -> Result<(), FileError> {
        let opened = self.output(id).open()?;
        self.refuse_same_file(self.output(id).path(), opened.nature, Some(id))?;
        self.output_mut(id).make(opened, len)
    }

    fn output_mut(&mut self, id: FileId) -> &mut Output {
        match self.files.get_mut(id.index()) {
            Some(Entry::Output(output)) => output,
            _ => panic!("{id:?} is no output"),
        }
    }

    /// Refuses the output at `path` if it is the same file as any that is here, leaving out `itself`.
    fn refuse_same_file(&self, path: &Path, nature: Nature, itself: Option<FileId>) -> Result<(), FileError> {
        let others = self.numbered().filter(|&(id, _)| Some(id) != itself);
        for (_, other) in others {
            let (other, other_nature) = match other {
                Entry::Input(input) => (input.path(), Some(input.nature())),
                Entry::Output(output) => (output.path(), output.nature()),
            };
            if other_nature.is_some_and(|other| other.is_same_file(&nature)) {
                let kind = FileErrorKind::SameFile { other: other.into() };
                return Err(FileError::new(path, FileOperation::Create, kind));
            }
        }
        Ok(())
    }

    fn numbered(&self) -> impl Iterator<Item = (FileId, &Entry)> {
        (0..).map(FileId).zip(&self.files)
    }

    fn get(&self, id: FileId) -> Option<&Entry> {
        self.files.get(id.index())
    }

    fn push(&mut self, entry: Entry) -> FileId {
        let id = u32::try_from(self.files.len()).expect("a command line has room for fewer files");
        self.files.push(entry);
        FileId(id)
    }
}

impl FileId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// `qemu-img` knows Apple's images by nothing but their name.
fn hints(path: &Path) -> u32 {
    if path.as_os_str().as_encoded_bytes().ends_with(b".dmg") { NAMED_DMG } else { 0 }
}
