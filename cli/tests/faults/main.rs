//! Copies that the world does not let finish: no room, no rights, errors of the medium, files that change meanwhile.
//!
//! Whatever happens, an input stays as it was, the exit code is 1, and a message says what failed, and which output is
//! incomplete.

mod changes;
mod convert;
mod errors;
mod limits;
mod room;
mod shim;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::disk::{Disk, MIB};
use testkit::outcome::Exit;
use testkit::scene;
use testkit::tool::{Run, Tool};

const FORMATS: [&str; 5] = ["raw", "qcow2", "vmdk", "vpc", "vhdx"];

/// The program under test.
const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// A directory with the input `disk.raw`.
struct Scene {
    dir: TempDir,
    disk: Disk,
}

impl Scene {
    /// With 3 MiB of which one is a hole.
    fn new() -> Self {
        Self::with(Disk::hole(3 * MIB).with(0, "first", MIB).with(2 * MIB, "last", MIB))
    }

    fn with(disk: Disk) -> Self {
        let dir = scene::temporary_dir().expect("a directory");
        disk.write(&dir.path().join("disk.raw")).expect("an input");
        Self { dir, disk }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Runs `tool dd ARGS` here.
    fn dd(&self, tool: &Tool, args: &[&str]) -> Run {
        tool.dd(self.path(), args).expect("the tool starts")
    }

    /// Runs `tool WORDS` here, which are separated by blanks.
    fn run(&self, tool: &Tool, words: &str) -> Run {
        tool.run(self.path(), words.split_whitespace()).expect("the tool starts")
    }

    /// Runs `prefix… instar dd if=disk.raw of=out` here.
    fn dd_under(&self, prefix: &[&str]) -> Run {
        let args = prefix[1..].iter().copied().chain([INSTAR, "dd", "if=disk.raw", "of=out"]);
        Tool::named(prefix[0]).run(self.path(), args).expect("the tool starts")
    }

    /// Whether the file `name` has the disk's bytes.
    fn has_disk(&self, name: &str) -> bool {
        scene::content_of(&self.file(name)).is_ok_and(|content| content == self.disk.content())
    }

    /// That `run` failed for a reason with all of `words`, and behaved.
    #[track_caller]
    fn assert_failed(&self, run: &Run, words: &[&str]) {
        let said = &run.stderr;
        assert_eq!(run.exit, Exit::Code(1), "{said}");
        assert!(said.starts_with("instar: "), "{said:?}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert_eq!(self.file("out").exists(), said.contains("'out' is incomplete"), "{said}");
        assert!(self.has_disk("disk.raw"), "the input was changed");
    }

    /// That `run` made a copy.
    #[track_caller]
    fn assert_copied(&self, run: &Run) {
        assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
        assert!(self.has_disk("out"), "the copy is another disk");
    }

    fn forget_output(&self) {
        let _ = fs::remove_file(self.file("out"));
    }
}
