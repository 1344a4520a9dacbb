//! The files of one command, by number.
//!
//! The guest never sees a path or a descriptor, only numbers. The host opens the files, here and nowhere else: inputs
//! at once and read-only, outputs when the guest has given a length to all of them, so that a command that fails before has
//! touched nothing. A guest may ask for a further input by the name that an image has for it; it gets it, as one more number,
//! or the command ends. It may ask for a further output where an output is to consist of several, without a name.
//!
//! | module | what |
//! |---|---|
//! | `kind` | regular file, block device, …: what a command can work with |
//! | `open` | opening without waiting for anybody |
//! | `input` | reading: positional I/O, holes, files that shrink |
//! | `output` | writing: found, made, sized, written, synced |
//! | `mapping` | files in memory, written without waiting for other writers |
//! | `in_place` | files that are both |
//! | `stage` | memory that is both |
//! | `room` | how many files there may be |
//! | `lock` | QEMU's image locks |
//! | `error` | what failed, on which file, at which byte |
//! | `naming` | which files an image may name |
//! | `dir` | looking paths up that are to stay beneath a directory |
//! | `name_error` | why a file was not opened that an image names |

mod dir;
mod direct;
mod error;
mod in_place;
mod input;
mod kind;
mod lock;
mod mapping;
mod name_error;
mod naming;
mod open;
mod output;
mod room;
mod stage;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use guest_abi::boot::{FileEntry, NAMED_DMG, ROLE_IN_PLACE, ROLE_INPUT, ROLE_OUTPUT, ROLE_STAGE};

use self::dir::Dir;
pub use self::error::{Conflict, FileError, FileErrorKind, FileOperation};
use self::in_place::InPlace;
pub(crate) use self::input::{Input, Span};
pub use self::kind::FileKind;
use self::kind::Nature;
pub(crate) use self::mapping::Mapping;
pub use self::name_error::{NameError, NameErrorKind};
pub use self::naming::{MAX_DEPTH, MAX_FILES};
use self::naming::{Naming, parent, plain_path};
pub(crate) use self::output::Output;
pub use self::output::{OutputOptions, Reserve};
use self::room::make_room;
use self::stage::Stage;

/// The number of a file: its place among the files of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// The numbered files of one command.
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<Entry>,
    naming: Naming,
    /// Inputs may be written by others.
    force_share: bool,
    /// The greatest length that the user wants all outputs together to have, in bytes.
    max_output: Option<u64>,
    series: Option<Series>,
    /// All of every output is written.
    fills_outputs: bool,
}

/// The files that an output consists of beside itself: as many as there turn out to be.
#[derive(Debug)]
struct Series {
    of: FileId,
    name: NameOf,
    /// The number of the next one.
    next: u32,
    /// How many there may be.
    most: u32,
}

/// The name of a file that an output consists of, beside itself: it is made of the output's own name, without directories, and
/// of the number of the file, counted from 0. It has no directories either: the file lies where the output does.
pub type NameOf = fn(&[u8], u32) -> Vec<u8>;

#[derive(Debug)]
enum Entry {
    Input(Input),
    Output(Output),
    Stage(Stage),
    InPlace(InPlace),
}

/// What may be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its `len` bytes may be read.
    Input { len: u64 },
    /// It may be made, and written; and so many files beside it.
    Output { further: u32 },
    /// It may be read and written, and become longer. It had `len` bytes when it was opened.
    InPlace { len: u64 },
    /// Its `len` bytes may be written, and read.
    Stage { len: u64 },
}

impl Files {
    /// No files yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These files, whose inputs from now on are read even if somebody else is writing to them, where `yes`.
    #[must_use]
    pub fn force_share(self, yes: bool) -> Self {
        Self { force_share: yes, ..self }
    }

    /// These files, whose outputs together may not be longer than `max` bytes.
    #[must_use]
    pub fn max_output(self, max: Option<u64>) -> Self {
        Self { max_output: max, ..self }
    }

    /// These files, of whose outputs every byte is going to be written, where `yes`: one for which there is certainly no room
    /// is then refused before it is created or emptied, and not when the file system is full.
    #[must_use]
    pub fn fills_outputs(self, yes: bool) -> Self {
        Self { fills_outputs: yes, ..self }
    }

