//! Outputs of `instar convert` that are several files, beside those of the installed `qemu-img convert`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use testkit::cases::assert_all;
use testkit::disk::{Disk, GIB, KIB, MIB};
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Run, Tool, with_own_mounts};

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

/// The subformats of VMDK that are several files.
const DIVIDED: &[&str] = &["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"];

/// How an output may be called: with another extension than usual, with none, with several, with nothing but one; where
/// there is something like it already; and elsewhere.
const NAMES: &[&str] = &[
    "out.vmdk",
    "out.VMDK",
    "out",
    "out.img",
    "a.b.vmdk",
    ".vmdk",
    "old.vmdk",
    "odd ä'name.vmdk",
    "sub/out.vmdk",
    "sub/../out.vmdk",
    "./out.d/out",
];

/// A directory with a disk in two formats, and the tools.
struct Scene {
    dir: TempDir,
    qemu: Qemu,
}

impl Scene {
    /// `None` where QEMU is not installed.
    fn set(disk: &Disk) -> Option<Self> {
        let scene = Self { dir: scene::temporary_dir().expect("a directory"), qemu: Qemu::require()? };
        disk.write(&scene.path("in.raw")).expect("a disk");
        scene.script("qemu-img convert -f raw -O qcow2 in.raw in.qcow2; mkdir sub out.d");
        // Longer than anything that is made.
        let old = "for n in '' -flat -f001 -s001 -s002; do
            head -c 5000 /dev/urandom >old$n.vmdk; truncate -s 9M old$n.vmdk
        done";
        scene.script(old);
        Some(scene)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A shell script that succeeds.
    fn script(&self, script: &str) {
        Qemu::script(self.dir.path(), script, &[]).unwrap_or_else(|error| panic!("{script}: {error}"));
    }

    fn run(&self, tool: &Tool, words: &[&str]) -> Run {
        tool.run(self.dir.path(), words).expect("the tool starts")
    }

    /// A copy of it.
    fn copy(&self) -> Self {
        let dir = scene::temporary_dir().expect("a directory");
        Qemu::script(self.dir.path(), "cp -a . \"$1\"", &[dir.path()]).expect("a copy");
        Self { dir, qemu: Qemu::require().expect("it was there") }
    }

    /// What each file has in it, for those that are not inputs. The identity of a disk is another each time.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.dir.path(), "", &mut files);
        files.retain(|name, _| !name.starts_with("in."));
        files
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("the directory can be listed") {
        let entry = entry.expect("as can its entries");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else if entry.path().is_file() {
            files.insert(name, fs::read(entry.path()).expect("it can be read"));
        }
    }
}

/// 7 MiB and a sector, which is no round number of anything.
fn small_disk() -> Disk {
    let size = 7 * MIB + 512;
    Disk::hole(size).with(100, "head", 70_000).with(4 * MIB - 1, "middle", 200_000).with(
        size - 999,
        "tail",
        999,
    )
}

/// A descriptor without what differs from one image to the next. In QEMU's, zeros follow, and behind them there may be a rest of
/// one that was longer.
fn without_identity(descriptor: &[u8]) -> String {
    let text = descriptor.split(|&byte| byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("CID=")).collect::<Vec<_>>().join("\n")
}

/// What is wrong with what instar made, beside what `qemu-img` made.
fn differences(ours: &Scene, theirs: &Scene) -> Vec<String> {
    let (our_files, their_files) = (ours.files(), theirs.files());
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    if names(&our_files) != names(&their_files) {
        return vec![format!("{:?} instead of {:?}", names(&our_files), names(&their_files))];
    }
    let mut found = Vec::new();
    for (name, content) in our_files {
        let expected = &their_files[&name];
        let is_descriptor = expected.starts_with(b"# Disk DescriptorFile");
        let alike = if is_descriptor {
            without_identity(&content) == without_identity(expected)
        } else {
            // Grains may lie elsewhere: `qemu-img compare` tells of those.
            content == *expected || expected.starts_with(b"KDMV") && content.starts_with(b"KDMV")
        };
        if !alike {
            found.push(format!("{name} is another"));
        }
    }
    found
}

/// What `qemu-img` finds wrong with the image `name`, which is to hold the disk in "in.raw".
fn complaints(scene: &Scene, format: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |words: &[&str], codes: &[i32]| {
        let run = scene.run(scene.qemu.img(), words);
        if !codes.iter().any(|&code| run.exit == Exit::Code(code)) {
            found.push(format!("qemu-img {}: {:?} {}{}", words.join(" "), run.exit, run.stdout, run.stderr));
        }
    };
    expect(&["compare", "-f", format, "-F", "raw", name, "in.raw"], &[0]);
    // 63: there is nothing in a flat disk that could be checked.
    expect(&["check", "-f", format, name], &[0, 63]);
    found
}

#[test]
fn a_divided_vmdk_has_the_files_that_qemu_img_makes() {
    let Some(scene) = Scene::set(&small_disk()) else { return };
    let names = NAMES.iter().map(|name| (DIVIDED[2], *name, ""));
    let options = ["", ",adapter_type=lsilogic", ",compat6", ",hwversion=9,toolsversion=7"];
    let options = DIVIDED.iter().flat_map(|&subformat| options.map(|more| (subformat, "old.vmdk", more)));
    let marked = [(DIVIDED[1], "out.vmdk", ",zeroed_grain=on")];
    let sparse = NAMES.iter().map(|name| (DIVIDED[1], *name, ""));
    let flat = NAMES.iter().map(|name| (DIVIDED[0], *name, ""));
    let cases: Vec<_> = names.chain(options).chain(marked).chain(sparse).chain(flat).enumerate().collect();
    let shown: Vec<_> = cases
        .iter()
        .map(|(number, (subformat, name, more))| Case {
            input: if number % 2 == 0 { "in.raw" } else { "in.qcow2" },
            options: format!("subformat={subformat}{more}"),
            name,
        })
        .collect();
    assert_all(&shown, |case| {
        let (ours, theirs) = (scene.copy(), scene.copy());
        let words = ["convert", "-O", "vmdk", "-o", &case.options, case.input, case.name];
        let run = theirs.run(theirs.qemu.img(), &words);
        if run.exit != Exit::Code(0) {
            return vec![format!("qemu-img fails, so nothing was compared: {}", run.stderr)];
        }
        let run = ours.run(&Tool::named(INSTAR), &words);
        if run.exit != Exit::Code(0) || !run.stderr.is_empty() {
            return vec![format!("{:?}: {}", run.exit, run.stderr)];
        }
        [differences(&ours, &theirs), complaints(&ours, "vmdk", case.name)].concat()
    });
}

struct Case<'a> {
    input: &'a str,
    options: String,
    name: &'a str,
}

