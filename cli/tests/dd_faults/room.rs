//! Outputs for which there is no room, or no right.

use std::fs;

use testkit::outcome::Exit;
use testkit::tool::{require_tool, with_own_mounts};

use crate::{FORMATS, INSTAR, Scene};

/// Runs instar as a user who owns nothing but may use KVM, in a copy of the scene that he can reach.
const AS_NOBODY: &str = "
    mount -t tmpfs none $PWD/stage; cp disk.raw \"$1\" stage; cd stage; chmod 755 .
    mkdir full; chmod 777 full; touch full/out; chmod 600 disk.raw
    mknod -m 666 kvm c $(stat -c '%Hr %Lr' /dev/kvm); mount --bind kvm /dev/kvm
    exec setpriv --reuid=65534 --regid=65534 --clear-groups ./instar dd \"$2\" \"$3\"";

#[test]
fn a_file_system_that_is_full() {
    let scene = Scene::new();
    fs::create_dir(scene.file("small")).expect("a directory");
    let full_ext4 = "truncate -s 2M image; mkfs.ext4 -q image; mount -o loop image small";
    for (mount, format) in ["mount -t tmpfs -o size=2M none small", full_ext4]
        .into_iter()
        .flat_map(|mount| FORMATS.map(|format| (mount, format)))
    {
        // What there is of the output goes with its file system: ask while it is there.
        let script = format!(
            "{mount}; \"$1\" dd -O {format} if=disk.raw of=small/out || code=$?; test -e small/out; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
        for words in
            ["instar: writing 'small/out' at byte ", "No space left on device", "'small/out' is incomplete"]
        {
            assert!(run.stderr.contains(words), "{format}: {}", run.stderr);
        }
        assert!(scene.has_disk("disk.raw"));
    }
}

#[test]
fn a_limit_for_the_size_of_files() {
    let Some(_) = require_tool("prlimit") else { return };
    let scene = Scene::new();
    let run = scene.dd_under(&["prlimit", "--fsize=1000000"]);
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