    /// Opens the file at `path` for reading.
    ///
    /// Until these files are dropped, it is locked as QEMU locks images that it reads: nobody who cares for such locks
    /// writes to it, unless [shared by force](Self::force_share).
    ///
    /// A character device counts as empty, as in `qemu-img`; [`kind`](Self::kind) tells.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is a directory, a FIFO or a socket, or is one of the outputs; when another process has
    /// locked it for writing.
    pub fn add_input(&mut self, path: &Path) -> Result<FileId, FileError> {
        let input = Input::open(path)?;
        let locked = self.refuse_output(input.nature()).and_then(|()| input.lock(self.force_share));
        locked.map_err(|kind| FileError::new(path, FileOperation::Open, kind))?;
        Ok(self.push(Entry::Input(input)))
    }

    /// Lets images name files beneath the directory `dir`, block devices included. Otherwise they may name regular files
    /// beneath the directory that they are in themselves.
    ///
    /// # Errors
    ///
    /// When there is no such directory.
    pub fn allow(&mut self, dir: &Path) -> Result<(), FileError> {
        let opened = Dir::open(dir).map_err(|kind| FileError::new(dir, FileOperation::Open, kind))?;
        self.naming.allow(opened);
        Ok(())
    }

    /// Opens the file that the input `from` calls `name`, as one more input.
    ///
    /// The name must be a plain path. A relative one is looked up from the directory of the image, which is that of the
    /// path by which the image was opened. Symbolic links and `..` are followed where they do not lead out of the
    /// directories that allow files: that of the image, and the [allowed](Self::allow) ones.
    ///
    /// # Errors
    ///
    /// When the name is no path, or leads where the image may not; when the file cannot be opened, is an output, or is one by
    /// whose name the image was found; when another process has locked it for writing; when there are too many. For a name
    /// that leads out of all places that are allowed, the error does not depend on what is there.
    ///
    /// # Panics
    ///
    /// If `from` is not an input. Numbers that come from a guest have been checked.
    pub fn open_named(&mut self, from: FileId, name: &[u8]) -> Result<FileId, NameError> {
        let opened = self.try_open_named(from, name);
        opened.map_err(|kind| NameError::new(self.input(from).path(), name, kind))
    }

    fn try_open_named(&mut self, from: FileId, name: &[u8]) -> Result<FileId, NameErrorKind> {
        let name = plain_path(name)?;
        if self.naming.chain(from).count() > MAX_DEPTH {
            return Err(NameErrorKind::TooDeep);
        }
        if self.files.len() >= MAX_FILES {
            return Err(NameErrorKind::TooMany);
        }
        let image = self.input(from).path().to_owned();
        let (file, nature) = self.naming.open(from, &image, name)?;
        if self.naming.chain(from).any(|id| self.input(id).nature().is_same_file(&nature)) {
            return Err(NameErrorKind::Cycle);
        }
        self.refuse_output(nature)?;
        let input = Input::adopt(&parent(&image).join(name), file, nature)?;
        input.lock(self.force_share)?;
        let id = self.push(Entry::Input(input));
        self.naming.note(id, from, name);
        Ok(id)
    }

    /// Notes that `path` is to be made, or emptied, and written. Touches nothing.
    ///
    /// # Errors
    ///
    /// When there is something at `path` that cannot be an output (a directory, a FIFO, a socket, or a file that is
    /// already one of these files), or nothing and no directory to make it in.
    pub fn add_output(&mut self, path: &Path) -> Result<FileId, FileError> {
        self.add_output_with(path, OutputOptions::default())
    }

    /// Notes that `path` is to be written, and how. Touches nothing.
    ///
    /// # Errors
    ///
    /// As [`add_output`](Self::add_output); and when there is nothing at `path` to be written in place.
    pub fn add_output_with(&mut self, path: &Path, options: OutputOptions) -> Result<FileId, FileError> {
        self.add_found(Output::find(path, options)?)
    }

