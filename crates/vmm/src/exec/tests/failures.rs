//! What happens when the outside world does not play along.

use core::sync::atomic::Ordering;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::super::pieces::PIECE_LEN;
use super::*;
use crate::files::{FileErrorKind, FileOperation};

/// A file that cannot be grown or cannot be written, even by root, and the path to it.
fn sealed(seal: SealFlag) -> (File, PathBuf) {
    let file = File::from(memfd_create("sealed", MFdFlags::MFD_ALLOW_SEALING).unwrap());
    fcntl(&file, FcntlArg::F_ADD_SEALS(seal)).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
}

fn shrink(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn an_output_that_cannot_be_sized() {
    let (_file, path) = sealed(SealFlag::F_SEAL_GROW);
    let mut fixture = Fixture::new();
    fixture.files.add_output(&path).unwrap();
    let error = fixture.ring(&[set_len(0, 1)]).unwrap_err();
    assert_eq!(error.to_string(), format!("resizing '{}': Operation not permitted", path.display()));
}

#[test]
fn an_output_that_cannot_be_written() {
    let (_file, path) = sealed(SealFlag::F_SEAL_WRITE);
    let len = 64 * PIECE_LEN;
    for zeros in [1, len] {
        let mut fixture = Fixture::new();
        fixture.files.add_output(&path).unwrap();
        fixture.run(NO_LIMITS, |executor, window| {
            let records = [set_len(0, 2 * len), zero(0, len, zeros)];
            let error = executor.carry_out(&records, &window.slice()).unwrap_err();
            let ExecError::File(error) = error else { panic!("{error}") };
            assert_eq!(error.operation, FileOperation::Write);
            assert!(error.offset.is_some_and(|offset| (len..len + zeros).contains(&offset)), "{error}");
            assert!(error.to_string().ends_with(": Operation not permitted"), "{error}");
            let touched: Vec<_> = executor.files().outputs_touched().collect();
            assert_eq!(touched, [&path]);
        });
    }
}

#[test]
fn a_failure_stops_the_others() {
    let (_file, path) = sealed(SealFlag::F_SEAL_WRITE);
    let mut fixture = Fixture::new().output("good");
    fixture.files.add_output(&path).unwrap();
    // If it did not, this would fill the disk.
    let len = 1 << 42;
    let error =
        fixture.ring(&[set_len(0, len), set_len(1, len), zero(1, 0, 1), zero(0, 0, len)]).unwrap_err();
    assert!(matches!(error, ExecError::File(_)), "{error}");
}

#[test]
fn an_input_that_shrinks() {
    let len = 2 * PIECE_LEN + 5;
    let content = pattern(usize::try_from(len).unwrap(), 1);
    let all_copied = [set_len(1, len), copy(0, 0, 1, 0, len)];
    let last_copied = [set_len(1, len), copy(0, len - 5, 1, 0, 5)];
    let last_read = [set_len(1, 0), read(0, len - 5, 0, 5)];
    for records in [all_copied, last_copied, last_read] {
        let mut fixture = Fixture::new().input("in", &content).output("out");
        shrink(&fixture.path("in"), len - 3);
        let error = fixture.ring(&records).unwrap_err();
        let ExecError::File(error) = error else { panic!("{error}") };
        assert_eq!((&error.path, error.offset), (&fixture.path("in"), Some(len - 3)));
        let FileErrorKind::Shrunk { len: now, opened_len } = error.kind else { panic!("{error}") };
        assert_eq!((now, opened_len), (len - 3, len));
    }
}

#[test]
fn a_hole_that_is_no_longer_there() {
    let mut fixture = Fixture::new().output("out");
    let path = fixture.path("hole");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    fixture.files.add_input(&path).unwrap();
    shrink(&path, 1000);
    let error = fixture.ring(&[set_len(0, 1 << 20), copy(1, 0, 0, 0, 1 << 20)]).unwrap_err();
    let ExecError::File(error) = error else { panic!("{error}") };
    assert!(matches!(error.kind, FileErrorKind::Shrunk { len: 1000, .. }), "{error}");
}

#[test]
fn an_output_that_the_guest_forgot() {
    let mut fixture = Fixture::new().output("one").output("two");
    let error = fixture.ring(&[set_len(0, 1)]).unwrap_err();
    let path = fixture.path("two");
    assert_eq!(error.to_string(), format!("the guest finished without having made '{}'", path.display()));
}

#[test]
fn interrupted_before_it_began() {
    let mut fixture = Fixture::new().output("out");
    let mut nobody = Nobody;
    let interrupted = AtomicBool::new(true);
    let files = core::mem::take(&mut fixture.files);
    let mut executor = Executor::new(files, NO_LIMITS, || Ok(()), &interrupted, &mut nobody, &NoDecoders);
    let error = executor.carry_out(&[set_len(0, 5)], &Window::new().slice()).unwrap_err();
    assert!(matches!(error, ExecError::Interrupted { written: 0 }), "{error}");
    assert!(!fixture.path("out").exists());
}

/// A user who waits for the first sign of life, and then has enough.
struct Impatient<'a> {
    interrupted: &'a AtomicBool,
    seen: Vec<(u64, u64)>,
}

impl Observer for Impatient<'_> {
    fn tick(&mut self, written: u64, planned: u64) {
        self.seen.push((written, planned));
        self.interrupted.store(true, Ordering::Relaxed);
    }
}

#[test]
fn interrupted_while_it_works() {
    let mut fixture = Fixture::new().output("out");
    let interrupted = AtomicBool::new(false);
    let mut user = Impatient { interrupted: &interrupted, seen: Vec::new() };
    let files = core::mem::take(&mut fixture.files);
    let mut executor = Executor::new(files, NO_LIMITS, || Ok(()), &interrupted, &mut user, &NoDecoders);
    let len = 1 << 42;
    let records = [set_len(0, len), zero(0, 0, len)];
    let error = executor.carry_out(&records, &Window::new().slice()).unwrap_err();
    let ExecError::Interrupted { written } = error else { panic!("{error}") };
    assert!((1..len).contains(&written));
    drop(executor);
    let [(seen, planned)] = user.seen[..] else { panic!("{:?}", user.seen) };
    assert!(seen <= written);
    assert_eq!(planned, len);
}
