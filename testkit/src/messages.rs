//! What a command says, word for word, for snapshots.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Every command line of `lines` with what `program` says to it in a fresh directory with a few files, so that a list of
/// messages reads as one page.
///
/// # Panics
///
/// If the program cannot be started, or the directory cannot be made.
pub fn page(program: &str, lines: &[&[&str]]) -> String {
    let entries = lines.iter().map(|args| format!("$ instar {}\n{}\n", args.join(" "), said(program, args)));
    entries.collect::<Vec<_>>().join("\n")
}

fn said(program: &str, args: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    lay_out(dir.path());
    let output = Command::new(program)
        .args(args)
        .current_dir(dir.path())
        .env_remove("POSIXLY_CORRECT")
        .output()
        .expect("instar starts");
    shown(&output)
}

fn lay_out(dir: &Path) {
    let files: [(&str, &[u8]); 3] = [
        ("disk.raw", &[7; 1000]),
        ("disk.qcow2", b"QFI\xfb\0\0\0\x03 and so on"),
        ("apple.dmg", b"a disk image, says its name"),
    ];
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).expect("a file");
    }
    fs::create_dir(dir.join("directory")).expect("a directory");
    fs::hard_link(dir.join("disk.raw"), dir.join("link.raw")).expect("a link");
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
    format!("{}{}[exit {code}]", text(&output.stdout), text(&output.stderr))
}
