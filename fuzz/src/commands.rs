//! What any command must do, whatever its request and the images.

use core::fmt::Debug;

use fmt_core::testing::SparseFile;
use fmt_core::{FileId, Format, ReadAt, round_up_to_sector};
use guest_abi::dd::{FORMAT_NAME_LEN, NO_COUNT, OUTPUT, Request};
use guest_abi::identity::{Identity, NAME_LEN};
use guest_ops::testing::{Input, MemoryHost};
use guest_ops::{Failure, dd};

use crate::files::is_named;

/// How much hosts do for a command, in bytes: images may claim disks of any size.
pub const BUDGET: u64 = 8 << 20;

/// How much they do to read what a command has written, which may be a little more.
const READING_BUDGET: u64 = 4 * BUDGET;

/// The formats that are written.
pub const WRITABLE: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx];

/// What new images are called.
pub const IDENTITY: Identity = Identity { uuid: [7; 16], unix_time: 1_700_000_000, name: [b'x'; NAME_LEN] };

/// What has become of a command.
#[derive(Debug)]
pub struct Done<R> {
    /// Its host, with the output.
    pub host: MemoryHost,
    /// What it has said.
    pub outcome: Result<R, Failure>,
}

/// Carries out a command on two hosts, which `host` makes; its output is the file of that number. `None` if it wants more
/// than a host does, and was broken off.
///
/// It must take the same steps both times; and none if it is refused, unless an input turns out broken halfway.
pub fn carry_out<R: Debug + PartialEq>(
    output: FileId,
    host: impl Fn() -> MemoryHost,
    run: impl Fn(&MemoryHost) -> Result<R, Failure>,
) -> Option<Done<R>> {
    let (host, other) = (host(), host());
    let outcome = run(&host);
    assert_eq!(outcome, run(&other), "it depends on nothing but its input");
    assert!(host.has_steps_of(&other), "nor do its steps");
    if host.is_exhausted() {
        return None;
    }
    if let Err(Failure::BadRequest(_)) = outcome {
        assert_eq!(host.step_count(), 0, "{outcome:?} comes too late");
    }
    if let Err(Failure::Image { file, .. }) = outcome {
        assert!(file != output || host.step_count() == 0, "{outcome:?} comes too late");
    }
    Some(Done { host, outcome })
}

/// What `dd` is to copy as a whole, from one format to another.
fn whole(input_format: [u8; FORMAT_NAME_LEN], output_format: [u8; FORMAT_NAME_LEN]) -> Request {
    Request { input_format, output_format, block_size: 512, count: NO_COUNT, skip: 0, identity: IDENTITY }
}

/// The name of `format`, as requests have it.
#[must_use]
pub fn padded(format: Format) -> [u8; FORMAT_NAME_LEN] {
    let mut name = [0; FORMAT_NAME_LEN];
    name[..format.name().len()].copy_from_slice(format.name().as_bytes());
    name
}

/// Checks that `image`, of that format, shows `disk`; `named` are the files that it names. VHD has not every size: there,
/// zeros may follow.
///
/// How much the writer of an image does does not bound what its reader does; so it may be broken off.
pub fn check_disk(
    image: SparseFile,
    format: [u8; FORMAT_NAME_LEN],
    named: Vec<(Vec<u8>, Input)>,
    disk: &SparseFile,
) {
    let host = MemoryHost::new().with_input(Input::from(image)).with_output(u64::MAX);
    let host = named.into_iter().fold(host, |host, (name, input)| host.with_named(name, input));
    let host = host.with_budget(READING_BUDGET);
    let outcome = dd::run(&host, &whole(format, padded(Format::Raw)));
    if host.is_exhausted() {
        return;
    }
    outcome.expect("what was written can be read");
    let found = host.output(FileId(OUTPUT)).expect("it has a length");
    let len = round_up_to_sector(disk.file_len()).expect("it was written");
    let is_vhd = is_named(&format, Format::Vpc);
    assert!(
        found.file_len() == len || (is_vhd && found.file_len() > len),
        "{} for {len} bytes",
        found.file_len()
    );
    assert_eq!(found.first_difference(disk), None, "the disk is what was written");
}
