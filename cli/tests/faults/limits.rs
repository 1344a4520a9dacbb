//! Limits of the process, and many processes at once.

use std::fs;
use std::process::{Command, Stdio};

use signal_hook::consts::SIGABRT;
use testkit::outcome::Exit;
use testkit::tool::require_tool;

use crate::{INSTAR, Scene};

const COPIES: usize = 100;

/// Copies under ever higher limits, from ones that are too low to those that are not. What is so low that no program of
/// this size starts shows nothing about it.
fn climb(limits: impl Iterator<Item = String>) {
    let Some(prlimit) = require_tool("prlimit") else { return };
    let scene = Scene::new();
    let (mut failed, mut copied) = (0, 0);
    for limit in limits {
        scene.forget_output();
        let help = prlimit.run(scene.path(), [limit.as_str(), INSTAR, "--help"]).expect("prlimit starts");
        if help.exit != Exit::Code(0) {
            continue;
        }
        let run = scene.dd_under(&["prlimit", &limit]);
        match run.exit {
            Exit::Code(0) => {
                // Where there is too little for a machine, there may be enough for a process.
                let silent = run.stderr.is_empty() || run.stderr.ends_with("in a process instead\n");
                assert!(silent && scene.has_disk("out"), "{limit}: {}", run.stderr);
                copied += 1;
            }
            // What every Rust program does when there is not even memory for its own variables.
            Exit::Signal(SIGABRT) => assert!(run.stderr.contains("memory allocation of "), "{}", run.stderr),
            _ => {
                scene.assert_failed(&run, &[]);
                assert!(!run.stderr.contains("panicked"), "{limit}: {}", run.stderr);
                failed += 1;
            }
        }
        assert!(scene.has_disk("disk.raw"), "{limit}: the input was changed");
    }
    assert!(failed > 0 && copied > 0, "{failed} runs failed, {copied} made a copy");
}

#[test]
fn few_descriptors() {
    climb((3..20).map(|limit| format!("--nofile={limit}")));
}

#[test]
fn little_memory() {
    climb((1..60).map(|mib| format!("--as={}", mib << 20)));
}

#[test]
fn a_hundred_copies_at_once() {
    let scene = Scene::new();
    let copies: Vec<_> = (0..COPIES)
        .map(|number| {
            let copy = Command::new(INSTAR)
                .args(["dd", "if=disk.raw", &format!("of=out{number}")])
                .current_dir(scene.path())
                .stdin(Stdio::null())
                .spawn();
            (number, copy.expect("instar starts"))
        })
        .collect();
    for (number, mut copy) in copies {
        let status = copy.wait().expect("it was started");
        assert!(status.success(), "copy {number}: {status}");
        assert!(scene.has_disk(&format!("out{number}")), "copy {number} is another disk");
    }
    assert!(scene.has_disk("disk.raw"));
    assert_eq!(fs::read_dir(scene.path()).expect("a directory").count(), COPIES + 1);
}
