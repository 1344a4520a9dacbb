//! Where messages go: nowhere, or to where there is no room.

use testkit::outcome::Exit;
use testkit::tool::{Run, Tool};

use crate::{INSTAR, Scene};

const NOWHERE: [&str; 3] = ["0<&- 1>&- 2>&-", ">/dev/full 2>/dev/full", "2>&-"];

/// Runs `instar ARGS` by a shell that redirects its streams.
fn redirected(scene: &Scene, args: &str, streams: &str) -> Run {
    let script = format!("exec \"$1\" {args} {streams}");
    Tool::named("sh").run(scene.path(), ["-c", &script, "sh", INSTAR]).expect("a shell")
}

#[test]
fn a_copy_needs_none() {
    let scene = Scene::new();
    for streams in NOWHERE {
        scene.forget_output();
        scene.assert_copied(&redirected(&scene, "dd if=disk.raw of=out", streams));
    }
}

#[test]
fn a_failure_that_nobody_hears_of_is_one() {
    let scene = Scene::new();
    for streams in NOWHERE {
        for args in ["dd if=nosuch of=out", "dd if=disk.raw of=nosuch/out", "dd if=disk.raw", "nosuch"] {
            let run = redirected(&scene, args, streams);
            assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(1), ""), "{args} {streams}");
        }
    }
    assert!(!scene.file("out").exists());
}

/// Descriptors that are free are taken by the next file that is opened: a message must not get into it.
#[test]
fn messages_do_not_get_into_files() {
    let scene = Scene::new();
    let run = redirected(&scene, "dd skip=999999 if=disk.raw of=out", "0<&- 1>&- 2>&-");
    assert_eq!(run.exit, Exit::Code(0));
    assert_eq!(scene.file("out").metadata().expect("an output").len(), 0);
    assert!(scene.has_disk("disk.raw"), "the input was changed");
}
