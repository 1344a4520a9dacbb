//! A directory with files to read, to write, and to leave alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vmm::Files;

use crate::model::{Model, OUTPUTS, OutputByte};

/// The files of the command in the order of their numbers; those at [`OUTPUTS`] are written.
const NAMES: [&str; 4] = ["input", "output", "input-with-hole", "existing-output"];

/// What is at the path of one output before, and must be there after if that is never made.
const EXISTING: &[u8] = b"what was there before";

pub(crate) struct Scene {
    dir: TempDir,
    inputs: BTreeMap<u32, Vec<u8>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = directory();
        let pattern: Vec<u8> = (0..=250).cycle().take(5000).collect();
        let with_hole = [pattern.as_slice(), &[0; 20_000], &pattern].concat();
        let inputs = BTreeMap::from([(0, pattern), (2, with_hole)]);
        for (&number, bytes) in &inputs {
            write(&path(&dir, number), bytes);
        }
        write(&path(&dir, OUTPUTS[1]), EXISTING);
        Self { dir, inputs }
    }

    /// What the inputs hold, by their numbers.
    pub(crate) fn inputs(&self) -> BTreeMap<u32, Vec<u8>> {
        self.inputs.clone()
    }

    /// The files as the command line would name them.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for number in 0..4 {
            let path = path(&self.dir, number);
            let added =
                if OUTPUTS.contains(&number) { files.add_output(&path) } else { files.add_input(&path) };
            assert_eq!(added.expect("the file can be used").0, number);
        }
        files
    }

    /// Checks that the directory is as `model` says, and has nothing else in it.
    pub(crate) fn check(&self, model: &Model) {
        for (&number, bytes) in &self.inputs {
            assert!(
                fs::read(path(&self.dir, number)).is_ok_and(|read| read == *bytes),
                "the inputs are as before"
            );
        }
        let mut expected = BTreeSet::from(NAMES);
        for number in OUTPUTS {
            let found = fs::read(path(&self.dir, number)).ok();
            match model.output(number) {
                Some(output) => assert!(found.is_some_and(|found| is_like(&found, output)), "{output:?}"),
                None if number == OUTPUTS[1] => assert_eq!(found.as_deref(), Some(EXISTING)),
                None => assert!(expected.remove(NAMES[number as usize]) && found.is_none()),
            }
        }
        assert_eq!(names_in(self.dir.path()), expected.into_iter().map(String::from).collect());
    }
}

/// In memory where the system has a directory for that: each input of the fuzzer makes one.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory can be made")
}

fn path(dir: &TempDir, number: u32) -> PathBuf {
    dir.path().join(NAMES[number as usize])
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file can be written");
}

fn is_like(found: &[u8], expected: &[OutputByte]) -> bool {
    let alike = |(found, expected): (&u8, &OutputByte)| expected.is_none_or(|byte| byte == *found);
    found.len() == expected.len() && found.iter().zip(expected).all(alike)
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).expect("the directory can be listed");
    entries
        .map(|entry| entry.expect("as can its entries").file_name().to_string_lossy().into_owned())
        .collect()
}
