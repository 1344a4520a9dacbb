//! Images that stand on a parent, which has to be the one that they were made for.

#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]

use core::fmt;
use std::fs;
use std::io;
use std::path::Path;

use testkit::cases::assert_all;
use testkit::differencing::{Block, Format, Image, Parent};
use testkit::disk::Disk;
use testkit::outcome::{Content, Entry, Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene::{self, View};
use testkit::tool::{Run, Tool};

/// How an image names its parent.
struct Naming {
    /// The path from where it lies itself.
    relative: Option<&'static str>,
    /// The path from a volume.
    absolute: Option<&'static str>,
    /// Where the parent is, from where the image is.
    parent: &'static str,
    /// The directory that has to be allowed, from where the command runs.
    allow: Option<&'static str>,
}

const fn relative(relative: &'static str, parent: &'static str) -> Naming {
    Naming { relative: Some(relative), absolute: None, parent, allow: None }
}

const fn absolute(absolute: &'static str) -> Naming {
    Naming { relative: None, absolute: Some(absolute), parent: "base", allow: None }
}

const NAMINGS: &[Naming] = &[
    relative("base", "base"),
    relative(".\\base", "base"),
    relative("déjà vu\\база 💾", "déjà vu/база 💾"),
    Naming { allow: Some("."), ..relative("..\\base", "../base") },
    Naming { allow: Some("other"), absolute: Some("C:\\no"), ..relative("..\\other\\base", "../other/base") },
    absolute("C:\\vm\\base"),
    absolute("\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\vm\\base"),
];

const HINT: &str = "hint: --allow-path DIR lets images name the files beneath DIR";

#[test]
fn a_chain_of_three_is_one_disk() {
    assert_all(&for_both_formats(NAMINGS), |case @ Case(format, naming)| {
        let chain = Chain::new(case.middles_parent());
        let lay_out = |images: &Path| {
            fs::create_dir(images.join("../other"))?;
            fs::create_dir(images.join("déjà vu"))?;
            chain.write(*format, images, naming.parent)
        };
        let allowed = naming.allow.map_or(vec![], |dir| vec!["--allow-path", dir]);
        let (outcome, run) = dd(&allowed, lay_out);
        let mut found = Vec::new();
        let copy = Entry::File(Content::of(&chain.disk(*format)));
        if !run.stderr.is_empty() || outcome.changed.get("out.img") != Some(&copy) {
            found.push(format!("{outcome:?}: {}", run.stderr));
        }
        if naming.allow.is_some() {
            let (outcome, run) = dd(&[], lay_out);
            found.extend(differences_from_refusal(&outcome, &run, HINT));
        }
        found
    });
}

/// What goes wrong with the parent of "images/middle".
struct Refusal {
    name: &'static str,
    spoil: fn(&mut Chain),
    /// What the message says.
    because: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "nothing there",
        spoil: |chain| chain.middles_parent().relative = utf16("nosuch"),
        because: "'images/middle' names 'nosuch': No such file or directory",
    },
    Refusal {
        name: "an absolute path",
        spoil: |chain| {
            *chain.middles_parent() = Parent { absolute: utf16("/etc/passwd"), ..Parent::default() }
        },
        because: HINT,
    },
    Refusal {
        name: "a protocol",
        spoil: |chain| chain.middles_parent().relative = utf16("nbd:\\\\host\\base"),
        because: "which is not the plain path of a file",
    },
    Refusal {
        name: "itself",
        spoil: |chain| chain.middles_parent().relative = utf16("middle"),
        because: "which leads back to itself",
    },
    Refusal {
        name: "its child",
        spoil: |chain| chain.middles_parent().relative = utf16(".\\in.img"),
        because: "which leads back to itself",
    },
    Refusal {
        name: "half a character",
        spoil: |chain| chain.middles_parent().relative = Some(vec![0x62, 0xd83d]),
        because: "the name of the parent is not valid UTF-16",
    },
    Refusal {
        name: "a zero character",
        spoil: |chain| chain.middles_parent().relative = utf16("base\0"),
        because: ", which is not the name of a file",
    },
];

