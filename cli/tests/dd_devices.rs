//! Block devices, in and out. They are loop devices, which need root: the tests say that they were skipped without.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::outcome::Exit;
use testkit::tool::{Run, Tool, require_tool};

/// A file behind a loop device.
struct Device {
    _dir: TempDir,
    path: PathBuf,
}

impl Device {
    /// A device that holds `bytes`, or `None` where there can be none.
    fn new(bytes: &[u8]) -> Option<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let file = dir.path().join("backing");
        fs::write(&file, bytes).expect("a file");
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to make loop devices");
            let _ = writeln!(std::io::stderr(), "SKIPPED: loop devices cannot be made here");
            return None;
        };
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Some(Self { _dir: dir, path })
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the device can be read")
    }

    fn operand(&self, name: &str) -> String {
        format!("{name}={}", self.path.display())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
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
        &[&device.operand("if"), "of=out", "bs=1k", "skip=3"],
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
        let run = dd(&tool, dir.path(), &["-f", "raw", "if=disk.raw", &device.operand("of")]);
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
        dd(&Tool::named(env!("CARGO_BIN_EXE_instar")), dir.path(), &["if=disk.raw", &device.operand("of")]);
    assert_eq!(run.exit, Exit::Code(1));
    assert!(run.stderr.contains("cannot grow a device of 4096 bytes to 5120"), "{}", run.stderr);
    assert!(device.bytes().iter().all(|&byte| byte == 0xee));
}

#[test]
fn a_device_is_not_copied_onto_itself_by_another_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(device) = Device::new(&pattern(4096)) else { return };
    let number = device.path.to_string_lossy().trim_start_matches("/dev/loop").to_owned();
    let node = dir.path().join("node");
    let made = Command::new("mknod").arg(&node).args(["b", "7", &number]).status().expect("mknod starts");
    assert!(made.success());
    let run = dd(&Tool::named(env!("CARGO_BIN_EXE_instar")), dir.path(), &[&device.operand("if"), "of=node"]);
    assert_eq!(run.exit, Exit::Code(1));
    assert!(run.stderr.contains("the same file"), "{}", run.stderr);
    assert!(device.bytes() == pattern(4096));
}
