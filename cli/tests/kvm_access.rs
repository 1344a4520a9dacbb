//! A machine without KVM, or a user who may not use it, is told so, and what to do.
//!
//! Taking the device away needs root; the tests say that they were skipped where they cannot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A copy of instar, and an input, that any user can reach.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::copy(env!("CARGO_BIN_EXE_instar"), dir.path().join("instar")).expect("a copy");
    fs::write(dir.path().join("disk.raw"), [1; 512]).expect("an input");
    dir
}

/// Runs `wrapper` with a shell's command line of instar, or `None` where this user cannot run `wrapper`.
fn run(dir: &Path, wrapper: &[&str], prepare: &str) -> Option<Output> {
    let works = Command::new(wrapper[0]).args(&wrapper[1..]).args(["sh", "-c", prepare]).output();
    if !works.as_ref().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to run {wrapper:?}: {works:?}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {} cannot be used here", wrapper[0]);
        return None;
    }
    let script = format!("{prepare}; exec ./instar dd if=disk.raw of=out");
    let output =
        Command::new(wrapper[0]).args(&wrapper[1..]).args(["sh", "-c", &script]).current_dir(dir).output();
    Some(output.expect("it ran before"))
}

#[track_caller]
fn assert_told(dir: &Path, output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!dir.join("out").exists(), "an output was made");
}

#[test]
fn without_the_device() {
    let dir = stage();
    let hide = "mount -t tmpfs none /dev";
    if let Some(output) = run(dir.path(), &["unshare", "--mount"], hide) {
        assert_told(
            dir.path(),
            &output,
            &["/dev/kvm does not exist", "hint:", "modprobe", "--device /dev/kvm"],
        );
    }
}

#[test]
fn without_permission() {
    let dir = stage();
    let nobody = ["unshare", "--mount", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if fs::metadata("/dev/kvm").is_ok_and(|kvm| kvm.permissions().mode() & 0o006 != 0) {
        // Everybody may use it here; a machine of its own has one that nobody may.
        let _ = writeln!(std::io::stderr(), "SKIPPED: every user may use /dev/kvm here");
        return;
    }
    if let Some(output) = run(dir.path(), &nobody, "true") {
        assert_told(dir.path(), &output, &["not permitted", "hint:", "usermod -aG kvm"]);
    }
}