#[test]
fn a_chain_with_another_parent_is_refused() {
    assert_all(&for_both_formats(REFUSALS), |Case(format, refusal)| {
        let mut chain = Chain::new(Parent { relative: utf16("base"), ..Parent::default() });
        (refusal.spoil)(&mut chain);
        let (outcome, run) = dd(&[], |images| chain.write(*format, images, "base"));
        differences_from_refusal(&outcome, &run, refusal.because)
    });
}

#[test]
fn a_parent_of_another_identity_is_refused() {
    for (format, term) in Format::ALL.into_iter().zip(["unique id", "data write GUID"]) {
        let mut chain = Chain::new(Parent { relative: utf16("base"), ..Parent::default() });
        chain.base.id = [0; 16];
        let (outcome, run) = dd(&[], |images| chain.write(format, images, "base"));
        let message = format!(
            "instar: 'images/base' is not the parent that the image on it was made for: its {term} is another
  hint: what was made on top of a parent can only be read with that parent as it was then
"
        );
        assert_eq!((outcome, run.stderr), (Outcome::refusal(), message));
    }
}

/// Three images: "in.img" on "middle", which is beside it, on the base.
struct Chain {
    top: Image,
    middle: Image,
    base: Image,
}

impl Chain {
    /// The chain of which the middle names the base so.
    fn new(parent: Parent) -> Self {
        let base = Image {
            id: [3; 16],
            parent: None,
            tag: b'c',
            blocks: vec![Block::Full, Block::Full, Block::Absent],
        };
        let middle = Image {
            id: [2; 16],
            parent: Some(Parent { id: base.id, ..parent }),
            tag: b'b',
            blocks: vec![Block::Sectors(vec![2..7]), Block::Absent, Block::Full],
        };
        let parent = Parent { id: middle.id, relative: utf16("middle"), ..Parent::default() };
        let top = Image {
            id: [1; 16],
            parent: Some(parent),
            tag: b'a',
            blocks: vec![Block::Sectors(vec![0..1, 5..8]), Block::Absent, Block::Sectors(vec![1..2])],
        };
        Self { top, middle, base }
    }

    fn middles_parent(&mut self) -> &mut Parent {
        self.middle.parent.as_mut().expect("it was made with one")
    }

    fn write(&self, format: Format, images: &Path, base: &str) -> io::Result<()> {
        let files = [("in.img", &self.top), ("middle", &self.middle), (base, &self.base)];
        files.into_iter().try_for_each(|(name, image)| fs::write(images.join(name), image.bytes(format)))
    }

    fn disk(&self, format: Format) -> Vec<u8> {
        let Self { top, middle, base } = self;
        top.in_front_of(&middle.in_front_of(&base.in_front_of(&[], format), format), format)
    }
}

/// A VMDK on a parent, and whether `qemu-img` reads it.
struct Vmdk {
    name: &'static str,
    /// What makes "in.img", beside "base.vmdk".
    script: &'static str,
    theirs: Theirs,
}

#[derive(PartialEq, Eq)]
enum Theirs {
    Copies,
    Refuses,
    /// It copies what instar refuses.
    CopiesAlone,
}

const VMDKS: &[Vmdk] = &[
    Vmdk { name: "as it was made", script: "overlay", theirs: Theirs::Copies },
    Vmdk {
        name: "parent written to later",
        script: "overlay; qemu-io -f vmdk -c 'write -P 7 0 512' base.vmdk >/dev/null",
        theirs: Theirs::Refuses,
    },
    Vmdk {
        name: "parent of another CID",
        script: "overlay; set_cid base.vmdk 12345678",
        theirs: Theirs::Refuses,
    },
    Vmdk {
        name: "parent with the CID of no parent",
        script: "overlay; set_cid base.vmdk ffffffff",
        theirs: Theirs::Refuses,
    },
    Vmdk {
        name: "child with the CID of no parent",
        script: "overlay; set_cid in.img ffffffff parent",
        theirs: Theirs::Refuses,
    },
    Vmdk {
        name: "both with the CID of no parent",
        script: "overlay; set_cid base.vmdk ffffffff; set_cid in.img ffffffff parent",
        theirs: Theirs::Copies,
    },
    Vmdk {
        name: "another parent that is not needed",
        script: "overlay; qemu-io -f vmdk -c 'write -P 7 0 70144' in.img >/dev/null; set_cid base.vmdk 12345678",
        theirs: Theirs::CopiesAlone,
    },
    Vmdk { name: "raw parent", script: "overlay; mv base.raw base.vmdk", theirs: Theirs::Refuses },
];

