//! Inputs that somebody changes while they are copied. instar's locks keep out only those who ask for them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::Exit;
use testkit::tool::Run;

use crate::Scene;
use crate::shim::Shim;

/// More than is read at a time, so that there is something left to read behind the first write.
const DISK_LEN: u64 = 3 * MIB;

/// Copies a disk, and does something to it before the first byte of the copy is written.
fn copy_while(change: impl FnOnce(&File)) -> (Scene, Run) {
    let scene = Scene::with(Disk::solid("before", DISK_LEN));
    let input = File::options().write(true).open(scene.file("disk.raw")).expect("the input");
    let run = run_while(&scene, || change(&input));
    (scene, run)
}

fn run_while(scene: &Scene, change: impl FnOnce()) -> Run {
    let shim = Shim::build();
    let tool = shim.stopping_instar("pwrite64", 1);
    tool.dd_stopping(scene.path(), &["if=disk.raw", "of=out"], change).expect("instar starts, and writes")
}

#[test]
fn an_input_that_shrinks_is_an_error() {
    for len in [0, MIB, DISK_LEN - 4 * KIB, DISK_LEN - 1] {
        let (scene, run) = copy_while(|input| input.set_len(len).expect("it can be shortened"));
        assert_eq!(run.exit, Exit::Code(1), "{len}: {}", run.stderr);
        for words in ["instar: reading 'disk.raw' at byte ", "when it was opened", "'out' is incomplete"] {
            assert!(run.stderr.contains(words), "{len}: {}", run.stderr);
        }
        assert!(scene.file("out").exists());
    }
}

#[test]
fn an_input_that_grows_is_copied_as_long_as_it_was() {
    let (scene, run) = copy_while(|input| input.set_len(2 * DISK_LEN).expect("it can grow"));
    scene.assert_copied(&run);
}

#[test]
fn an_input_whose_bytes_change_is_copied() {
    let (scene, run) =
        copy_while(|input| input.write_all_at(b"after", DISK_LEN - 5).expect("it can be written"));
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
    let [input, output] = ["disk.raw", "out"].map(|name| fs::read(scene.file(name)).expect("a disk"));
    assert!(input == output);
}

#[test]
fn an_input_that_is_removed_is_copied() {
    let scene = Scene::new();
    let run = run_while(&scene, || fs::remove_file(scene.file("disk.raw")).expect("it is there"));
    scene.assert_copied(&run);
}
