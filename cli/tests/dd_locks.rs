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
use testkit::tool::{Run, Tool, require_tool};

/// How long QEMU gets to open an image.
const PATIENCE: Duration = Duration::from_secs(20);

/// A QEMU that has `disk.raw` open.
struct Qemu {
    dir: TempDir,
    process: Child,
}

impl Qemu {
    /// One that is given these arguments, and then holds a lock on these bytes; `None` where there is none.
    fn hold(args: &[&str], bytes: [&str; 2]) -> Option<Self> {
        require_tool("qemu-io")?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("disk.raw"), [7; 1000]).expect("a file");
        let mut command = Command::new("qemu-io");
        command.args(args).args(["-f", "raw", "-c", "sleep 60000", "disk.raw"]).current_dir(dir.path());
        let process = command.stdout(Stdio::null()).spawn().expect("qemu-io starts");
        let qemu = Self { dir, process };
        let began = Instant::now();
        while !is_locked(&qemu.dir.path().join("disk.raw"), bytes) {
            assert!(began.elapsed() < PATIENCE, "qemu-io does not lock the image");
            thread::sleep(Duration::from_millis(5));
        }
        Some(qemu)
    }

    fn dd(&self, args: &[&str]) -> Run {
        Tool::named(env!("CARGO_BIN_EXE_instar")).dd(self.dir.path(), args).expect("instar starts")
    }

    #[track_caller]
    fn copies(&self, args: &[&str]) {
        let run = self.dd(args);
        assert_eq!((run.exit, &*run.stderr), (Exit::Code(0), ""));
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], message: &str) {
        let run = self.dd(args);
        assert_eq!((run.exit, &*run.stderr), (Exit::Code(1), message));
        let content = fs::read(self.dir.path().join("disk.raw")).expect("it is still there");
        assert_eq!(content, [7; 1000]);
        assert!(!self.dir.path().join("out.raw").exists());
    }
}

impl Drop for Qemu {
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

const OUTPUT_IN_USE: &str = "instar: creating 'disk.raw': another process is using it
  hint: wait for the other process, or end it
";

#[test]
fn an_image_that_is_written() {
    let Some(qemu) = Qemu::hold(&[], ["100", "101"]) else { return };
    let message = "instar: opening 'disk.raw': another process is writing to it
  hint: -U reads it all the same; what is copied may then be of different moments
";
    qemu.refuses(&["if=disk.raw", "of=out.raw"], message);
    fs::write(qemu.dir.path().join("in.raw"), [8; 512]).expect("a file");
    qemu.refuses(&["-U", "if=in.raw", "of=disk.raw"], OUTPUT_IN_USE);
    qemu.copies(&["-U", "if=disk.raw", "of=out.raw"]);
    fs::remove_file(qemu.dir.path().join("out.raw")).expect("it was made");
    let described = |force_share| format!("if=driver=raw,file.filename=disk.raw,force-share={force_share}");
    qemu.refuses(&["--image-opts", &described("off"), "of=out.raw"], message);
    qemu.copies(&["--image-opts", &described("on"), "of=out.raw"]);
}

#[test]
fn an_image_that_is_read() {
    let Some(qemu) = Qemu::hold(&["-r"], ["100", "100"]) else { return };
    fs::write(qemu.dir.path().join("in.raw"), [8; 512]).expect("a file");
    qemu.refuses(&["if=in.raw", "of=disk.raw"], OUTPUT_IN_USE);
    qemu.copies(&["if=disk.raw", "of=out.raw"]);
}