/// A parent, and commands. Its CID must be as long as those that may replace it, and is random.
const VMDK_PRELUDE: &str = r#"
overlay() { qemu-img create -q -f vmdk -b base.vmdk -F vmdk in.img; }
# IMAGE CID [parent]: gives the descriptor another CID, or another CID of its parent.
set_cid() { LC_ALL=C sed -i "s/^${3}CID=......../${3}CID=$2/" $1; }
until grep -aqs '^CID=[0-9a-f]\{8\}$' base.vmdk; do qemu-img convert -f raw -O vmdk base.raw base.vmdk; done
"#;

#[test]
fn a_vmdk_knows_its_parent_by_its_cid() {
    let Some(qemu) = Qemu::require() else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    assert_all(VMDKS, |case| {
        let lay_out = |dir: &Path| {
            Disk::solid("base", 70_144).write(&dir.join("base.raw"))?;
            Qemu::script(dir, &format!("{VMDK_PRELUDE}\n{}", case.script), &[])
        };
        let args = ["if=in.img", "of=out.img", "bs=65536"];
        let theirs = scene::outcome(qemu.img(), &args, lay_out);
        let ours = scene::outcome(&instar, &args, lay_out);
        let mut found = Vec::new();
        if (theirs.exit == Exit::Code(0)) == (case.theirs == Theirs::Refuses) {
            found.push(format!("qemu-img: {theirs:?}"));
        }
        let expected = if case.theirs == Theirs::Copies { theirs } else { Outcome::refusal() };
        found.extend(ours.differences_from(&expected));
        found
    });
}

/// A case, and which format's images it is about.
struct Case<'c, C>(Format, &'c C);

fn for_both_formats<C>(cases: &[C]) -> Vec<Case<'_, C>> {
    cases.iter().flat_map(|case| Format::ALL.map(|format| Case(format, case))).collect()
}

/// `instar dd` with the image in a directory that `lay_out` has filled.
fn dd(options: &[&str], lay_out: impl Fn(&Path) -> io::Result<()>) -> (Outcome, Run) {
    let args = [options, &["if=images/in.img", "of=out.img"]].concat();
    scene::run(&Tool::named(env!("CARGO_BIN_EXE_instar")), &args, View::Bytes, |dir| {
        fs::create_dir(dir.join("images"))?;
        lay_out(&dir.join("images"))
    })
}

fn differences_from_refusal(outcome: &Outcome, run: &Run, because: &str) -> Vec<String> {
    let mut found = outcome.differences_from(&Outcome::refusal());
    if !run.stderr.contains(because) {
        found.push(format!("the message does not say {because:?}: {}", run.stderr));
    }
    found
}

fn utf16(text: &str) -> Option<Vec<u16>> {
    Some(text.encode_utf16().collect())
}

impl Case<'_, Naming> {
    fn middles_parent(&self) -> Parent {
        let Self(_, naming) = self;
        let path = |path: Option<&str>| path.and_then(utf16);
        Parent { relative: path(naming.relative), absolute: path(naming.absolute), ..Parent::default() }
    }
}

impl fmt::Display for Case<'_, Naming> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(format, naming) = self;
        write!(f, "{}: {:?}, {:?}", format.name(), naming.relative, naming.absolute)
    }
}

impl fmt::Display for Case<'_, Refusal> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name(), self.1.name)
    }
}

impl fmt::Display for Vmdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
