//! What can be opened, what is refused, and that nothing is touched before its time.

mod locks;
mod naming;
mod several;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file(dir: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Says that a test cannot be made here. In CI it must be: a test that nobody makes must not look like one that succeeded.
fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must make this test: {why}");
    // Not `eprintln!`, which the test harness swallows when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn assert_same_file(result: Result<FileId, FileError>) {
    let error = result.unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::SameFile { .. }), "{error}");
}

#[test]
fn lists_files_for_the_boot_page() {
    let dir = dir();
    let mut files = Files::new().max_output(Some(1000));
    files.add_input(&file(&dir, "in.dmg", b"twelve bytes")).unwrap();
    files.add_input(&file(&dir, "in.DMG", b"")).unwrap();
    files.add_output(&dir.path().join("out.raw")).unwrap();
    let entries: Vec<_> = files.boot_entries().collect();
    assert_eq!(
        entries,
        [
            FileEntry { role: ROLE_INPUT, hints: NAMED_DMG, len: 12 },
            FileEntry { role: ROLE_INPUT, hints: 0, len: 0 },
            FileEntry { role: ROLE_OUTPUT, hints: 0, len: 1000 },
        ]
    );
}

#[test]
fn no_output_becomes_longer_than_the_user_wants() {
    let dir = dir();
    let path = file(&dir, "out.raw", b"what was there");
    let mut files = Files::new().max_output(Some(100));
    let output = files.add_output(&path).unwrap();
    let error = files.size_output(output, 101).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::TooLarge { len: 101, allowed: 100 }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    files.size_output(output, 100).unwrap();
    let error = files.size_output(output, 101).unwrap_err();
    assert!(error.to_string().starts_with("resizing "), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 100);
}

#[test]
fn a_character_device_is_an_empty_input() {
    let mut files = Files::new();
    let zero = files.add_input(Path::new("/dev/zero")).unwrap();
    assert_eq!(files.kind(zero), Some(FileKind::CharacterDevice));
    assert_eq!(files.input(zero).len(), 0);
}

#[test]
fn a_missing_input_is_named() {
    let error = Files::new().add_input(Path::new("/nowhere/in.raw")).unwrap_err();
    assert_eq!(error.to_string(), "opening '/nowhere/in.raw': No such file or directory");
}

#[test]
fn directories_fifos_and_sockets_are_refused_both_ways() {
    let dir = dir();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();

    let mut files = Files::new();
    for (path, what) in [(dir.path(), "a directory"), (&fifo, "a FIFO"), (&socket, "a socket")] {
        let name = path.display();
        let error = files.add_input(path).unwrap_err();
        assert_eq!(error.to_string(), format!("opening '{name}': it is {what}"));
        let error = files.add_output(path).unwrap_err();
        assert_eq!(error.to_string(), format!("creating '{name}': it is {what}"));
    }
}

#[test]
fn an_output_needs_a_name_and_a_directory() {
    let dir = dir();
    let mut files = Files::new();
    let error = files.add_output(Path::new("")).unwrap_err();
    assert_eq!(error.to_string(), "creating '': the name is empty");

    let path = dir.path().join("missing/out.raw");
    let error = files.add_output(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("creating '{}': No such file or directory", path.display()));

    let path = file(&dir, "file", b"").join("out.raw");
    let error = files.add_output(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("creating '{}': Not a directory", path.display()));
}

#[test]
fn an_output_may_have_no_directory_in_its_name() {
    Files::new().add_output(Path::new("surely-nobody-has-a-file-of-this-name")).unwrap();
}

#[test]
fn an_output_that_is_an_input_is_refused_by_any_name() {
    let dir = dir();
    let input = file(&dir, "in.raw", b"precious");
    let link = dir.path().join("link");
    symlink(&input, &link).unwrap();
    let hard = dir.path().join("hard");
    fs::hard_link(&input, &hard).unwrap();
    let detour = dir.path().join(".").join("in.raw");

    let mut files = Files::new();
    files.add_input(&input).unwrap();
    for output in [&input, &link, &hard, &detour] {
        assert_same_file(files.add_output(output));
    }
    assert_eq!(fs::read(&input).unwrap(), b"precious");
}