impl core::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "convert -O vmdk -o {} {} {}", self.options, self.input, self.name)
    }
}

#[test]
fn a_disk_of_gigabytes_is_cut_every_two() {
    let size = 4 * GIB + MIB + 512;
    let disk = Disk::hole(size)
        .with(0, "first", 100 * KIB)
        .with(2 * GIB - 70_000, "border", 140_000)
        .with(4 * GIB - 512, "last", 513)
        .with(size - 5, "tail", 5);
    let Some(scene) = Scene::set(&disk) else { return };
    for (subformat, letter) in [("twoGbMaxExtentSparse", 's'), ("twoGbMaxExtentFlat", 'f')] {
        let out = format!("{letter}.vmdk");
        let run = scene.run(
            &Tool::named(INSTAR),
            &["convert", "-O", "vmdk", "-o", &format!("subformat={subformat}"), "in.raw", &out],
        );
        assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""), "{subformat}");
        assert_eq!(complaints(&scene, "vmdk", &out), [""; 0], "{subformat}");
        let lens: Vec<_> = (1..5)
            .map(|number| scene.path(&format!("{letter}-{letter}00{number}.vmdk")))
            .map(|path| fs::metadata(path).map(|file| file.len()).ok())
            .collect();
        if letter == 'f' {
            assert_eq!(lens, [Some(2 * GIB), Some(2 * GIB), Some(MIB + 512), None]);
        } else {
            assert!(lens[..3].iter().all(|len| len.is_some_and(|len| len < 2 * MIB)), "{lens:?}");
            assert_eq!(lens[3], None);
        }
        let back = scene.run(&Tool::named(INSTAR), &["convert", &out, "back.raw"]);
        assert_eq!((back.exit, back.stderr.as_str()), (Exit::Code(0), ""), "{subformat}");
        let compared =
            scene.run(scene.qemu.img(), &["compare", "-f", "raw", "-F", "raw", "back.raw", "in.raw"]);
        assert_eq!(compared.exit, Exit::Code(0), "{subformat}: {}", compared.stdout);
    }
}

