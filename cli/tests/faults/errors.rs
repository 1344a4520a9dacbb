//! Calls that fail, come short, or are interrupted.

use std::fs;

use testkit::disk::{Disk, MIB};
use testkit::outcome::Exit;
use testkit::qemu::Qemu;

use crate::shim::Shim;
use crate::{FORMATS, Scene};

const EINTR: i32 = 4;
const EIO: i32 = 5;

/// The calls that move bytes, and those that only make room for them or wait for them.
const MOVING: [&str; 2] = ["pread64", "pwrite64"];
const OTHER: [&str; 2] = ["ftruncate64", "fdatasync"];

/// More calls than a copy of such a disk makes.
const ENOUGH: usize = 1000;

fn operands(format: &str) -> [&str; 5] {
    ["-O", format, "if=disk.raw", "of=out", "--uuid=6ba7b810-9dad-11d1-80b4-00c04fd430c8"]
}

#[test]
fn an_error_of_the_medium_ends_the_copy_whichever_call_it_meets() {
    let (shim, scene) = (Shim::build(), Scene::new());
    for (format, call) in FORMATS
        .into_iter()
        .flat_map(|format| [MOVING, OTHER].as_flattened().iter().map(move |call| (format, call)))
    {
        let failed = (1..ENOUGH).take_while(|&at| {
            scene.forget_output();
            if *call == "ftruncate64" {
                // A new one may be made with its length at once.
                fs::write(scene.file("out"), "old").expect("an output");
            }
            let run = scene.dd(&shim.instar(call, at, EIO), &operands(format));
            if run.exit == Exit::Code(0) {
                return false;
            }
            scene.assert_failed(&run, &["I/O error", if *call == "pread64" { "disk.raw" } else { "'out'" }]);
            true
        });
        let failed = failed.count();
        assert!((1..ENOUGH - 1).contains(&failed), "{call} to {format}: {failed} calls failed");
    }
}

#[test]
fn calls_that_come_short_or_are_interrupted_are_made_again() {
    let (shim, scene) = (Shim::build(), Scene::new());
    for format in FORMATS {
        scene.forget_output();
        let run = scene.dd(&shim.reproducible(), &operands(format));
        assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
        let undisturbed = testkit::scene::content_of(&scene.file("out")).expect("an output");
        for (call, errno) in MOVING.into_iter().flat_map(|call| [(call, 0), (call, EINTR)]) {
            scene.forget_output();
            let run = scene.dd(&shim.instar(call, 0, errno), &operands(format));
            assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""), "{call} to {format}");
            let disturbed = testkit::scene::content_of(&scene.file("out")).expect("an output");
            assert_eq!(disturbed, undisturbed, "{call} to {format}");
        }
    }
}

/// Enough for several threads, and for a guest that decompresses: signals meet all that waits.
#[test]
fn a_storm_of_signals_changes_nothing() {
    let Some(_) = Qemu::require() else { return };
    let shim = Shim::build();
    let scene =
        Scene::with(Disk::hole(100 * MIB).with(0, "first", 40 * MIB).with(90 * MIB, "last", 10 * MIB));
    Qemu::script(scene.path(), "qemu-img convert -c -O qcow2 disk.raw disk.qcow2", &[]).expect("an image");
    for input in ["if=disk.raw", "if=disk.qcow2"] {
        scene.assert_copied(&scene.dd(&shim.stormy_instar(), &[input, "of=out"]));
    }
}