#[test]
fn an_input_that_is_an_output_is_refused() {
    let dir = dir();
    let image = file(&dir, "image.raw", b"precious");
    let mut files = Files::new();
    files.add_output(&image).unwrap();
    assert_same_file(files.add_input(&image));
}

#[test]
fn a_file_may_be_read_twice() {
    let dir = dir();
    let image = file(&dir, "image.raw", b"content");
    let mut files = Files::new();
    assert_eq!(files.add_input(&image).unwrap(), FileId(0));
    assert_eq!(files.add_input(&image).unwrap(), FileId(1));
}

#[test]
fn outputs_that_are_the_same_file_are_refused() {
    let dir = dir();
    let out = file(&dir, "out.raw", b"");
    let link = dir.path().join("link");
    symlink(&out, &link).unwrap();

    let mut files = Files::new();
    files.add_output(&out).unwrap();
    assert_same_file(files.add_output(&link));
}

#[test]
fn outputs_that_become_the_same_file_are_refused() {
    let dir = dir();
    let mut files = Files::new();
    let path = dir.path().join("out.raw");
    let one = files.add_output(&path).unwrap();
    let other = files.add_output(&dir.path().join(".").join("out.raw")).unwrap();
    files.size_output(one, 10).unwrap();
    assert!(!path.exists());
    assert_same_file(files.size_output(other, 20).map(|()| other));
    // There was nothing before, and now there is something.
    assert_eq!(files.outputs_touched().collect::<Vec<_>>(), [&path]);
}

#[test]
fn finding_an_output_touches_nothing() {
    let dir = dir();
    let old = file(&dir, "old.raw", b"old content");
    let new = dir.path().join("new.raw");
    let mut files = Files::new();
    files.add_output(&old).unwrap();
    files.add_output(&new).unwrap();
    assert_eq!(fs::read(&old).unwrap(), b"old content");
    assert!(!new.exists());
    assert_eq!(files.outputs_touched().count(), 0);
}

#[test]
fn a_made_output_is_empty_and_as_long_as_asked() {
    let dir = dir();
    let old = file(&dir, "old.raw", b"old content");
    let new = dir.path().join("new.raw");
    let mut files = Files::new();
    for path in [&old, &new] {
        let id = files.add_output(path).unwrap();
        files.size_output(id, 5).unwrap();
        assert_eq!(fs::read(path).unwrap(), [0; 5]);
    }
    assert_eq!(files.outputs_touched().collect::<Vec<_>>(), [&old, &new]);
}

#[test]
fn an_output_keeps_its_content_when_it_is_sized_again() {
    let dir = dir();
    let path = file(&dir, "out.raw", b"old content");
    let mut files = Files::new();
    let id = files.add_output(&path).unwrap();
    files.size_output(id, 3).unwrap();
    files.output(id).write_all_at(b"new", 0).unwrap();
    files.size_output(id, 5).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new\0\0");
    files.size_output(id, 2).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ne");
}

#[test]
fn the_target_of_a_dangling_link_is_created() {
    let dir = dir();
    let target = dir.path().join("target");
    let link = dir.path().join("link");
    symlink(&target, &link).unwrap();
    let mut files = Files::new();
    let id = files.add_output(&link).unwrap();
    files.size_output(id, 3).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), 3);
    assert!(link.is_symlink());
}

#[test]
fn an_output_that_has_become_the_input_is_not_emptied() {
    let dir = dir();
    let input = file(&dir, "in.raw", b"precious");
    let out = dir.path().join("out.raw");
    let mut files = Files::new();
    files.add_input(&input).unwrap();
    let id = files.add_output(&out).unwrap();
    fs::hard_link(&input, &out).unwrap();
    assert_same_file(files.size_output(id, 0).map(|()| id));
    assert_eq!(fs::read(&input).unwrap(), b"precious");
    assert_eq!(files.outputs_touched().count(), 0);
}

#[test]
fn an_output_that_has_become_a_fifo_is_refused_at_once() {
    let dir = dir();
    let out = dir.path().join("out.raw");
    let mut files = Files::new();
    let id = files.add_output(&out).unwrap();
    mkfifo(&out, Mode::S_IRWXU).unwrap();
    files.size_output(id, 0).unwrap_err();
    let _reader = File::options().read(true).write(true).open(&out).unwrap();
    let error = files.size_output(id, 0).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::Unusable(FileKind::Fifo)), "{error}");
}

