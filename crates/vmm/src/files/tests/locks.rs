//! What is locked, against whom; and that QEMU sees it as we do.

use core::time::Duration;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::*;

/// How long QEMU gets to open an image.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a file in it, which is not an image of any format.
fn scene() -> (TempDir, PathBuf) {
    let dir = dir();
    let path = file(&dir, "image", b"content");
    (dir, path)
}

fn input(path: &Path) -> Result<Files, FileError> {
    let mut files = Files::new();
    files.add_input(path).map(|_| files)
}

fn shared_input(path: &Path) -> Result<Files, FileError> {
    let mut files = Files::new().force_share(true);
    files.add_input(path).map(|_| files)
}

fn output(path: &Path) -> Result<Files, FileError> {
    let mut files = Files::new();
    let id = files.add_output(path)?;
    files.size_output(id, 0).map(|()| files)
}

#[track_caller]
fn assert_conflict(result: Result<Files, FileError>, expected: Conflict) {
    match result.map_err(|error| error.kind) {
        Err(FileErrorKind::Locked(conflict)) => assert_eq!(conflict, expected),
        other => panic!("{other:?}"),
    }
}

/// A stranger's lock of this kind on the bytes from `start` on.
fn lock(path: &Path, kind: libc::c_int, start: libc::off_t, len: libc::off_t) -> File {
    let file = File::options().read(true).write(true).open(path).unwrap();
    fcntl(&file, FcntlArg::F_OFD_SETLK(&flock(kind, start, len))).unwrap();
    file
}

fn flock(kind: libc::c_int, start: libc::off_t, len: libc::off_t) -> libc::flock {
    let (kind, whence) = (kind.try_into().unwrap(), libc::SEEK_SET.try_into().unwrap());
    libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: len, l_pid: 0 }
}

/// The locked bytes of `path`, as anybody else sees them.
fn locked_bytes(path: &Path) -> Vec<libc::off_t> {
    let file = File::open(path).unwrap();
    let is_locked = |&start: &libc::off_t| {
        let mut probe = flock(libc::F_WRLCK, start, 1);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut probe)).unwrap();
        libc::c_int::from(probe.l_type) != libc::F_UNLCK
    };
    (0..300).filter(is_locked).collect()
}

#[test]
fn the_bytes_are_those_of_qemu() {
    let (_dir, path) = scene();
    let files = input(&path).unwrap();
    assert_eq!(locked_bytes(&path), [100, 201, 203]);
    drop(files);
    let files = shared_input(&path).unwrap();
    assert_eq!(locked_bytes(&path), [100]);
    drop(files);
    let files = output(&path).unwrap();
    assert_eq!(locked_bytes(&path), [101, 103, 201, 203]);
    drop(files);
    assert_eq!(locked_bytes(&path), []);
}

#[test]
fn an_image_may_be_read_by_many() {
    let (_dir, path) = scene();
    let mut one = input(&path).unwrap();
    one.add_input(&path).unwrap();
    let _other = input(&path).unwrap();
    let _third = shared_input(&path).unwrap();
}

#[test]
fn an_image_that_is_read_is_no_output() {
    for reader in [input, shared_input] {
        let (_dir, path) = scene();
        let _reader = reader(&path).unwrap();
        assert_conflict(output(&path), Conflict::User);
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }
}

#[test]
fn an_image_that_is_written_is_no_input_and_no_output() {
    let (_dir, path) = scene();
    let writer = output(&path).unwrap();
    assert_conflict(input(&path), Conflict::Writer);
    assert_conflict(output(&path), Conflict::User);
    shared_input(&path).unwrap();
    drop(writer);
    input(&path).unwrap();
}

