//! Images that QEMU has open meanwhile.

use core::time::Duration;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::tool::{Run, Tool};

/// How long QEMU gets to open an image.
const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes that are locked of an image that is written to, the first and the last.
const WRITTEN: [&str; 2] = ["100", "101"];
/// Those of an image that is read.
const READ: [&str; 2] = ["100", "100"];

/// The formats, with what makes "disk".
const IMAGES: &[(&str, &str)] = &[
    ("raw", "head -c 1000 /dev/zero >disk"),
    ("qcow2", "qemu-img create -q -f qcow2 disk 70144"),
    ("vmdk", "qemu-img create -q -f vmdk disk 70144"),
    ("vpc", "qemu-img create -q -f vpc disk 70144"),
    ("vhdx", "qemu-img create -q -f vhdx disk 70144"),
];

/// A directory, and a QEMU that has "disk" in it open.
struct Holder {
    dir: TempDir,
    process: Child,
}

impl Holder {
    /// One that is given these arguments, and has "disk" and all that is behind it open once there is a lock on these bytes
    /// of `file`.
    fn new(script: &str, args: &[&str], file: &str, bytes: [&str; 2]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Qemu::script(dir.path(), script, &[]).expect("an image");
        let mut command = Command::new("qemu-io");
        command.args(args).args(["-c", "sleep 60000", "disk"]).current_dir(dir.path());
        let process = command.stdout(Stdio::null()).spawn().expect("qemu-io starts");
        let holder = Self { dir, process };
        let began = Instant::now();
        while !is_locked(&holder.dir.path().join(file), bytes) {
            assert!(began.elapsed() < PATIENCE, "qemu-io does not lock the image");
            thread::sleep(Duration::from_millis(5));
        }
        holder
    }

    fn dd(&self, args: &[&str]) -> Run {
        Tool::named(env!("CARGO_BIN_EXE_instar")).dd(self.dir.path(), args).expect("instar starts")
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(file)).expect("it is there")
    }

    #[track_caller]
    fn copies(&self, args: &[&str]) {
        let run = self.dd(args);
        assert_eq!((run.exit, &*run.stderr), (Exit::Code(0), ""), "{args:?}");
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], message: &str) {
        let before = self.read("disk");
        let run = self.dd(args);
        assert_eq!((run.exit, &*run.stderr), (Exit::Code(1), message), "{args:?}");
        assert!(self.read("disk") == before, "{args:?}");
        assert!(!self.dir.path().join("out").exists(), "{args:?}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether there is a lock from the first to the last of these bytes of `path`.
fn is_locked(path: &Path, bytes: [&str; 2]) -> bool {
    let file = format!(":{}", fs::metadata(path).expect("the image is there").ino());
    let locks = fs::read_to_string("/proc/locks").expect("the system tells its locks");
    locks.lines().any(|line| {
        let mut fields = line.split_whitespace().rev();
        let (last, first, of) = (fields.next(), fields.next(), fields.next());
        [first, last] == bytes.map(Some) && of.is_some_and(|of| of.ends_with(&file))
    })
}

const INPUT_WRITTEN: &str = "instar: opening 'disk': another process is writing to it
  hint: -U reads it all the same; what is copied may then be of different moments
";

const OUTPUT_IN_USE: &str = "instar: creating 'disk': another process is using it
  hint: wait for the other process, or end it
";

#[test]
fn an_image_that_is_written() {
    if Qemu::require().is_none() {
        return;
    }
    for (format, script) in IMAGES {
        let qemu = Holder::new(script, &["-f", format], "disk", WRITTEN);
        qemu.refuses(&["-f", format, "if=disk", "of=out"], INPUT_WRITTEN);
        fs::write(qemu.dir.path().join("in"), [8; 512]).expect("a file");
        for output_format in ["raw", format] {
            let args = ["-U", "-O", output_format, "if=in", "of=disk"];
            qemu.refuses(&args, OUTPUT_IN_USE);
            qemu.refuses(&args[1..], OUTPUT_IN_USE);
        }
        qemu.copies(&["-U", "-f", format, "if=disk", "of=out"]);
        fs::remove_file(qemu.dir.path().join("out")).expect("it was made");
        let described = |share| format!("if=driver={format},file.filename=disk,force-share={share}");
        qemu.refuses(&["--image-opts", &described("off"), "of=out"], INPUT_WRITTEN);
        qemu.copies(&["--image-opts", &described("on"), "of=out"]);
    }
}

#[test]
fn an_image_that_is_read() {
    if Qemu::require().is_none() {
        return;
    }
    for (format, script) in IMAGES {
        let qemu = Holder::new(script, &["-r", "-f", format], "disk", READ);
        fs::write(qemu.dir.path().join("in"), [8; 512]).expect("a file");
        qemu.refuses(&["-O", format, "if=in", "of=disk"], OUTPUT_IN_USE);
        qemu.copies(&["-f", format, "if=disk", "of=out"]);
    }
}

/// QEMU writes to an image, and reads the one behind it.
const CHAIN: &str =
    "qemu-img create -q -f qcow2 base 70144; qemu-img create -q -f qcow2 -b base -F qcow2 disk
    qemu-img create -q -f qcow2 -b base -F qcow2 other; qemu-img create -q -f qcow2 -b disk -F qcow2 child";

#[test]
fn an_image_that_others_stand_on() {
    if Qemu::require().is_none() {
        return;
    }
    let qemu = Holder::new(CHAIN, &["-f", "qcow2"], "base", READ);
    qemu.refuses(&["if=disk", "of=out"], INPUT_WRITTEN);
    qemu.copies(&["if=base", "of=out"]);
    qemu.copies(&["if=other", "of=out"]);
    fs::remove_file(qemu.dir.path().join("out")).expect("it was made");
    let message = OUTPUT_IN_USE.replace("disk", "base");
    fs::write(qemu.dir.path().join("in"), [8; 512]).expect("a file");
    qemu.refuses(&["if=in", "of=base"], &message);

    // The file that an image names is locked like an input.
    let message = "instar: 'child' names 'disk': another process is writing to it
  hint: -U reads it all the same; what is copied may then be of different moments
";
    qemu.refuses(&["if=child", "of=out"], message);
    qemu.copies(&["-U", "if=child", "of=out"]);
}
