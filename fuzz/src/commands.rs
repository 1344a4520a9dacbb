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

/// Carries out a command on two hosts, which `host` makes. If it wants more than a host does, it has been broken off.
///
/// It must take the same steps both times; and none if the request makes no sense.
pub fn carry_out<R: Debug + PartialEq>(
    host: impl Fn() -> MemoryHost,
    run: impl Fn(&MemoryHost) -> Result<R, Failure>,
) -> Done<R> {
    let (host, other) = (host(), host());
    let outcome = run(&host);
    assert_eq!(outcome, run(&other), "it depends on nothing but its input");
    assert!(host.has_steps_of(&other), "nor do its steps");
    if let Err(Failure::BadRequest(_)) = outcome {
        assert_eq!(host.step_count(), 0, "{outcome:?} comes too late");
    }
    Done { host, outcome }
}

impl<R: Debug> Done<R> {
    /// The same, unless it was broken off.
    #[must_use]
    pub fn if_ended(self) -> Option<Self> {
        if self.host.is_exhausted() { None } else { Some(self) }
    }

    /// Checks that nothing was wrong with the `output` once there had been a step.
    pub fn check_output(&self, output: FileId) {
        if let Err(Failure::Image { file, .. }) = self.outcome {
            assert!(file != output || self.host.step_count() == 0, "{:?} comes too late", self.outcome);
        }
    }
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

/// A file, and by what name an image has it.
pub type Named = (Vec<u8>, SparseFile);

/// What backing files hold: it shows where it should not.
#[must_use]
pub fn rubbish() -> SparseFile {
    SparseFile::from([0x55; 70_000].as_slice())
}

/// Reads the disk of `image`, of that format, to the output; `named` are the files that it names. `None` if that takes too
/// much: how much the writer of an image does does not bound what its reader does.
#[must_use]
pub fn read_disk(
    image: SparseFile,
    format: [u8; FORMAT_NAME_LEN],
    named: Vec<Named>,
) -> Option<Done<guest_abi::dd::Report>> {
    let host = MemoryHost::new().with_input(Input::from(image)).with_output(u64::MAX);
    let host = named.into_iter().fold(host, |host, (name, file)| host.with_named(name, Input::from(file)));
    let host = host.with_budget(READING_BUDGET);
    let outcome = dd::run(&host, &whole(format, padded(Format::Raw)));
    Done { host, outcome }.if_ended()
}

/// Checks that `image`, of that format, shows `disk`; `named` are the files that it names. VHD has not every size: there,
/// zeros may follow.
pub fn check_disk(image: SparseFile, format: [u8; FORMAT_NAME_LEN], named: Vec<Named>, disk: &SparseFile) {
    let Some(Done { host, outcome }) = read_disk(image, format, named) else { return };
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