/// They are open all at once, which needs more descriptors than the process begins with.
#[test]
fn a_large_disk_is_hundreds_of_files() {
    let Some(scene) = Scene::set(&Disk::hole(512)) else { return };
    scene.script("truncate -s 400G in.raw; printf x | dd of=in.raw bs=1G seek=399 conv=notrunc status=none");
    let script = format!(
        "(ulimit -S -n 100; {INSTAR} convert -O vmdk -o subformat=twoGbMaxExtentSparse in.raw out.vmdk)
        test $(ls out-s*.vmdk | wc -l) = 200; test -e out-s200.vmdk
        qemu-img map -f vmdk out.vmdk | tail -1 | grep -q out-s200.vmdk"
    );
    scene.script(&script);
}

/// How often something is refused, what is said, and what must be there then.
#[test]
fn what_cannot_be_made_is_refused_before_anything_is_touched() {
    let Some(scene) = Scene::set(&small_disk()) else { return };
    scene.script("mkdir a-s001.vmdk; ln in.raw b-flat.vmdk; mkfifo c-f001.vmdk; ln -s in.raw d-s001.vmdk");
    scene.script("echo old >a.vmdk; cp a.vmdk b.vmdk; cp a.vmdk c.vmdk; cp a.vmdk d.vmdk");
    let before = scene.files().len();
    for (options, words) in [
        ("-o subformat=twoGbMaxExtentSparse in.raw a.vmdk", "creating 'a-s001.vmdk': it is a directory"),
        (
            "-o subformat=monolithicFlat in.raw b.vmdk",
            "creating 'b-flat.vmdk': it is the same file as 'in.raw'",
        ),
        ("-o subformat=twoGbMaxExtentFlat in.raw c.vmdk", "creating 'c-f001.vmdk': it is a FIFO"),
        ("-o subformat=twoGbMaxExtentSparse in.raw d.vmdk", "creating 'd-s001.vmdk': it is a symbolic link"),
        ("-o subformat=monolithicFlat --max-output 7M in.raw a.vmdk", "no output may have more than 7340032"),
        ("-c -o subformat=monolithicFlat in.raw a.vmdk", "-c without -o subformat=streamOptimized"),
    ] {
        let words_of = |options: &str| {
            format!("convert -O vmdk {options}").split(' ').map(String::from).collect::<Vec<_>>()
        };
        let run = Tool::named(INSTAR).run(scene.dir.path(), words_of(options)).expect("instar starts");
        assert_eq!(run.exit, Exit::Code(1), "{options}");
        assert!(
            run.stderr.contains(words) && !run.stderr.contains("incomplete"),
            "{options}: {}",
            run.stderr
        );
        for name in ["a", "b", "c", "d"] {
            assert_eq!(
                fs::read(scene.path(&format!("{name}.vmdk"))).expect("it is there"),
                b"old\n",
                "{options}"
            );
        }
    }
    assert_eq!(scene.files().len(), before);
    assert_eq!(scene::content_of(&scene.path("in.raw")).expect("it is there"), small_disk().content());
}

#[test]
fn a_process_that_may_have_few_files_says_so_before_it_begins() {
    let Some(scene) = Scene::set(&Disk::hole(600 * GIB)) else { return };
    let script = format!(
        "ulimit -n 300; ! {INSTAR} convert -O vmdk -o subformat=twoGbMaxExtentFlat in.raw out.vmdk 2>said
        cat said; grep -q \"creating 'out-f[0-9]*.vmdk': this process may have 300 files open\" said
        ! test -e out.vmdk; ! test -e out-f001.vmdk"
    );
    scene.script(&script);
}

