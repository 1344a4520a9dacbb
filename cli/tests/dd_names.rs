//! Which files an image may name: those in its directory, and those that the user allows.

use core::fmt;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use testkit::cases::assert_all;
use testkit::disk::Disk;
use testkit::outcome::{Entry, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::{Run, Tool};

/// The size of every disk here: 137 sectors.
const DISK_SIZE: u64 = 70_144;

/// What the user is told where it helps.
const HINT: &str = "hint: --allow-path DIR lets images name the files beneath DIR";

/// How the image "images/in.img" comes to name a file that is not in its directory.
struct Escape {
    name: &'static str,
    /// What makes the image, in its directory. `$1` is a directory elsewhere.
    script: &'static str,
    /// The raw file that holds the disk, as the script would name it.
    outside: &'static str,
    /// The directory to allow, from where the command runs. Empty: that elsewhere.
    allow: &'static str,
}

/// Each is refused, and read where the directory is allowed.
const ESCAPES: &[Escape] = &[
    Escape { name: "parent", script: "overlay ../base", outside: "../base", allow: "." },
    Escape { name: "sibling", script: "overlay ../other/base", outside: "../other/base", allow: "other" },
    Escape { name: "absolute path", script: "overlay $1/base", outside: "$1/base", allow: "" },
    Escape { name: "link", script: "ln -s ../base link; overlay link", outside: "../base", allow: "." },
    Escape {
        name: "link to a directory",
        script: "ln -s .. up; overlay up/base",
        outside: "../base",
        allow: ".",
    },
    Escape {
        name: "link to a sibling",
        script: "ln -s ../other/base link; overlay link",
        outside: "../other/base",
        allow: "other",
    },
    Escape {
        name: "absolute link",
        script: "ln -s $1/base link; overlay link",
        outside: "$1/base",
        allow: "",
    },
    Escape {
        name: "absolute link to a directory",
        script: "ln -s $1 dir; overlay dir/base",
        outside: "$1/base",
        allow: "",
    },
    Escape {
        name: "base of a base",
        script: "overlay ../base; mv in.img middle; overlay middle qcow2",
        outside: "../base",
        allow: ".",
    },
    Escape {
        name: "external data file",
        script: "qemu-img create -q -f qcow2 -o data_file=../base,data_file_raw=on in.img 70144",
        outside: "../base",
        allow: ".",
    },
    Escape {
        name: "extent of a VMDK",
        script: r#"printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe parentCID=ffffffff \
            'createType="monolithicFlat"' 'RW 137 FLAT "../base" 0' >in.img"#,
        outside: "../base",
        allow: ".",
    },
];

/// What an image may not name, whatever the user allows.
struct Never {
    name: &'static str,
    script: &'static str,
    /// What the message says.
    because: &'static str,
}

const CYCLE: &str = "which leads back to itself";
const NO_PLAIN_PATH: &str = "which is not the plain path of a file";

const NEVER: &[Never] = &[
    Never {
        name: "JSON",
        script: r#"overlay 'json:{"driver":"file","filename":"../base"}'"#,
        because: NO_PLAIN_PATH,
    },
    Never { name: "file protocol", script: "overlay file:base", because: NO_PLAIN_PATH },
    Never { name: "network", script: "overlay nbd://127.0.0.1:1/base", because: NO_PLAIN_PATH },
    Never { name: "itself", script: "overlay in.img qcow2", because: CYCLE },
    Never { name: "itself by a link", script: "overlay link qcow2; ln -s in.img link", because: CYCLE },
    Never {
        name: "a loop of two",
        script: "overlay in.img qcow2; mv in.img second; overlay second qcow2",
        because: CYCLE,
    },
    Never {
        name: "a chain without an end",
        script: "for n in $(seq 40); do overlay base$n qcow2; mv in.img base$((n - 1)); done; mv base0 in.img",
        because: "the chain of backing images is too large",
    },
    Never { name: "a directory", script: "mkdir dir; overlay dir", because: "directory" },
    Never { name: "a FIFO", script: "mkfifo fifo; overlay fifo", because: "FIFO" },
    Never { name: "nothing", script: "overlay nosuch", because: "No such file or directory" },
];

/// NAME [FORMAT]: an empty image that stands on NAME, which need not be there.
const PRELUDE: &str = r#"
overlay() { qemu-img create -q -u -f qcow2 -b "$1" -F ${2-raw} new 70144; mv new in.img; }
"#;

#[test]
fn what_lies_outside_is_refused_whether_it_is_there_or_not() {
    if Qemu::require().is_none() {
        return;
    }
    assert_all(ESCAPES, |escape| {
        let elsewhere = scene::temporary_dir().expect("a directory");
        // The directory of the image is allowed anyhow.
        let no_help = ["--allow-path", "images"];
        let (there, said_there) = escape.outcome(&elsewhere, true, &[]);
        let (absent, said_absent) = escape.outcome(&elsewhere, false, &[]);
        let (other_allowed, said_other_allowed) = escape.outcome(&elsewhere, true, &no_help);

        let mut found = there.differences_from(&Outcome::refusal());
        found.extend(absent.differences_from(&Outcome::refusal()));
        found.extend(other_allowed.differences_from(&Outcome::refusal()));
        if !said_there.stderr.contains(HINT) {
            found.push(format!("no hint: {}", said_there.stderr));
        }
        for said in [said_absent, said_other_allowed] {
            if said.stderr != said_there.stderr {
                found.push(format!("two messages: {}{}", said_there.stderr, said.stderr));
            }
        }
        found
    });
}

#[test]
fn what_the_user_allows_is_read() {
    if Qemu::require().is_none() {
        return;
    }
    assert_all(ESCAPES, |escape| {
        let elsewhere = scene::temporary_dir().expect("a directory");
        let allow = if escape.allow.is_empty() { elsewhere.path() } else { Path::new(escape.allow) };
        let (outcome, run) = escape.outcome(&elsewhere, true, &["--allow-path", &allow.to_string_lossy()]);
        differences_from_copy(&outcome, &run)
    });
}

#[test]
fn what_lies_in_the_directory_is_read() {
    if Qemu::require().is_none() {
        return;
    }
    let inside = |name, script| Escape { name, script, outside: "base", allow: "" };
    let inside = [
        inside("plain", "overlay base"),
        inside("by its own directory", "overlay ./base"),
        inside("through another directory", "mkdir in; overlay in/../base"),
        inside("link", "ln -s base link; overlay link"),
        inside("absolute link", "ln -s $PWD/base link; overlay link"),
        inside("link that goes and comes back", "mkdir in; ln -s ../base in/link; overlay in/link"),
        inside("with blanks", "ln -s base 'a name'; overlay 'a name'"),
    ];
    assert_all(&inside, |escape| {
        let elsewhere = scene::temporary_dir().expect("a directory");
        let (outcome, run) = escape.outcome(&elsewhere, true, &[]);
        differences_from_copy(&outcome, &run)
    });
}

#[test]
fn some_names_are_refused_whatever_is_allowed() {
    if Qemu::require().is_none() {
        return;
    }
    assert_all(NEVER, |never| {
        let elsewhere = scene::temporary_dir().expect("a directory");
        let mut found = Vec::new();
        for allowed in [&[][..], &["--allow-path", "/", "--allow-path", "."]] {
            let (outcome, run) = dd(allowed, |dir| {
                base().write(&dir.join("base"))?;
                make_image(dir, never.script, &elsewhere)
            });
            found.extend(outcome.differences_from(&Outcome::refusal()));
            if !run.stderr.contains(never.because) {
                found.push(format!("the message does not say {:?}: {}", never.because, run.stderr));
            }
        }
        found
    });
}

impl Escape {
    /// What happens to the image, where the file outside is there and where it is not.
    fn outcome(&self, elsewhere: &TempDir, is_there: bool, allowed: &[&str]) -> (Outcome, Run) {
        dd(allowed, |dir| {
            fs::create_dir(dir.join("other"))?;
            base().write(&dir.join("other/disk"))?;
            let outside = self.outside;
            let then = if is_there { "mv ../other/disk" } else { "rm -f" };
            make_image(dir, &format!("{}\n{then} {outside}", self.script), elsewhere)
        })
    }
}

/// `instar dd` with the image that `lay_out` has made.
fn dd(options: &[&str], lay_out: impl FnOnce(&Path) -> io::Result<()>) -> (Outcome, Run) {
    let args = [options, &["if=images/in.img", "of=out.img"]].concat();
    scene::run(&Tool::named(env!("CARGO_BIN_EXE_instar")), &args, View::Bytes, lay_out)
}

fn make_image(dir: &Path, script: &str, elsewhere: &TempDir) -> io::Result<()> {
    let images = dir.join("images");
    fs::create_dir(&images)?;
    Qemu::script(&images, &format!("{PRELUDE}\n{script}"), &[elsewhere.path()])
}

fn base() -> Disk {
    Disk::solid("base", DISK_SIZE)
}

fn differences_from_copy(outcome: &Outcome, run: &Run) -> Vec<String> {
    let copy = Entry::File(base().content());
    if run.stderr.is_empty() && outcome.changed.get("out.img") == Some(&copy) {
        return Vec::new();
    }
    vec![format!("{outcome:?}: {}", run.stderr)]
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