#[test]
fn an_output_that_is_used_is_not_touched() {
    let (_dir, path) = scene();
    let _reader = input(&path).unwrap();
    let mut files = Files::new();
    let id = files.add_output(&path).unwrap();
    let error = files.size_output(id, 0).unwrap_err();
    assert_eq!(error.to_string(), format!("creating '{}': another process is using it", path.display()));
    assert_eq!(files.outputs_touched().count(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

#[test]
fn what_others_do_and_do_not_share() {
    type Open = fn(&Path) -> Result<Files, FileError>;
    let cases: [(libc::off_t, Open, Option<Conflict>); 18] = [
        (100, input, None),
        (101, input, Some(Conflict::Writer)),
        (103, input, Some(Conflict::Writer)),
        (200, input, Some(Conflict::NoReaders)),
        (201, input, None),
        (203, input, None),
        (100, shared_input, None),
        (101, shared_input, None),
        (103, shared_input, None),
        (200, shared_input, Some(Conflict::NoReaders)),
        (201, shared_input, None),
        (203, shared_input, None),
        (100, output, Some(Conflict::User)),
        (101, output, Some(Conflict::User)),
        (103, output, Some(Conflict::User)),
        (200, output, None),
        (201, output, Some(Conflict::User)),
        (203, output, Some(Conflict::User)),
    ];
    for (byte, open, conflict) in cases {
        let (_dir, path) = scene();
        let _stranger = lock(&path, libc::F_RDLCK, byte, 1);
        let found = open(&path).err().map(|error| match error.kind {
            FileErrorKind::Locked(conflict) => conflict,
            kind => panic!("{kind}"),
        });
        assert_eq!(found, conflict, "byte {byte}");
    }
}

#[test]
fn a_whole_file_that_somebody_has_locked() {
    let (_dir, path) = scene();
    let _stranger = lock(&path, libc::F_WRLCK, 0, 0);
    assert_conflict(input(&path), Conflict::Writer);
    assert_conflict(output(&path), Conflict::User);
}

#[test]
fn what_has_no_content_is_not_locked() {
    let null = Path::new("/dev/null");
    let _one = output(null).unwrap();
    let _other = output(null).unwrap();
    let _reader = input(null).unwrap();
}

#[test]
fn named_files_are_locked_like_inputs() {
    let (dir, path) = scene();
    let base = file(&dir, "base", b"");
    let mut files = input(&path).unwrap();
    files.open_named(FileId(0), b"base").unwrap();
    assert_eq!(locked_bytes(&base), [100, 201, 203]);
    drop(files);

    let _writer = output(&base).unwrap();
    let error = input(&path).unwrap().open_named(FileId(0), b"base").unwrap_err();
    let is_conflict = matches!(error.kind, NameErrorKind::File(FileErrorKind::Locked(Conflict::Writer)));
    assert!(is_conflict, "{error}");
    shared_input(&path).unwrap().open_named(FileId(0), b"base").unwrap();
}

/// A QEMU that has an image open.
struct Qemu(Child);

impl Qemu {
    /// One that has opened `path` with these arguments, and then holds locks on these bytes.
    fn hold(path: &Path, args: &[&str], bytes: &[libc::off_t]) -> Self {
        let mut command = Command::new("qemu-io");
        command.args(args).args(["-c", "sleep 60000"]).arg(path);
        let mut qemu = Self(command.stdout(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        while locked_bytes(path) != bytes {
            assert!(qemu.0.try_wait().unwrap().is_none(), "qemu-io has ended");
            assert!(began.elapsed() < PATIENCE, "qemu-io holds {:?}", locked_bytes(path));
            thread::sleep(Duration::from_millis(5));
        }
        qemu
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whether QEMU is there: it must be where `CI` is set. Without it, the test says that it was skipped.
fn has_qemu() -> bool {
    let found = Command::new("qemu-io").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skipped("there is no qemu-io, so locks were not tried with it");
    }
    found
}

fn qcow2(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("image.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).arg(&path).arg("1M");
    assert!(command.status().unwrap().success());
    path
}

/// What QEMU says when it opens `path` with these arguments; nothing if it does.
fn complaint(path: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("qemu-io").args(args).args(["-c", "quit"]).arg(path).output().unwrap();
    let complaint = || String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(complaint)
}

#[test]
fn what_qemu_writes_is_neither_read_nor_written() {
    if !has_qemu() {
        return;
    }
    let (dir, raw) = scene();
    let cases = [("raw", raw, &[100, 101][..]), ("qcow2", qcow2(&dir), &[100, 101, 103, 201, 203])];
    for (format, path, bytes) in cases {
        let content = fs::read(&path).unwrap();
        let qemu = Qemu::hold(&path, &["-f", format], bytes);
        assert_conflict(input(&path), Conflict::Writer);
        assert_conflict(output(&path), Conflict::User);
        assert!(fs::read(&path).unwrap() == content);
        shared_input(&path).unwrap();
        drop(qemu);
        input(&path).unwrap();
    }
}

#[test]
fn what_qemu_reads_is_read_and_not_written() {
    if !has_qemu() {
        return;
    }
    let (dir, raw) = scene();
    for (format, path, bytes) in [("raw", raw, &[100][..]), ("qcow2", qcow2(&dir), &[100, 201, 203])] {
        for (args, bytes) in [(&["-r", "-f", format][..], bytes), (&["-r", "-U", "-f", format], &[100])] {
            let _qemu = Qemu::hold(&path, args, bytes);
            input(&path).unwrap();
            assert_conflict(output(&path), Conflict::User);
        }
    }
}

#[test]
fn qemu_reads_and_does_not_write_what_we_read() {
    if !has_qemu() {
        return;
    }
    let (dir, raw) = scene();
    for (format, path) in [("raw", raw), ("qcow2", qcow2(&dir))] {
        let files = input(&path).unwrap();
        assert_eq!(complaint(&path, &["-r", "-f", format]), None);
        let told = complaint(&path, &["-f", format]).expect("QEMU would write what we read");
        assert!(told.contains("Failed to get \"write\" lock"), "{told}");
        drop(files);
    }
}

#[test]
fn qemu_does_not_write_what_we_write() {
    if !has_qemu() {
        return;
    }
    let (dir, raw) = scene();
    for (format, path) in [("raw", raw), ("qcow2", qcow2(&dir))] {
        let content = fs::read(&path).unwrap();
        let mut files = Files::new();
        let id = files.add_output(&path).unwrap();
        files.size_output(id, content.len() as u64).unwrap();
        files.output(id).write_all_at(&content, 0).unwrap();
        let told = complaint(&path, &["-f", format]).expect("QEMU would write what we write");
        assert!(told.contains("Failed to get \"write\" lock"), "{told}");
        assert_eq!(complaint(&path, &["-r", "-U", "-f", format]), None);
        // Of raw images, QEMU reads what others write.
        let told = complaint(&path, &["-r", "-f", format]).unwrap_or_default();
        assert_eq!(told.contains("Failed to get shared \"write\" lock"), format == "qcow2", "{told}");
    }
}

#[test]
fn what_is_shared_by_force_may_be_written_by_qemu() {
    if !has_qemu() {
        return;
    }
    let dir = dir();
    let path = qcow2(&dir);
    let _files = shared_input(&path).unwrap();
    assert_eq!(complaint(&path, &["-f", "qcow2"]), None);
}