    fn add_found(&mut self, output: Output) -> Result<FileId, FileError> {
        if let Some(nature) = output.nature() {
            self.refuse_same_file(output.path(), nature, None)?;
        }
        Ok(self.push(Entry::Output(output)))
    }

    /// Lets the output `of` consist of up to `most` files more, which are called as `name` says, and are treated like it.
    ///
    /// # Panics
    ///
    /// If `of` is not an output.
    pub fn add_series(&mut self, of: FileId, most: u32, name: NameOf) {
        assert!(matches!(self.get(of), Some(Entry::Output(_))), "{of:?} is no output");
        assert!(self.series.is_none(), "only one output can consist of several files");
        self.series = Some(Series { of, name, next: 0, most });
    }

    /// Opens the file at `path`, to be read and written in place.
    ///
    /// Until these files are dropped, it is locked as QEMU locks images that it writes.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is a directory, a FIFO or a socket, or is already one of these files; when another process
    /// has locked it.
    pub fn add_in_place(&mut self, path: &Path) -> Result<FileId, FileError> {
        let file = InPlace::open(path)?;
        self.refuse_same_file(path, file.input.nature(), None)?;
        // An input that it is has been locked here, and by nobody else.
        file.lock().map_err(|kind| FileError::new(path, FileOperation::Open, kind))?;
        Ok(self.push(Entry::InPlace(file)))
    }

