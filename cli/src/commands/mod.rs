//! One module per subcommand: its options and operands, its request to the guest, its report to the user.

pub(crate) mod convert;
pub(crate) mod dd;

use core::time::Duration;
use std::path::Path;

use fmt_core::Format;
use guest_abi::dd::FORMAT_NAME_LEN;
use vmm::files::FileKind;
use vmm::{Conduct, FileId, Files, GuestImage, Job, Limits, Sandboxes, confine, shown};
use zerocopy::FromBytes;

use crate::console::Console;
use crate::failure::Failure;

/// The processor time that a guest gets between two doorbells. It needs a hundredth of a millisecond.
const GUEST_TIME: Duration = Duration::from_secs(5);

/// How many operations a guest may ask for, whatever is to be done.
const MAX_OPERATIONS: u64 = 1 << 34;

/// How much more than the disk an output may take, for headers, tables, and what rounding to blocks adds.
const MAX_OVERHEAD: u64 = 1 << 28;

/// One byte of tables for so many of the disk, at most.
const MIN_DISK_PER_TABLE: u64 = 32;

/// How much a guest may read for a byte of the disk, at most: in each image of a chain of 17, twice, a window of 64 KiB
/// for a cluster of 512 bytes.
const MAX_READ_PER_BYTE: u64 = 17 * 2 * 128;

/// How much a guest may read to find out what the disk is: as many VHDX logs, and each may have 4 GiB.
const MAX_READ_AT_FIRST: u64 = 17 << 32;

/// What a guest is to do.
struct Work<'a> {
    /// The guest, an ELF file.
    guest: &'static [u8],
    request: &'a [u8],
    /// How large a disk may become, in bytes.
    disk_len: u64,
    /// How much of the inputs may be looked at for zeros, or compressed, in bytes.
    examined: u64,
    conduct: Conduct,
}

impl Work<'_> {
    /// Has it done, with `files`.
    fn run<R: FromBytes>(
        self,
        files: Files,
        sandboxes: &Sandboxes,
        console: &mut Console,
    ) -> Result<R, Failure> {
        let [image, decoder] = [self.guest, guest_images::DECODE]
            .map(|elf| GuestImage::parse(elf).expect("the guest was built with this program"));
        let job = Job {
            image: &image,
            decoder: &decoder,
            request: self.request,
            sandboxes,
            limits: self.limits(),
            conduct: self.conduct,
            guest_time: GUEST_TIME,
            confine: confine::enter,
            interrupted: console.interrupted(),
        };
        Ok(job.run(files, console)?)
    }

    fn limits(&self) -> Limits {
        let tables = self.disk_len / MIN_DISK_PER_TABLE;
        let output_len = self.disk_len.saturating_add(tables).saturating_add(MAX_OVERHEAD);
        let read = self.disk_len.saturating_mul(MAX_READ_PER_BYTE).saturating_add(MAX_READ_AT_FIRST);
        Limits {
            output_len,
            written: output_len,
            read,
            scanned: self.examined,
            packed: self.examined,
            operations: MAX_OPERATIONS,
        }
    }
}

/// Says so if the input is one of those that read as empty.
fn warn_of_character_device(files: &Files, input: FileId, path: &Path, console: &mut Console) {
    if files.kind(input) == Some(FileKind::CharacterDevice) {
        console.warn(&format!(
            "warning: '{}' is a character device: it has no length, so it reads as empty",
            shown(path)
        ));
    }
}

/// The name of a format as a guest wants it.
fn padded_name(format: Format) -> [u8; FORMAT_NAME_LEN] {
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..format.name().len()].copy_from_slice(format.name().as_bytes());
    padded
}
