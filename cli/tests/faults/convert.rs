//! Conversions that cannot come to a good end, and those that make the best of it.

use core::ops::Range;
use std::fs;
use std::os::unix::fs::FileExt;

use testkit::disk::{Disk, KIB, MIB};
use testkit::outcome::{Content, Exit};
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Tool, with_own_mounts};

use crate::room::SMALL;
use crate::shim::Shim;
use crate::{INSTAR, Scene};

const EIO: i32 = 5;

/// What is made of the disk: every format, and what is compressed.
const OUTPUTS: [&str; 8] = [
    "-O raw",
    "-O qcow2",
    "-O qcow2 -c",
    "-O vmdk",
    "-O vmdk -o subformat=streamOptimized",
    "-O vpc",
    "-O vhdx",
    "-O vhdx -o subformat=fixed",
];

/// More calls than a conversion of such a disk makes.
const ENOUGH: usize = 1000;

/// Bytes that cannot be read, and those that are lost with them: sectors.
const LOST: [(Range<u64>, Range<u64>); 4] = [
    (0..1, 0..512),
    (MIB + 1536..MIB + 2560, MIB + 1536..MIB + 2560),
    (2 * MIB - 1..2 * MIB + 1, 2 * MIB - 512..2 * MIB + 512),
    (3 * MIB - 100_000..3 * MIB, 3 * MIB - 100_352..3 * MIB),
];

/// All of it data: nothing is left unread because it is a hole.
fn full_scene() -> Scene {
    Scene::with(Disk::solid("disk", 3 * MIB))
}

/// The disk of the scene with zeros for these bytes.
fn disk_without(scene: &Scene, lost: &Range<u64>) -> Content {
    let mut bytes = fs::read(scene.file("disk.raw")).expect("the input");
    let [start, end] = [lost.start, lost.end].map(|at| usize::try_from(at).expect("a small disk"));
    bytes[start..end].fill(0);
    Content::of(&bytes)
}

#[test]
fn what_cannot_be_read_is_salvaged_as_zeros() {
    let Some(qemu) = Qemu::require() else { return };
    let (shim, scene) = (Shim::build(), full_scene());
    for (options, (unreadable, lost)) in
        OUTPUTS.iter().flat_map(|output| LOST.iter().map(move |lost| (output, lost)))
    {
        scene.forget_output();
        let convert = format!("convert --salvage -f raw {options} disk.raw out");
        let run = scene.run(&shim.instar_not_reading(unreadable), &convert);
        let warning = format!(
            "instar: warning: {} bytes could not be read: they are zeros in the output\n",
            lost.end - lost.start
        );
        assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), warning.as_str()), "{options} {lost:?}");

        let format = options.split_whitespace().nth(1).expect("a format");
        // Other formats round the size up.
        let back = format!("convert -f {format} out back");
        assert_eq!(scene.run(qemu.img(), &back).exit, Exit::Code(0));
        let file = fs::File::options().write(true).open(scene.file("back")).expect("a disk");
        file.set_len(3 * MIB).expect("it can be shortened");
        let found = scene::content_of(&scene.file("back")).expect("a disk");
        assert_eq!(found, disk_without(&scene, lost), "{options} {lost:?}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_where_nothing_is_salvaged() {
    let (shim, scene) = (Shim::build(), full_scene());
    for (options, (unreadable, _)) in
        OUTPUTS.iter().flat_map(|output| LOST.iter().map(move |lost| (output, lost)))
    {
        scene.forget_output();
        let convert = format!("convert -f raw {options} disk.raw out");
        let run = scene.run(&shim.instar_not_reading(unreadable), &convert);
        scene.assert_failed(&run, &["reading 'disk.raw' at byte ", "I/O error"]);
    }
}

/// The first cluster of an image that qemu-img has just compressed, in its file: it cannot be read, or is something else.
#[test]
fn what_cannot_be_decompressed_is_salvaged_as_zeros() {
    let Some(qemu) = Qemu::require() else { return };
    let shim = Shim::build();
    let scene = Scene::with(Disk::hole(MIB).with(0, "first", 1000).with(300 * KIB, "second", 1000));
    let first = 5 * 65536;
    Qemu::script(scene.path(), "qemu-img convert -c -O qcow2 disk.raw disk.qcow2", &[]).expect("an image");
    let salvage = |tool: &Tool, output: &str| {
        let run = scene.run(tool, &format!("convert --salvage -f qcow2 {output}"));
        assert_eq!(run.exit, Exit::Code(0), "{output}: {}", run.stderr);
        run.stderr
    };
    let warning = "instar: warning: 65536 bytes could not be read: they are zeros in the output\n";
    let expected = disk_without(&scene, &(0..65536));

    assert_eq!(salvage(&shim.instar_not_reading(&(first..first + 1)), "disk.qcow2 out"), warning);
    assert_eq!(scene::content_of(&scene.file("out")).expect("a disk"), expected);

    let image = fs::File::options().write(true).open(scene.file("disk.qcow2")).expect("the image");
    image.write_all_at(&[0xff; 10], first).expect("it can be written");
    salvage(qemu.img(), "disk.qcow2 theirs");
    for output in ["disk.qcow2 out", "-O qcow2 disk.qcow2 again", "-O qcow2 -c disk.qcow2 again"] {
        assert_eq!(salvage(&Tool::named(INSTAR), output), warning, "{output}");
        if output.contains("again") {
            assert_eq!(scene.run(qemu.img(), "convert -f qcow2 again out").exit, Exit::Code(0));
        }
        for name in ["theirs", "out"] {
            assert_eq!(scene::content_of(&scene.file(name)).expect("a disk"), expected, "{output}: {name}");
        }
    }
    let run = scene.run(&Tool::named(INSTAR), "convert -f qcow2 disk.qcow2 out");
    scene.assert_failed(&run, &["'disk.qcow2' is corrupt at byte 327680", "cannot be decompressed"]);
}