    /// Adds memory of `len` bytes that is written and read as a file, for bytes on their way.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn add_stage(&mut self, len: u64) -> Result<FileId, FileError> {
        Ok(self.push(Entry::Stage(Stage::new(len)?)))
    }

    /// What kind of file `id` is; nothing for an output that is not there yet, or for a number without a file.
    #[must_use]
    pub fn kind(&self, id: FileId) -> Option<FileKind> {
        self.get(id)?.nature().map(|nature| nature.kind)
    }

    /// The path of `id`, as it was given.
    #[must_use]
    pub fn path(&self, id: FileId) -> Option<&Path> {
        self.get(id).map(Entry::path)
    }

    /// Whether `id` is read, not written.
    #[must_use]
    pub fn is_input(&self, id: FileId) -> bool {
        matches!(self.get(id), Some(Entry::Input(_)))
    }

    /// The files as the guest's boot page lists them, in the order of their numbers.
    pub fn boot_entries(&self) -> impl ExactSizeIterator<Item = FileEntry> {
        self.files.iter().map(|entry| entry.for_guest(self.max_output))
    }

    /// The file `id` as the guest gets to know it.
    ///
    /// # Panics
    ///
    /// If there is no file `id`.
    pub(crate) fn entry(&self, id: FileId) -> FileEntry {
        self.get(id).map_or_else(|| panic!("{id:?} is no file"), |entry| entry.for_guest(self.max_output))
    }

    /// The outputs whose content is no longer what it was when the command began.
    pub fn outputs_touched(&self) -> impl Iterator<Item = &Path> {
        let is_touched = |entry: &&Entry| match entry {
            Entry::Output(output) => output.is_touched(),
            Entry::InPlace(file) => file.is_touched,
            Entry::Input(_) | Entry::Stage(_) => false,
        };
        self.files.iter().filter(is_touched).map(Entry::path)
    }

    /// What may be done with each file, in the order of their numbers.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let further = |id| {
            let own = self.series.as_ref().filter(|series| series.of == id);
            own.map_or(0, |series| series.most - series.next)
        };
        let role = |(id, entry): (FileId, &Entry)| match entry {
            Entry::Input(input) => Role::Input { len: input.len() },
            Entry::Output(_) => Role::Output { further: further(id) },
            Entry::Stage(stage) => Role::Stage { len: stage.input.len() },
            Entry::InPlace(file) => Role::InPlace { len: file.input.len() },
        };
        self.numbered().map(role).collect()
    }

    /// The length of all inputs together, in bytes.
    pub(crate) fn inputs_len(&self) -> u64 {
        let len = |role: Role| if let Role::Input { len } = role { len } else { 0 };
        self.roles().into_iter().map(len).fold(0, u64::saturating_add)
    }

    /// Whether every output has been made.
    pub(crate) fn are_outputs_made(&self) -> bool {
        self.outputs().all(Output::is_made)
    }

    /// The outputs, and what is written in place.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.files.iter().filter_map(|entry| match entry {
            Entry::Output(output) | Entry::InPlace(InPlace { output, .. }) => Some(output),
            Entry::Input(_) | Entry::Stage(_) => None,
        })
    }

    /// The input `id`, or the stage or a file in place as one.
    ///
    /// # Panics
    ///
    /// If `id` is neither. Numbers that come from a guest have been checked against [`roles`](Self::roles).
    pub(crate) fn input(&self, id: FileId) -> &Input {
        match self.get(id) {
            Some(
                Entry::Input(input)
                | Entry::Stage(Stage { input, .. })
                | Entry::InPlace(InPlace { input, .. }),
            ) => input,
            _ => panic!("{id:?} is no input"),
        }
    }

    /// The output `id`, or the stage or a file in place as one.
    ///
    /// # Panics
    ///
    /// If `id` is neither, as for [`input`](Self::input).
    pub(crate) fn output(&self, id: FileId) -> &Output {
        match self.get(id) {
            Some(
                Entry::Output(output)
                | Entry::Stage(Stage { output, .. })
                | Entry::InPlace(InPlace { output, .. }),
            ) => output,
            _ => panic!("{id:?} is no output"),
        }
    }

    /// Notes that the output `of` consists of one file more, and returns its number. Touches nothing.
    ///
    /// # Errors
    ///
    /// As [`add_output`](Self::add_output); and when this process may not have so many files open.
    ///
    /// # Panics
    ///
    /// If there is none to come, as for [`input`](Self::input).
    pub(crate) fn add_further(&mut self, of: FileId) -> Result<FileId, FileError> {
        let Some(series) = self.series.as_mut().filter(|series| series.of == of && series.next < series.most)
        else {
            panic!("{of:?} consists of no file more");
        };
        let (number, name) = (series.next, series.name);
        series.next += 1;
        let first = self.output(of);
        let own_name = first.path().file_name().unwrap_or_default();
        let path = first.path().with_file_name(OsStr::from_bytes(&name(own_name.as_bytes(), number)));
        let options = first.options();
        let room = make_room(self.files.len() + 1).map_err(|allowed| FileErrorKind::TooMany { allowed });
        room.map_err(|kind| FileError::new(&path, FileOperation::Create, kind))?;
        self.add_found(Output::find_unnamed(&path, options)?)
    }

    /// Gives the output `id` `len` bytes. What is added to a regular file are zeros. A device only has to have room.
    ///
    /// When the last output has been given its first length, all of them are opened, and created if need be. Then they are
    /// emptied, and get their lengths; devices keep what is on them. Until these files are dropped, they are locked as QEMU
    /// locks images that it writes.
    ///
    /// # Errors
    ///
    /// When it may not have that length, or there is no room for it, and then nothing has been done. When an output cannot be
    /// made, is somebody else's, or is a device that is shorter, and then none has been emptied. When it cannot be given its
    /// length.
    ///
    /// # Panics
    ///
    /// If `id` is neither an output nor a file in place, as for [`input`](Self::input).
    pub(crate) fn size_output(&mut self, id: FileId, len: u64) -> Result<(), FileError> {
        self.refuse_large(id, len)?;
        let output = self.output_mut(id);
        if output.is_made() {
            return output.resize(len);
        }
        output.plan(len);
        if self.outputs().all(|output| output.len().is_some()) { self.make_outputs() } else { Ok(()) }
    }

    /// Makes those outputs that have not been made.
    ///
    /// What [`add_output`](Self::add_output) checked may have changed since. So it is checked again, on the opened files,
    /// before any is emptied.
    fn make_outputs(&mut self) -> Result<(), FileError> {
        let is_left = |(_, entry): &(_, &Entry)| matches!(entry, Entry::Output(output) if !output.is_made());
        let mut left: Vec<_> = self.numbered().filter(is_left).map(|(id, _)| id).collect();
        // Those that may be refused come before those that are created.
        left.sort_by_key(|&id| self.output(id).nature().is_none());
        if self.fills_outputs {
            left.iter().try_for_each(|&id| self.output(id).refuse_without_room())?;
        }
        for &id in &left {
            self.output_mut(id).open()?;
            let output = self.output(id);
            if let Some(nature) = output.nature() {
                self.refuse_same_file(output.path(), nature, Some(id))?;
            }
            self.output_mut(id).claim()?;
        }
        left.iter().try_for_each(|&id| self.output_mut(id).make())
    }

    /// Notes that the file `id` is going to be written, if it is one in place. Tells whether it is.
    pub(crate) fn touch_in_place(&mut self, id: FileId) -> bool {
        match self.files.get_mut(id.index()) {
            Some(Entry::InPlace(file)) => {
                file.is_touched = true;
                true
            }
            _ => false,
        }
    }

    /// Refuses a length of `len` bytes for the output `id` if the user wants none so large.
    fn refuse_large(&self, id: FileId, len: u64) -> Result<(), FileError> {
        let Some(allowed) = self.max_output else { return Ok(()) };
        let output = self.output(id);
        let all = self.outputs().filter_map(Output::len).fold(0, u64::saturating_add);
        let others = all.saturating_sub(output.len().unwrap_or(0));
        let len = others.saturating_add(len);
        if len <= allowed {
            return Ok(());
        }
        let doing = if output.is_made() { FileOperation::Resize } else { FileOperation::Create };
        Err(FileError::new(output.path(), doing, FileErrorKind::TooLarge { len, allowed }))
    }

    fn output_mut(&mut self, id: FileId) -> &mut Output {
        match self.files.get_mut(id.index()) {
            Some(Entry::Output(output) | Entry::InPlace(InPlace { output, .. })) => output,
            _ => panic!("{id:?} is no output"),
        }
    }

    /// Refuses an input of this nature if it is one of the outputs.
    fn refuse_output(&self, nature: Nature) -> Result<(), FileErrorKind> {
        let is_it = |output: &&Output| output.nature().is_some_and(|it| it.is_same_file(&nature));
        match self.outputs().find(is_it) {
            Some(output) => Err(FileErrorKind::SameFile { other: output.path().into() }),
            None => Ok(()),
        }
    }

    /// Refuses the output at `path` if it is the same file as any that is here, leaving out `itself`.
    fn refuse_same_file(&self, path: &Path, nature: Nature, itself: Option<FileId>) -> Result<(), FileError> {
        let others = self.numbered().filter(|&(id, _)| Some(id) != itself);
        for (_, other) in others {
            if other.nature().is_some_and(|other| other.is_same_file(&nature)) {
                let kind = FileErrorKind::SameFile { other: other.path().into() };
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

impl Entry {
    fn path(&self) -> &Path {
        match self {
            Self::Input(input) | Self::Stage(Stage { input, .. }) | Self::InPlace(InPlace { input, .. }) => {
                input.path()
            }
            Self::Output(output) => output.path(),
        }
    }

    /// What it is, if it is there.
    fn nature(&self) -> Option<Nature> {
        match self {
            Self::Input(input) | Self::Stage(Stage { input, .. }) | Self::InPlace(InPlace { input, .. }) => {
                Some(input.nature())
            }
            Self::Output(output) => output.nature(),
        }
    }

    fn for_guest(&self, max_output: Option<u64>) -> FileEntry {
        match self {
            Self::Input(input) => {
                FileEntry { role: ROLE_INPUT, hints: hints(input.path()), len: input.len() }
            }
            Self::Stage(stage) => FileEntry { role: ROLE_STAGE, hints: 0, len: stage.input.len() },
            Self::Output(output) => {
                let len = [max_output, output.device_len()].into_iter().flatten().min().unwrap_or(u64::MAX);
                FileEntry { role: ROLE_OUTPUT, hints: hints(output.path()), len }
            }
            Self::InPlace(InPlace { input, .. }) => {
                FileEntry { role: ROLE_IN_PLACE, hints: hints(input.path()), len: input.len() }
            }
        }
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
