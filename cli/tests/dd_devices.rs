//! Block devices, in and out. They are loop devices, which need root: the tests say that they were skipped without.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use testkit::device::Device;
use testkit::outcome::Exit;
use testkit::tool::{Run, Tool, require_tool, with_own_mounts};

/// The operand `name` that says the device.
fn operand(name: &str, device: &Device) -> String {
    format!("{name}={}", device.path().display())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("less than 251")).collect()
}

fn dd(tool: &Tool, dir: &Path, args: &[&str]) -> Run {
    tool.dd(dir, args).expect("the tool starts")
}

#[test]
fn a_device_is_read_like_a_file() {
    let (dir, disk) = (tempfile::tempdir().expect("a directory"), pattern(100 * 512));
    let Some(device) = Device::new(&disk) else { return };
    let run = dd(
        &Tool::named(env!("CARGO_BIN_EXE_instar")),
        dir.path(),
        &[&operand("if", &device), "of=out", "bs=1k", "skip=3"],
    );
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
    assert!(fs::read(dir.path().join("out")).expect("the output") == disk[3072..]);
}

/// As `qemu-img` does it: the device's other bytes stay.
#[test]
fn a_device_is_written_in_place() {
    let (dir, disk) = (tempfile::tempdir().expect("a directory"), pattern(5000));
    fs::write(dir.path().join("disk.raw"), &disk).expect("an input");
    let mut tools = vec![Tool::named(env!("CARGO_BIN_EXE_instar"))];
    tools.extend(require_tool("qemu-img"));
    for tool in tools {
        let Some(device) = Device::new(&[0xee; 16384]) else { return };
        let run = dd(&tool, dir.path(), &["-f", "raw", "if=disk.raw", &operand("of", &device)]);
        assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
        let found = device.bytes();
        assert!(found[..5000] == disk, "the disk");
        assert!(found[5000..5120].iter().all(|&byte| byte == 0), "what fills its last sector");
        assert!(found[5120..].iter().all(|&byte| byte == 0xee), "the rest of the device");
    }
}

#[test]
fn a_device_that_is_too_small_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("disk.raw"), pattern(5000)).expect("an input");
    let Some(device) = Device::new(&[0xee; 4096]) else { return };
    let run =
        dd(&Tool::named(env!("CARGO_BIN_EXE_instar")), dir.path(), &["if=disk.raw", &operand("of", &device)]);
    assert_eq!(run.exit, Exit::Code(1));
    assert!(run.stderr.contains("cannot grow a device of 4096 bytes to 5120"), "{}", run.stderr);
    assert!(device.bytes().iter().all(|&byte| byte == 0xee));
}

/// `qemu-img` does not write to it either.
#[test]
fn a_device_that_nobody_may_write_to_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("disk.raw"), pattern(4096)).expect("an input");
    let Some(device) = Device::read_only(&[0xee; 8192]) else { return };
    let args = ["-f", "raw", "if=disk.raw", &operand("of", &device)];
    if let Some(qemu_img) = require_tool("qemu-img") {
        assert_eq!(dd(&qemu_img, dir.path(), &args).exit, Exit::Code(1));
    }
    let run = dd(&Tool::named(env!("CARGO_BIN_EXE_instar")), dir.path(), &args);
    let said =
        format!("instar: creating '{}': it is a device that cannot be written\n", device.path().display());
    assert_eq!((run.exit, run.stderr), (Exit::Code(1), said));
    assert!(device.bytes().iter().all(|&byte| byte == 0xee));
}

#[test]
fn a_device_is_not_copied_onto_itself_by_another_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(device) = Device::new(&pattern(4096)) else { return };
    let number = device.path().to_string_lossy().trim_start_matches("/dev/loop").to_owned();
    let node = dir.path().join("node");
    let made = Command::new("mknod").arg(&node).args(["b", "7", &number]).status().expect("mknod starts");
    assert!(made.success());
    let run =
        dd(&Tool::named(env!("CARGO_BIN_EXE_instar")), dir.path(), &[&operand("if", &device), "of=node"]);
    assert_eq!(run.exit, Exit::Code(1));
    assert!(run.stderr.contains("the same file"), "{}", run.stderr);
    assert!(device.bytes() == pattern(4096));
}

/// A device whose medium has gone bad, as far as a loop device can have one: what is behind the end of its file cannot be
/// read.
#[test]
fn a_device_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(device) = Device::new(&pattern(8 << 20)) else { return };
    let backing = File::options().write(true).open(device.backing()).expect("a file");
    backing.set_len(4 << 20).expect("it can be shortened");
    let flushed = Command::new("blockdev").arg("--flushbufs").arg(device.path()).status();
    assert!(flushed.expect("blockdev starts").success());
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let run = dd(&instar, dir.path(), &[&operand("if", &device), "of=out"]);
    assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
    let said = format!("instar: reading '{}' at byte ", device.path().display());
    for words in [said.as_str(), "I/O error", "'out' is incomplete"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

/// The system takes the bytes, and finds out later that there is no place for them.
#[test]
fn a_device_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("disk.raw"), pattern(8 << 20)).expect("an input");
    fs::create_dir(dir.path().join("small")).expect("a directory");
    let script = "mount -t tmpfs -o size=2M none small; truncate -s 8M small/backing
        device=$(losetup --find --show small/backing); trap 'losetup --detach $device' EXIT
        \"$1\" dd if=disk.raw of=$device";
    let Some(run) = with_own_mounts(dir.path(), script, &[env!("CARGO_BIN_EXE_instar")]) else { return };
    let run = run.expect("a shell");
    assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
    for words in ["instar: syncing '/dev/loop", "I/O error", "is incomplete"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}
