//! How much room the outputs of `convert` ask for, and may take.

use std::fs;
use std::path::Path;

use testkit::device::Device;
use testkit::disk::{Disk, MIB};
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::{Run, Tool};

const INSTAR: &str = env!("CARGO_BIN_EXE_instar");

fn instar(dir: &Path, words: &str) -> Run {
    Tool::named(INSTAR).run(dir, words.split_whitespace()).expect("instar starts")
}

#[track_caller]
fn works(run: &Run) {
    assert_eq!((run.exit, run.stderr.as_str()), (Exit::Code(0), ""));
}

/// Files that grow as they are written ask for more than they need, but not for more than they may have.
#[test]
fn an_output_may_be_as_large_as_it_becomes() {
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(40 * MIB).with(0, "data", 9 * MIB).write(&dir.path().join("in")).expect("a disk");
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx"] {
        works(&instar(dir.path(), &format!("convert -O {format} in out")));
        let len = || fs::metadata(dir.path().join("out")).expect("an output").len();
        let needed = len();
        works(&instar(dir.path(), &format!("convert --max-output {needed} -O {format} in out")));
        assert_eq!(len(), needed, "{format}");
        let refused = instar(dir.path(), &format!("convert --max-output {} -O {format} in out", needed - 1));
        assert_eq!(refused.exit, Exit::Code(1), "{format}");
        let said = format!("it would have {needed} bytes, and no output may have more than {}", needed - 1);
        assert!(refused.stderr.contains(&said), "{format}: {}", refused.stderr);
    }
}

#[test]
fn a_device_need_not_be_longer_than_the_output() {
    let Some(qemu) = Qemu::require() else { return };
    let dir = scene::temporary_dir().expect("a directory");
    Disk::hole(40 * MIB).with(0, "data", 9 * MIB).write(&dir.path().join("in")).expect("a disk");
    works(&instar(dir.path(), "convert -O qcow2 in out"));
    let len = fs::metadata(dir.path().join("out")).expect("an output").len();
    let bytes = vec![0xee; usize::try_from(len).expect("it fits in memory")];
    let Some(device) = Device::new(&bytes) else { return };
    let device = device.path().display();
    works(&instar(dir.path(), &format!("convert -O qcow2 in {device}")));
    let compare = format!("compare -q -f raw -F qcow2 in {device}");
    works(&qemu.img().run(dir.path(), compare.split_whitespace()).expect("qemu-img starts"));
}
