//! What only a guest in a process can try: there is a kernel behind it, and a host that it might outlive or wait for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use guest_abi::boot::BootPage;
use guest_abi::layout::MEMORY_LEN;
use vmm::process::ProcessSandbox;
use vmm::sandbox::Sandbox;
use zerocopy::FromZeros;

use super::*;
use crate::support::{PUSH_BYTE, image, padded};

/// The numbers of `read` and `write`.
const DOORBELL: [u32; 2] = [0, 1];

/// Starts a guest of this code, and nothing else of a command.
fn start(code: &Code) -> ProcessSandbox {
    let code = padded(code, Choice::Process);
    ProcessSandbox::new(&image(&code), &BootPage::new_zeroed(), GUEST_TIME, Arc::default()).unwrap()
}

/// `mov eax, number; mov edi, first; mov edx, third; syscall`, with a second argument that is an address of the guest's.
fn call(number: u32, first: u32, third: u32) -> Code {
    let [number, first, third] = [number, first, third].map(u32::to_le_bytes);
    let code = Code::new().then(&PUSH_BYTE).then(&[0xb8]).then(&number).then(&[0xbf]).then(&first);
    code.then(&[0xba]).then(&third).then(&[0x0f, 0x05])
}

/// `uretprobe` and `uprobe`, which newer kernels keep for their own debugging: they ask no filter, and end whoever calls
/// them from anywhere but the kernel's own code.
const OF_THE_KERNEL: [u32; 2] = [335, 336];

#[track_caller]
fn is_refused(code: &Code, what: &str) {
    assert_eq!(start(code).run(), Err(GuestFault::SystemCall), "{what}");
}

#[test]
fn every_system_call_but_the_doorbells_is_refused() {
    let special = [DOORBELL, OF_THE_KERNEL].concat();
    for number in (0..=600).filter(|number| !special.contains(number)) {
        is_refused(&call(number, 1, 1), &format!("system call {number}"));
    }
    for number in OF_THE_KERNEL {
        let fault = start(&call(number, 1, 1)).run().unwrap_err();
        assert!(matches!(fault, GuestFault::SystemCall | GuestFault::Exception), "{number}: {fault:?}");
    }
}

#[test]
fn every_system_call_of_another_interface_is_refused() {
    // The x32 interface has the same numbers, with a bit set.
    for number in (0..=600).step_by(7).chain(DOORBELL) {
        is_refused(&call(number | 0x4000_0000, number, 1), &format!("system call {number} of x32"));
    }
    is_refused(&call(u32::MAX, 1, 1), "system call -1");
}

#[test]
fn the_doorbells_system_calls_take_only_its_arguments() {
    for (number, first, third) in
        [(0, 0, 2), (0, 1, 1), (0, 7, 1), (0, 0, 0), (1, 0, 1), (1, 1, 4096), (1, 2, 1)]
    {
        is_refused(&call(number, first, third), &format!("call {number} of {third} bytes with {first}"));
    }
    // mov rdx, 1 << 32 | 1 instead: `call`, and the third argument again in 64 bits.
    let long = Code::new().then(&PUSH_BYTE).then(&[0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0]);
    is_refused(&long.then(&[0x48, 0xba, 1, 0, 0, 0, 1, 0, 0, 0, 0x0f, 0x05]), "a length of 64 bits");
}

#[test]
fn what_the_kernel_puts_into_processes_is_not_there() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // Where the kernel's own pages and a stack are in this process, for want of knowing where they would be there; and
    // the page of the old interface that is at the same place in all.
    let special =
        maps.lines().filter(|line| ["[vdso]", "[vvar]", "[stack]"].iter().any(|name| line.ends_with(name)));
    let addresses = special.map(|line| u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap());
    for addr in addresses.chain([0xffff_ffff_ff60_0000, MEMORY_LEN + 0x1000, (1 << 47) - 8192]) {
        // mov rax, addr; mov eax, [rax]
        let code = Code::new().then(&[0x48, 0xb8]).then(&addr.to_le_bytes()).then(&[0x8b, 0x00]);
        assert_eq!(start(&code.ring()).run(), Err(GuestFault::Exception), "{addr:#x}");
    }
}

#[test]
fn the_processors_clock_cannot_be_read() {
    assert_eq!(start(&Code::new().then(&[0x0f, 0x31]).ring()).run(), Err(GuestFault::Exception));
}