/// Without its tables there is no disk that something could be salvaged of.
#[test]
fn an_image_whose_tables_cannot_be_read_is_not_salvaged() {
    let Some(_) = Qemu::require() else { return };
    let (shim, scene) = (Shim::build(), full_scene());
    Qemu::script(scene.path(), "qemu-img convert -O qcow2 disk.raw disk.qcow2", &[]).expect("an image");
    // The header, the L1 table and the L2 table of an image that qemu-img has just made.
    for table in [0..8, 196_608..196_616, 262_144..262_152] {
        scene.forget_output();
        let run = scene.run(&shim.instar_not_reading(&table), "convert --salvage -f qcow2 disk.qcow2 out");
        scene.assert_failed(&run, &["disk.qcow2", "I/O error"]);
    }
}

#[test]
fn an_error_of_the_medium_ends_the_conversion_whichever_call_it_meets() {
    let disk = Disk::hole(600 * KIB).with(0, "first", 100 * KIB).with(400 * KIB, "last", 200 * KIB);
    let (shim, scene) = (Shim::build(), Scene::with(disk));
    for (options, call) in
        ["-O raw", "-O qcow2 -t none", "-O qcow2 -c -t none", "-O vmdk -o subformat=streamOptimized"]
            .into_iter()
            .flat_map(|options| ["pread64", "pwrite64", "ftruncate64"].map(|call| (options, call)))
    {
        let convert = format!("convert {options} disk.raw out");
        let failed = (1..ENOUGH).take_while(|&at| {
            scene.forget_output();
            let run = scene.run(&shim.instar(call, at, EIO), &convert);
            if run.exit == Exit::Code(0) {
                return false;
            }
            // What is compressed goes through a file of instar's own.
            let stage = run.stderr.contains("the staging area");
            let file = if call == "pread64" { "disk.raw" } else { "'out'" };
            scene.assert_failed(&run, &["I/O error", if stage { "the staging area" } else { file }]);
            true
        });
        let failed = failed.count();
        assert!((1..ENOUGH - 1).contains(&failed), "{call}, {options}: {failed} calls failed");
    }
}

/// Outputs all blocks of which are there from the beginning.
const RESERVED: [&str; 3] = ["-S 0", "-o preallocation=falloc", "-o preallocation=full"];

#[test]
fn a_file_system_that_becomes_full() {
    let scene = full_scene();
    for dir in ["small", "lower", "top"] {
        fs::create_dir(scene.file(dir)).expect("a directory");
    }
    // What is on top of another may compress: nobody can know before that there is no room.
    let on_top = "mkdir small/upper small/work
        mount -t overlay -o lowerdir=lower,upperdir=small/upper,workdir=small/work none top";
    for (mount, options) in SMALL.into_iter().flat_map(|mount| OUTPUTS.map(|options| (mount, options))) {
        let script = format!(
            "{mount}; {on_top}
            \"$1\" convert {options} disk.raw top/out || code=$?; test -e top/out; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{options}: {}", run.stderr);
        for words in
            ["instar: writing 'top/out' at byte ", "No space left on device", "'top/out' is incomplete"]
        {
            assert!(run.stderr.contains(words), "{options}: {}", run.stderr);
        }
        assert!(scene.has_disk("disk.raw"));
    }
}

/// What is to have all its blocks is not even begun.
#[test]
fn a_file_system_that_is_too_small() {
    let scene = full_scene();
    fs::create_dir(scene.file("small")).expect("a directory");
    for (mount, options) in SMALL.into_iter().flat_map(|mount| RESERVED.map(|options| (mount, options))) {
        let script = format!(
            "{mount}; echo old >small/old
            \"$1\" convert {options} disk.raw small/old || true; test \"$(cat small/old)\" = old || exit 2
            \"$1\" convert {options} disk.raw small/out || code=$?; ! test -e small/out || exit 2; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        assert_eq!(run.exit, Exit::Code(1), "{options}: {}", run.stderr);
        for words in ["creating 'small/old': it would have ", "creating 'small/out': it would have "] {
            assert!(run.stderr.contains(words), "{options}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("incomplete"), "{options}: {}", run.stderr);
    }
}

/// In memory, one of two workers fills what it has mapped, and must not be ended for a page that there is no room for.
#[test]
fn a_file_system_in_memory_that_becomes_full() {
    let scene = Scene::with(Disk::solid("disk", 72 * MIB));
    fs::create_dir(scene.file("small")).expect("a directory");
    for size in [16, 64, 80] {
        let script = format!(
            "mount -t tmpfs -o size={size}M none small; \"$1\" convert -O qcow2 disk.raw small/out || code=$?
            test -e small/out; exit $code"
        );
        let Some(run) = with_own_mounts(scene.path(), &script, &[INSTAR]) else { return };
        let run = run.expect("a shell");
        if size > 72 {
            assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
            continue;
        }
        assert_eq!(run.exit, Exit::Code(1), "{}", run.stderr);
        for words in
            ["instar: writing 'small/out' at byte ", "No space left on device", "'small/out' is incomplete"]
        {
            assert!(run.stderr.contains(words), "{size} MiB: {}", run.stderr);
        }
    }
}