#[test]
fn a_full_disk_leaves_files_that_are_called_incomplete() {
    let Some(scene) = Scene::set(&Disk::solid("disk", 7 * MIB)) else { return };
    for (subformat, file) in [("monolithicFlat", "out-flat.vmdk"), ("twoGbMaxExtentSparse", "out-s001.vmdk")]
    {
        let script = "mount -t tmpfs -o size=2M none sub
            \"$1\" convert -O vmdk -o subformat=$2 in.raw sub/out.vmdk || code=$?; test -e sub/$3; exit $code";
        let Some(run) = with_own_mounts(scene.dir.path(), script, &[INSTAR, subformat, file]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
        for words in [
            &format!("writing 'sub/{file}' at byte "),
            "No space left on device",
            "'sub/out.vmdk' is incomplete",
        ] {
            assert!(run.stderr.contains(words), "{subformat}: {}", run.stderr);
        }
        assert!(run.stderr.contains(&format!("'sub/{file}' is incomplete")), "{}", run.stderr);
    }
}

#[test]
fn a_qcow2_with_a_data_file_is_the_one_that_qemu_img_makes() {
    let Some(scene) = Scene::set(&small_disk()) else { return };
    let absolute = scene.path("data.raw");
    let absolute = absolute.to_str().expect("a plain name");
    let cases = [
        ("data_file=data.raw", "data.raw"),
        ("data_file=data.raw,data_file_raw=on", "data.raw"),
        ("data_file=data.raw,data_file_raw=off,cluster_size=4k", "data.raw"),
        ("data_file=data.raw,data_file_raw,extended_l2=on", "data.raw"),
        ("data_file=data.raw,preallocation=metadata", "data.raw"),
        ("data_file=data.raw,preallocation=falloc", "data.raw"),
        ("data_file=data.raw,preallocation=full", "data.raw"),
        ("data_file=old.vmdk", "old.vmdk"),
        ("data_file=old.vmdk,data_file_raw=on", "old.vmdk"),
        ("data_file=sub/data,,file", "sub/data,file"),
        ("data_file=file:data.raw", "data.raw"),
        (&format!("data_file={absolute},data_file_raw=on"), "data.raw"),
    ];
    for (options, data) in cases {
        for input in ["in.raw", "in.qcow2"] {
            let words = ["convert", "-O", "qcow2", "-o", options, input, "out.qcow2"];
            let made = |tool: &Tool| {
                let run = scene.run(tool, &words);
                assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""), "{options}");
                let info = scene.run(scene.qemu.img(), &["info", "out.qcow2"]).stdout;
                // How much room they take is not said here, nor how long the file is.
                let about = info.split("Child node").next().unwrap_or_default();
                let info: Vec<_> =
                    about.lines().filter(|line| !line.starts_with("disk size")).map(String::from).collect();
                let mut bytes = fs::read(scene.path(data)).expect("it is there");
                // QEMU's may go on to the end of a cluster, with zeros.
                let end =
                    bytes.split_off(bytes.len().min(small_disk().size().try_into().expect("a small disk")));
                assert!(end.iter().all(|&byte| byte == 0), "{options}");
                (info, bytes)
            };
            let theirs = made(scene.qemu.img());
            let ours = made(&Tool::named(INSTAR));
            assert_eq!(ours.0, theirs.0, "{options}");
            assert!(ours.1 == theirs.1, "{options}: the data file is another");
            assert_eq!(complaints(&scene, "qcow2", "out.qcow2"), [""; 0], "{options}");
            let back = scene.run(&Tool::named(INSTAR), &["convert", "out.qcow2", "back.raw"]);
            assert_eq!((back.exit, back.stderr.as_str()), (Exit::Code(0), ""), "{options}");
            assert_eq!(
                scene::content_of(&scene.path("back.raw")).expect("it is there"),
                small_disk().content()
            );
        }
    }
}

#[test]
fn a_data_file_that_cannot_be_one_is_refused() {
    let Some(scene) = Scene::set(&small_disk()) else { return };
    for (options, words) in [
        ("-o data_file=in.raw in.raw out", "creating 'in.raw': it is the same file as 'in.raw'"),
        ("-o data_file=sub in.raw out", "creating 'sub': it is a directory"),
        ("-o data_file=nowhere/data in.raw out", "creating 'nowhere/data': No such file or directory"),
        ("-o data_file= in.raw out", "creating '': the name is empty"),
        ("-o data_file=nbd:x in.raw out", "unknown protocol 'nbd'"),
        ("-o data_file=file:nbd:x in.raw out", "unknown protocol 'nbd'"),
        ("-o data_file_raw=on in.raw out", "data_file_raw without data_file"),
        ("-c -o data_file=data in.raw out", "-c with data_file"),
        ("-o data_file=data in.raw sub/out", "data_file with a relative name"),
        ("-o data_file=data,compat=0.10 in.raw out", "an external data file with compat=0.10"),
        (
            "-o data_file=data,data_file_raw=on -B in.raw -F raw in.raw out",
            "a backing file with a raw external",
        ),
        ("--max-output 7M -o data_file=data in.raw out", "no output may have more than 7340032"),
    ] {
        let words_of = format!("convert -O qcow2 {options}");
        let run = Tool::named(INSTAR).run(scene.dir.path(), words_of.split(' ')).expect("instar starts");
        assert_eq!(run.exit, Exit::Code(1), "{options}");
        assert!(
            run.stderr.contains(words) && !run.stderr.contains("incomplete"),
            "{options}: {}",
            run.stderr
        );
        for name in ["out", "data", "sub/out", "sub/data"] {
            assert!(!scene.path(name).exists(), "{options}");
        }
    }
    assert_eq!(scene::content_of(&scene.path("in.raw")).expect("it is there"), small_disk().content());
}
