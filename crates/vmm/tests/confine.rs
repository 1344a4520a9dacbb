//! What is left to a process that has given up the rest. Each test is about a process of its own: this one, run again.
#![allow(unsafe_code, reason = "system calls are what is tested")]

use core::alloc::Layout;
use std::alloc;
use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, Output};
use std::thread;

use nix::libc;
use vmm::confine::{self, ALLOWED};

/// More than there are: Linux 6.18 ends at 469.
const NUMBERS: core::ops::Range<i64> = 0..600;

/// `uretprobe` and `uprobe`: the kernel's own trampolines call them, no filter is asked, and whoever else does is ended.
const TRAMPOLINES: [i64; 2] = [335, 336];

/// Set for the process that is to be confined.
const INSIDE: &str = "INSTAR_TEST_CONFINED";

/// How the ignored test `name` ends in a process of its own.
fn outcome_of(name: &str) -> Output {
    let tests = env::current_exe().expect("a test is a program");
    Command::new(tests)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .envs([(INSIDE, "1"), ("RUST_BACKTRACE", "1")])
        .output()
        .expect("it runs again")
}

/// Runs the ignored test `name` in a process of its own.
#[track_caller]
fn in_a_process_of_its_own(name: &str) {
    let output = outcome_of(name);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{}: {output:?}", output.status);
}

/// Confines this process, which is not the one that runs all tests.
fn confine() {
    assert!(env::var_os(INSIDE).is_some(), "it would confine the tests beside it");
    confine::at_start().expect("the kernel can");
    confine::enter().expect("the kernel can");
}

/// What the kernel says to the system call `number` with these arguments.
fn answer(number: i64, arguments: [i64; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: it is called with numbers that the filter refuses, before the kernel looks at the arguments. Were one let
    // through, the arguments are zeros, or what the test names, and the worst that follows is that this process ends,
    // and the test with it.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { io::Error::last_os_error().raw_os_error().expect("it has a number") } else { 0 }
}

#[test]
fn every_other_system_call_fails() {
    in_a_process_of_its_own("inside::every_other_system_call_fails");
}

#[test]
fn arguments_that_are_not_needed_fail() {
    in_a_process_of_its_own("inside::arguments_that_are_not_needed_fail");
}

#[test]
fn what_copying_needs_works() {
    in_a_process_of_its_own("inside::what_copying_needs_works");
}

#[test]
fn no_privilege_is_left() {
    in_a_process_of_its_own("inside::no_privilege_is_left");
}

/// With a backtrace, for which the program itself cannot be read any more.
#[test]
fn a_panic_is_no_hang() {
    in_a_process_of_its_own("inside::a_panic_is_no_hang");
}

#[test]
fn an_abort_ends_by_its_signal() {
    let output = outcome_of("inside::an_abort_ends_by_its_signal");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
}

#[test]
fn memory_that_there_is_not_ends_by_a_signal() {
    let output = outcome_of("inside::memory_that_there_is_not_ends_by_a_signal");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("memory allocation of "), "{said}");
}

/// The list that people read is the one that the kernel gets.
#[test]
fn the_documented_list_is_the_list() {
    let page = include_str!("../../../docs/security.md");
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?))
    };
    let documented: Vec<_> = page.lines().filter_map(row).collect();
    let allowed: Vec<_> = ALLOWED.iter().map(|allowed| (allowed.name, allowed.why)).collect();
    assert_eq!(documented, allowed);
}

mod inside {
    use super::*;

    #[test]
    #[ignore = "run by the test of the same name"]
    fn a_panic_is_no_hang() {
        confine();
        assert!(thread::spawn(|| panic!("on purpose")).join().is_err());
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn an_abort_ends_by_its_signal() {
        confine();
        process::abort();
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn memory_that_there_is_not_ends_by_a_signal() {
        confine();
        alloc::handle_alloc_error(Layout::new::<u64>());
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn every_other_system_call_fails() {
        confine();
        let allowed: BTreeSet<_> = ALLOWED.iter().map(|allowed| allowed.number).collect();
        for number in NUMBERS.filter(|n| !allowed.contains(n) && !TRAMPOLINES.contains(n)) {
            let expected = if number == libc::SYS_clone3 { libc::ENOSYS } else { libc::EPERM };
            assert_eq!(answer(number, [0; 6]), expected, "system call {number}");
        }
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn arguments_that_are_not_needed_fail() {
        confine();
        let exec = i64::from(libc::PROT_READ | libc::PROT_EXEC);
        let private = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let denied: &[(&str, i64, [i64; 6])] = &[
            ("memory to execute", libc::SYS_mmap, [0, 4096, exec, private, -1, 0]),
            ("memory made to be executed", libc::SYS_mprotect, [0, 4096, exec, 0, 0, 0]),
            ("a process", libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0, 0, 0]),
            ("a signal to another process", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
            ("a signal to a thread of another", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
            ("typing into a terminal", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
            ("a device in a virtual machine", libc::SYS_ioctl, [0, 0xc00c_aee0, 0, 0, 0, 0]),
            ("the length of a device", libc::SYS_ioctl, [0, 0x8008_1272, 0, 0, 0, 0]),
            ("another copy of a descriptor", libc::SYS_fcntl, [0, i64::from(libc::F_DUPFD), 0, 0, 0, 0]),
        ];
        for &(what, number, arguments) in denied {
            assert_eq!(answer(number, arguments), libc::EPERM, "{what}");
        }
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn what_copying_needs_works() {
        let file = tempfile::tempfile().expect("a file");
        confine();
        let copied = thread::spawn(move || -> io::Result<(u8, [u8; 4])> {
            file.set_len(1 << 20)?;
            file.write_all_at(b"data", 1 << 16)?;
            file.sync_data()?;
            let mut read = [0; 4];
            file.read_exact_at(&mut read, 1 << 16)?;
            let memory = vec![1_u8; 32 << 20];
            Ok((memory[memory.len() / 2], read))
        });
        let copied = copied.join().expect("no panic").expect("files that are open can be used");
        assert_eq!(copied, (1, *b"data"));
        assert_eq!(File::open("/dev/null").unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    #[ignore = "run by the test of the same name"]
    fn no_privilege_is_left() {
        let status = File::open("/proc/thread-self/status").expect("the kernel shows it");
        confine();
        let mut text = vec![0; 16 << 10];
        let len = status.read_at(&mut text, 0).expect("it was opened before");
        assert!(status.as_raw_fd() > 2);
        let text = String::from_utf8_lossy(&text[..len]).into_owned();
        for line in
            ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
