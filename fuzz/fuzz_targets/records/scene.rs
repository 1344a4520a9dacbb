//! A directory with files to read, to write, to be named, and to leave alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use guest_abi::exchange::DATA_LEN;
use tempfile::TempDir;
use vmm::{FileId, Files};

use crate::model::{Byte, Model};
use crate::tree::{FILES, NAMES, Tree, TreeFile};

/// The files of the command in the order of their numbers; those at [`OUTPUTS`] are written, and the one at [`IN_PLACE`]. The
/// stage has no name.
const FILE_NAMES: [&str; 6] = ["input", "output", "input-with-hole", "existing-output", "", "in-place"];

/// The numbers of the outputs.
pub(crate) const OUTPUTS: [u32; 2] = [1, 3];

/// The output that may consist of [`FURTHER`] besides.
pub(crate) const DIVIDED: u32 = 1;

/// The names of the files that one output may consist of beside itself.
pub(crate) const FURTHER: [&str; 2] = ["further-0", "further-1"];

/// The number of the stage.
pub(crate) const STAGE: u32 = 4;

/// The number of the file that is written in place. All others are inputs.
pub(crate) const IN_PLACE: u32 = 5;

/// The first number that no file has at the beginning.
pub(crate) const FIRST_FREE: u32 = 6;

/// What is in the file that is written in place, at the beginning.
const IMAGE: &[u8] = &[5; 3000];

/// In bytes.
pub(crate) const STAGE_LEN: u64 = 8 << 10;

/// What is at the path of one output before, and must be there after if that is never made.
const EXISTING: &[u8] = b"what was there before";

/// What is in the data window when a ring comes.
pub(crate) fn window() -> Vec<u8> {
    let mut window = NAMES.to_vec();
    window.resize(DATA_LEN as usize, 0);
    window
}

pub(crate) struct Scene {
    dir: TempDir,
    inputs: [(u32, Vec<u8>); 2],
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = directory();
        let pattern: Vec<u8> = (0..=250).cycle().take(5000).collect();
        let with_hole = [pattern.as_slice(), &[0; 20_000], &pattern].concat();
        let inputs = [(0, pattern), (2, with_hole)];
        for (number, bytes) in &inputs {
            write(&path(&dir, *number), bytes);
        }
        write(&path(&dir, OUTPUTS[1]), EXISTING);
        write(&path(&dir, IN_PLACE), IMAGE);
        for (name, bytes) in FILES {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it can be made");
            write(&path, bytes);
        }
        Self { dir, inputs }
    }

    /// All that can be read, as the model knows it.
    pub(crate) fn tree(&self) -> Tree {
        let inputs = self.inputs.iter();
        Tree::new(inputs.map(|(number, bytes)| (FILE_NAMES[*number as usize], bytes.clone())))
    }

    /// The inputs by their numbers.
    pub(crate) fn inputs(&self) -> BTreeMap<u32, TreeFile> {
        let tree = self.tree();
        self.inputs.iter().map(|&(number, _)| (number, tree.file(FILE_NAMES[number as usize]))).collect()
    }

    /// The file that is written in place. Images cannot name it.
    pub(crate) fn in_place(&self) -> TreeFile {
        TreeFile::new(FILE_NAMES[IN_PLACE as usize], IMAGE)
    }

    /// The files as the command line would name them.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for number in 0..FIRST_FREE {
            let path = path(&self.dir, number);
            let added = match number {
                STAGE => files.add_stage(STAGE_LEN),
                IN_PLACE => files.add_in_place(&path),
                _ if OUTPUTS.contains(&number) => files.add_output(&path),
                _ => files.add_input(&path),
            };
            assert_eq!(added.expect("the file can be used").0, number);
        }
        files.add_series(FileId(DIVIDED), FURTHER.len() as u32, |_, index| FURTHER[index as usize].into());
        files
    }

    /// Checks that the directory is as `model` says, and has nothing else in it.
    pub(crate) fn check(&self, model: &Model) {
        let mut found = files_in(self.dir.path());
        let inputs = self.inputs.iter().map(|(number, bytes)| (FILE_NAMES[*number as usize], &bytes[..]));
        for (name, bytes) in inputs.chain(FILES) {
            let found = found.remove(Path::new(name));
            assert!(found.is_some_and(|found| found == bytes), "{name} is as before");
        }
        let outputs = OUTPUTS.into_iter().chain([IN_PLACE]);
        let outputs = outputs.map(|number| (FILE_NAMES[number as usize], model.output(number)));
        let further = FURTHER.into_iter().enumerate().map(|(index, name)| (name, model.further(index)));
        for (name, expected) in outputs.chain(further) {
            let found = found.remove(Path::new(name));
            match expected {
                Some(output) => assert!(found.is_some_and(|found| is_like(&found, output)), "{output:?}"),
                None if name == FILE_NAMES[OUTPUTS[1] as usize] => {
                    assert_eq!(found.as_deref(), Some(EXISTING))
                }
                None => assert_eq!(found, None),
            }
        }
        assert!(found.is_empty(), "{:?}", found.keys());
    }
}

/// In memory where the system has a directory for that: each input of the fuzzer makes one.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory can be made")
}

fn path(dir: &TempDir, number: u32) -> PathBuf {
    dir.path().join(FILE_NAMES[number as usize])
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file can be written");
}

/// Whether `found` is what is expected, as far as that is known.
fn is_like(found: &[u8], expected: &[Byte]) -> bool {
    let alike = |(found, expected): (&u8, &Byte)| expected.is_none_or(|byte| byte == *found);
    found.len() == expected.len() && found.iter().zip(expected).all(alike)
}

/// The content of all files beneath `dir`, by their paths from there.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("the directory can be listed") {
        let path = entry.expect("as can its entries").path();
        let name = PathBuf::from(path.file_name().expect("it has a name"));
        if path.is_dir() {
            files.extend(files_in(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            files.insert(name, fs::read(&path).expect("it can be read"));
        }
    }
    files
}