/// What the kernel says of the process, before the guest's first instruction.
#[test]
fn the_process_has_nothing() {
    let sandbox = start(&Code::new());
    let process = PathBuf::from(format!("/proc/{}", sandbox.pid()));
    let Ok(maps) = fs::read_to_string(process.join("maps")) else {
        // Nobody but root may look: the process cannot be dumped.
        eprintln!("SKIPPED: this user may not see what a process has that it has given up");
        return;
    };
    // In order: boot page, code, constants, stack, heap, exchange; the loader; and the page that every address space has.
    let mapped = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let maps: Vec<_> = maps.lines().filter(|line| !line.ends_with("[vsyscall]")).map(mapped).collect();
    assert_eq!(
        maps,
        [
            "00100000-00101000 r--p",
            "00400000-00402000 r-xp",
            "00403000-00404000 r--p",
            "00600000-00610000 rw-p",
            "00800000-017ff000 rw-p",
            "01800000-01fff000 rw-s",
            "03000000-03001000 r-xp",
        ]
    );
    assert_eq!(fs::read_dir(process.join("fd")).unwrap().count(), 2, "two pipes");
    assert_eq!(fs::read(process.join("environ")).unwrap(), b"");
    let status = fs::read_to_string(process.join("status")).unwrap();
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Threads:\t1",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "SigBlk:\tfffffffe7ffbfeff",
    ] {
        assert!(status.lines().any(|found| found == line), "{line} is not in:\n{status}");
    }
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let is_time =
        |line: &&str| ["Max cpu time", "Max realtime timeout"].iter().any(|name| line.starts_with(name));
    for line in limits.lines().skip(1).filter(|line| !is_time(line)) {
        let values: Vec<_> = line[26..].split_whitespace().take(2).collect();
        assert_eq!(values, ["0", "0"], "{line}");
    }
    assert_eq!(stat(&process)[5], sandbox.pid().to_string(), "its session is its own");
}

/// The fields of a process's `stat`, numbered as in proc(5) less one.
fn stat(process: &Path) -> Vec<String> {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.split_whitespace().map(ToOwned::to_owned).collect()
}

#[test]
fn a_guest_that_waits_without_having_rung_is_noticed() {
    let began = Instant::now();
    let fault = start(&call(0, 0, 1).then(call(0, 0, 1).bytes())).run().unwrap_err();
    assert!(matches!(fault, GuestFault::Asleep(_)), "{fault:?}");
    assert!(began.elapsed() >= GUEST_TIME);
}

#[test]
fn a_guest_that_does_not_wait_for_answers_harms_nothing() {
    // It rings, and goes on changing what it has said: xor dword ptr [first record's file], 1; jmp to that
    let scene = Scene::new(Choice::Process);
    let zero = Record { op: ZERO, file: 1, len: 1, ..Record::default() };
    let said = Code::new().put(RECORDS_AT, &[zero]).put(0, &head(GO_ON, &[zero]));
    let file = (EXCHANGE_ADDR + RECORDS_AT) as u32 + offset_of!(Record, file) as u32;
    let flip = Code::new().then(&[0x83, 0x34, 0x25]).then(&file.to_le_bytes()).then(&[1, 0xeb, 0xf6]);
    let failed = scene.run(&said.then(call(1, 1, 1).bytes()).then(flip.bytes())).unwrap_err();
    scene.assert_unharmed();
    assert!(matches!(failed.error, Error::Exec(ExecError::Refused { .. })), "{:?}", failed.error);
}

#[test]
fn rings_in_advance_are_rings() {
    let rings = (0..100).fold(Code::new(), |code, _| code.then(call(1, 1, 1).bytes()));
    let fault = GuestFault::Nonsense("an unknown state");
    assert_fault(Choice::Process, &rings.then(&[0xeb, 0xfe]), &fault);
}

#[test]
fn a_guest_that_somebody_kills_is_told_from_one_that_fails() {
    let mut sandbox = start(&Code::new().then(&[0xeb, 0xfe]));
    let status = Command::new("kill").args(["-KILL", &sandbox.pid().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(sandbox.run(), Err(GuestFault::Killed(9)));
}

/// Run by the next test in a process of its own: prints the guest's number, and goes on until it is killed.
#[test]
#[ignore = "it does not end"]
fn a_host_that_does_not_end() {
    let code = padded(&Code::new().then(&[0xeb, 0xfe]), Choice::Process);
    let long = Duration::from_secs(3600);
    let mut sandbox =
        ProcessSandbox::new(&image(&code), &BootPage::new_zeroed(), long, Arc::default()).unwrap();
    println!("guest {}", sandbox.pid());
    let _ = sandbox.run();
}

#[test]
fn a_guest_does_not_outlive_its_host() {
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::a_host_that_does_not_end", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(host.stdout.take().unwrap());
    let line = said.lines().map(Result::unwrap).find(|line| line.contains("guest ")).unwrap();
    let process = Path::new("/proc").join(line.rsplit(' ').next().unwrap());
    // It runs: its time grows.
    let time = || stat(&process).get(13).map_or(0, |ticks| ticks.parse::<u64>().unwrap());
    wait_until(|| time() > 0);
    host.kill().unwrap();
    host.wait().unwrap();
    // Whoever takes care of orphans may take its time to bury them.
    wait_until(|| stat(&process).get(2).is_none_or(|state| state == "Z"));
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "it takes too long");
        thread::sleep(Duration::from_millis(2));
    }
}
