//! Outputs for which there is no room, or no right.

use std::fs;

use testkit::disk::{Disk, MIB};
use testkit::outcome::Exit;
use testkit::tool::{require_tool, with_own_mounts};

use crate::{FORMATS, INSTAR, Scene};

/// Runs instar as a user who owns nothing but may use KVM, in a copy of the scene that he can reach.
const AS_NOBODY: &str = "
    mount -t tmpfs none $PWD/stage; cp disk.raw \"$1\" stage; cd stage; chmod 755 .
    mkdir full; chmod 777 full; touch full/out; chmod 600 disk.raw
    mknod -m 666 kvm c $(stat -c '%Hr %Lr' /dev/kvm); mount --bind kvm /dev/kvm
    exec setpriv --reuid=65534 --regid=65534 --clear-groups ./instar dd \"$2\" \"$3\"";

/// File systems of 2 MiB at "small".
pub(crate) const SMALL: [&str; 2] = [
    "mount -t tmpfs -o size=2M none small",
    "truncate -s 2M image; mkfs.ext4 -q image; mount -o loop image small",
];

/// One in which nobody can know that before: what is on top of another may compress.
#[test]
fn a_file_system_that_becomes_full() {
    let scene = Scene::new();
    for dir in ["small", "lower", "top"] {
        fs::create_dir(scene.file(dir)).expect("a directory");
    }
    let on_top = "mkdir small/upper small/work
        mount -t overlay -o lowerdir=lower,upperdir=small/upper,workdir=small/work none top";
    for (mount, format) in SMALL.into_iter().flat_map(|mount| FORMATS.map(|format| (mount, format))) {
        // What there is of the output goes with its file system: ask while it is there.
        let script = format!(
            "{mount}; {on_top}
            \"$1\" dd -O {format} if=disk.raw of=top/out || code=$?; test -e top/out; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
        for words in
            ["instar: writing 'top/out' at byte ", "No space left on device", "'top/out' is incomplete"]
        {
            assert!(run.stderr.contains(words), "{format}: {}", run.stderr);
        }
        assert!(scene.has_disk("disk.raw"));
    }
}

#[test]
fn a_file_system_that_is_too_small() {
    let scene = Scene::new();
    fs::create_dir(scene.file("small")).expect("a directory");
    for (mount, format) in SMALL.into_iter().flat_map(|mount| FORMATS.map(|format| (mount, format))) {
        let script = format!(
            "{mount}; echo old >small/old
            \"$1\" dd -O {format} if=disk.raw of=small/old || true; test \"$(cat small/old)\" = old || exit 2
            \"$1\" dd -O {format} if=disk.raw of=small/out || code=$?; ! test -e small/out || exit 2; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{format}: {}", run.stderr);
        for words in ["creating 'small/old': it would have ", "creating 'small/out': it would have "] {
            assert!(run.stderr.contains(words), "{format}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("incomplete"), "{format}: {}", run.stderr);
    }
}

/// What an output has is room for what it will have.
#[test]
fn a_file_system_with_room_for_one() {
    let scene = Scene::new();
    fs::create_dir(scene.file("small")).expect("a directory");
    let script =
        "mount -t tmpfs -o size=4M none small; for n in 1 2; do \"$1\" dd if=disk.raw of=small/out; done
        mount -t tmpfs -o size=0 none small; \"$1\" dd if=disk.raw of=small/out; cmp disk.raw small/out";
    let Some(run) = with_own_mounts(scene.path(), script, &[INSTAR]) else { return };
    let run = run.expect("a shell");
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
}

#[test]
fn a_limit_for_the_size_of_files() {
    let Some(_) = require_tool("prlimit") else { return };
    // More than the file in memory that a guest which is a process begins with.
    let scene = Scene::with(Disk::hole(70 * MIB));
    let run = scene.dd_under(&["prlimit", &format!("--fsize={}", 64 * MIB)]);
    scene.assert_failed(&run, &["resizing 'out'", "File too large"]);
}

#[test]
fn a_file_system_that_is_read_only() {
    let scene = Scene::new();
    fs::create_dir(scene.file("small")).expect("a directory");
    let script = "mount -t tmpfs -o ro none small; exec \"$1\" dd if=disk.raw of=small/out";
    let Some(run) = with_own_mounts(scene.path(), script, &[INSTAR]) else { return };
    scene.assert_failed(&run.expect("a shell"), &["creating 'small/out'", "Read-only file system"]);
}

#[test]
fn an_output_on_another_file_system() {
    let scene = Scene::new();
    fs::create_dir(scene.file("small")).expect("a directory");
    let script = "mount -t tmpfs none small; \"$1\" dd if=disk.raw of=small/out; cmp disk.raw small/out";
    let Some(run) = with_own_mounts(scene.path(), script, &[INSTAR]) else { return };
    let run = run.expect("a shell");
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
}

/// Each is found before the guest starts, and so before anything is touched.
#[test]
fn files_that_the_user_has_no_right_to() {
    let scene = Scene::new();
    fs::create_dir(scene.file("stage")).expect("a directory");
    for (input, output, words) in [
        ("if=disk.raw", "of=full/new", "opening 'disk.raw': Permission denied"),
        ("if=instar", "of=out", "creating 'out': Permission denied"),
        ("if=instar", "of=full/out", "creating 'full/out': Permission denied"),
    ] {
        let Some(run) = with_own_mounts(scene.path(), AS_NOBODY, &[INSTAR, input, output]) else { return };
        scene.assert_failed(&run.expect("a shell"), &[words]);
    }
}