#[test]
fn a_device_does_not_grow() {
    let mut files = Files::new();
    let null = files.add_output(Path::new("/dev/null")).unwrap();
    let error = files.size_output(null, 1).unwrap_err();
    assert_eq!(error.to_string(), "resizing '/dev/null': cannot grow a device of 0 bytes to 1");
    assert_eq!(files.outputs_touched().count(), 0);

    files.size_output(null, 0).unwrap();
    let error = files.size_output(null, 1).unwrap_err();
    assert_eq!(error.to_string(), "resizing '/dev/null': cannot grow a device of 0 bytes to 1");
}

#[test]
fn a_character_device_has_nothing_to_sync() {
    let mut files = Files::new();
    let null = files.add_output(Path::new("/dev/null")).unwrap();
    files.size_output(null, 0).unwrap();
    files.output(null).sync().unwrap();
}

#[test]
fn a_full_disk_is_told_with_file_and_byte() {
    let mut files = Files::new();
    let full = files.add_output(Path::new("/dev/full")).unwrap();
    files.size_output(full, 0).unwrap();
    let error = files.output(full).write_all_at(b"bytes", 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "writing '/dev/full' at byte 1048576: No space left on device");
}

/// Pages of a file in memory are counted, not looked at: one that is missing shows, and one that holds zeros is there.
#[test]
fn a_file_in_memory_has_holes_if_it_has_fewer_pages_than_it_needs() {
    let len = 3 * 4096 + 1;
    let spans = |written: &[u64]| {
        let memory = File::from(memfd_create(c"in", MFdFlags::MFD_CLOEXEC).unwrap());
        memory.set_len(len).unwrap();
        written.iter().for_each(|page| memory.write_all_at(&[0], page * 4096).unwrap());
        let mut files = Files::new();
        let id = files.add_input(format!("/proc/self/fd/{}", memory.as_raw_fd()).as_ref()).unwrap();
        let mut spans = Vec::new();
        while let Some(start) = Some(spans.last().map_or(0, |(_, end)| *end)).filter(|start| *start < len) {
            spans.push(files.input(id).span(start).map(|span| (span.is_hole, span.end)).unwrap());
        }
        spans
    };
    assert_eq!(spans(&[0, 1, 2, 3]), [(false, len)]);
    assert_eq!(spans(&[0, 2, 3]), [(false, 4096), (true, 8192), (false, len)]);
    assert_eq!(spans(&[0, 1, 2]), [(false, 3 * 4096), (true, len)]);
}

#[test]
fn holes_are_found_and_the_end_is_one() {
    let dir = dir();
    let path = dir.path().join("in.raw");
    let mib = 1 << 20;
    let sparse = File::create(&path).unwrap();
    sparse.set_len(3 * mib).unwrap();
    sparse.write_all_at(&vec![1; 1 << 20], mib).unwrap();
    assert!(sparse.metadata().unwrap().blocks() * 512 < 2 * mib, "this test needs a file system with holes");

    let mut files = Files::new();
    let id = files.add_input(&path).unwrap();
    let span = |start| files.input(id).span(start).map(|span| (span.is_hole, span.end)).unwrap();
    assert_eq!(span(0), (true, mib));
    assert_eq!(span(10), (true, mib));
    assert_eq!(span(mib), (false, 2 * mib));
    assert_eq!(span(mib + 10), (false, 2 * mib));
    assert_eq!(span(2 * mib), (true, 3 * mib));
}

#[test]
fn a_file_that_became_shorter_is_told() {
    let dir = dir();
    let path = file(&dir, "in.raw", &[7; 1000]);
    // With a hole: where there is none, nobody looks for one.
    File::options().write(true).open(&path).unwrap().set_len(9000).unwrap();
    let mut files = Files::new();
    let id = files.add_input(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(600).unwrap();

    let expected = format!(
        "reading '{}' at byte 600: it ends at byte 600, it was 9000 bytes long when it was opened",
        path.display()
    );
    let error = files.input(id).read_exact_at(&mut [0; 1000], 0).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = files.input(id).span(700).unwrap_err();
    assert_eq!(error.to_string(), expected);
}
