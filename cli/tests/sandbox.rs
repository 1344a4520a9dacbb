//! Which sandbox is chosen; and a machine without KVM, or a user who may not use it, is told so, and what to do.
//!
//! Taking the device away needs root; the tests say that they were skipped where they cannot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use testkit::disk::Disk;
use testkit::outcome::Exit;
use testkit::tool::{Run, elsewhere};

/// What an administrator chooses by.
const VARIABLE: &str = "INSTAR_SANDBOX";

/// Without `/dev/kvm`, whatever else is there.
const WITHOUT_DEVICE: Wrapper =
    Wrapper { command: &["unshare", "--mount"], prepare: "mount -t tmpfs none /dev" };

/// Without a right to it.
const WITHOUT_PERMISSION: Wrapper = Wrapper {
    command: &["unshare", "--mount", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    prepare: "true",
};

/// Without namespaces that a process could have of its own.
const WITHOUT_NAMESPACES: Wrapper = Wrapper {
    command: &["unshare", "--user", "--map-root-user"],
    prepare: "echo 0 >/proc/sys/user/max_user_namespaces",
};

/// Without programs that are executed from memory.
const WITHOUT_PROCESSES: Wrapper = Wrapper {
    command: &["unshare", "--mount", "--pid", "--fork"],
    prepare: "mount -t proc proc /proc && echo 2 >/proc/sys/vm/memfd_noexec && mount -t tmpfs none /dev",
};

/// A world with something missing.
struct Wrapper {
    /// What runs a shell there.
    command: &'static [&'static str],
    /// What the shell does first.
    prepare: &'static str,
}

impl Wrapper {
    /// Runs a copy, or says that this user cannot go there.
    fn copy(&self, dir: &Path, options: &str) -> Option<Run> {
        let script = format!("unset {VARIABLE}; {options} if=disk.raw of=out");
        let run = elsewhere::<&str>(dir, self.command, self.prepare, &script, &[]);
        run.map(|run| run.expect("it ran before"))
    }
}

/// A copy of instar, and an input, that any user can reach.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::copy(env!("CARGO_BIN_EXE_instar"), dir.path().join("instar")).expect("a copy");
    fs::write(dir.path().join("disk.raw"), [1; 512]).expect("an input");
    dir
}

/// Runs `command` where something is missing, and asserts that it fails with a message that has all `words`.
#[track_caller]
fn fails(wrapper: &Wrapper, command: &str, words: &[&str]) {
    let dir = stage();
    let Some(run) = wrapper.copy(dir.path(), command) else { return };
    assert_eq!(run.exit, Exit::Code(1), "{command}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is not in: {}", run.stderr);
    }
    assert!(!dir.path().join("out").exists(), "an output was made");
}

/// Runs `command` where something is missing, and asserts that it copies, and says just `said`.
#[track_caller]
fn copies(wrapper: &Wrapper, command: &str, said: &str) {
    let dir = stage();
    let Some(run) = wrapper.copy(dir.path(), command) else { return };
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), said), "{command}");
    assert_eq!(fs::read(dir.path().join("out")).expect("an output"), [1; 512]);
}

#[test]
fn without_the_device_a_process_does_it_and_says_so() {
    let said =
        "instar: this machine offers no KVM: /dev/kvm does not exist; images are read in a process instead\n";
    copies(&WITHOUT_DEVICE, "./instar dd", said);
    copies(&WITHOUT_DEVICE, "./instar dd --sandbox=auto", said);
    copies(&WITHOUT_DEVICE, "INSTAR_SANDBOX=auto ./instar dd", said);
}

#[test]
fn who_wants_a_process_is_told_nothing() {
    copies(&WITHOUT_DEVICE, "./instar dd --sandbox process", "");
    copies(&WITHOUT_DEVICE, "./instar --sandbox process dd", "");
    copies(&WITHOUT_DEVICE, "INSTAR_SANDBOX=process ./instar dd", "");
    copies(&WITHOUT_DEVICE, "INSTAR_SANDBOX=process ./instar dd --sandbox auto", "");
}

#[test]
fn a_process_does_without_namespaces() {
    copies(&WITHOUT_NAMESPACES, "./instar dd --sandbox process", "");
}

#[test]
fn who_wants_a_machine_gets_nothing_less() {
    let words = ["/dev/kvm does not exist", "hint:", "modprobe", "--device /dev/kvm"];
    fails(&WITHOUT_DEVICE, "./instar dd --sandbox kvm", &words);
    fails(&WITHOUT_DEVICE, "INSTAR_SANDBOX=kvm ./instar dd", &words);
    fails(&WITHOUT_DEVICE, "INSTAR_SANDBOX=kvm ./instar dd --sandbox process", &words);
    fails(&WITHOUT_DEVICE, "INSTAR_SANDBOX=process ./instar dd --sandbox kvm", &words);
}

#[test]
fn without_permission() {
    if fs::metadata("/dev/kvm").is_ok_and(|kvm| kvm.permissions().mode() & 0o006 != 0) {
        // Everybody may use it here; a machine of its own has one that nobody may.
        let _ = writeln!(std::io::stderr(), "SKIPPED: every user may use /dev/kvm here");
        return;
    }
    fails(&WITHOUT_PERMISSION, "./instar dd --sandbox kvm", &["not permitted", "hint:", "usermod -aG kvm"]);
    copies(
        &WITHOUT_PERMISSION,
        "./instar dd",
        "instar: this user may not use KVM: opening /dev/kvm is not permitted; images are read in a process instead\n",
    );
}

/// A guest that waits for nothing for many milliseconds: it makes 4 million entries of tables at once.
#[test]
fn a_process_may_have_a_real_time_priority() {
    let dir = stage();
    Disk::hole(16 << 30).write(&dir.path().join("hole.raw")).expect("an input");
    let script =
        "./instar convert --sandbox process -O qcow2 -o cluster_size=4k,preallocation=metadata hole.raw out";
    let run = elsewhere::<&str>(dir.path(), &["chrt", "--rr", "1"], "true", script, &[]);
    let Some(run) = run else { return };
    let run = run.expect("it ran before");
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
}

#[test]
fn without_either_nothing_is_read() {
    let words =
        ["/dev/kvm does not exist", "a process for the guest cannot be made", "hint:", "vm.memfd_noexec"];
    fails(&WITHOUT_PROCESSES, "./instar dd", &words);
    fails(&WITHOUT_PROCESSES, "./instar dd --sandbox process", &words[1..]);
}

#[test]
fn a_sandbox_that_there_is_not() {
    let words = ["invalid INSTAR_SANDBOX: 'none' is not a sandbox", "auto, kvm and process"];
    fails(&WITHOUT_DEVICE, "INSTAR_SANDBOX=none ./instar dd", &words);
    fails(&WITHOUT_DEVICE, "INSTAR_SANDBOX= ./instar dd", &["invalid INSTAR_SANDBOX: ''"]);
}
