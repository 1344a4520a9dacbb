//! `instar dd`.

use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError};
use fmt_core::Format;
use guest_abi::dd::{FORMAT_NAME_LEN, NO_COUNT, Report, Request, SKIPPED_PAST_END};
use vmm::files::FileKind;
use vmm::{Conduct, Files, GuestImage, Job, Limits, Sandboxes, confine, shown};
use zerocopy::IntoBytes;

use crate::args::DdArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::{budget, filename, identity};

/// The processor time that the guest gets between two doorbells. It needs a hundredth of a millisecond.
const GUEST_TIME: Duration = Duration::from_secs(5);

/// How many operations the guest may ask for, whatever is to be copied.
const MAX_OPERATIONS: u64 = 1 << 34;

/// How much more than the disk an output may take, for headers, tables, and what rounding to blocks adds.
const MAX_OVERHEAD: u64 = 1 << 28;

/// One byte of tables for so many of the disk, at most.
const MIN_DISK_PER_TABLE: u64 = 32;

/// How much the guest may read for a byte of the disk, at most: in each image of a chain of 17, twice, a window of 64 KiB
/// for a cluster of 512 bytes.
const MAX_READ_PER_BYTE: u64 = 17 * 2 * 128;

/// How much the guest may read to find out what the disk is: as many VHDX logs, and each may have 4 GiB.
const MAX_READ_AT_FIRST: u64 = 17 << 32;

/// Copies what the command line says.
pub(crate) fn run(args: &DdArgs, sandboxes: &Sandboxes, console: &mut Console) -> Result<(), Failure> {
    let operands = Operands::parse(&args.operands)?;
    let input = operands.input.ok_or(Failure::Missing("if"))?;
    let output = operands.output.ok_or(Failure::Missing("of"))?;

    let output_path = filename::path(&output)?;
    let input = filename::input(&input, &args.input)?;
    let max_output = budget::max_output(&args.output)?;
    let mut files = Files::new().force_share(input.force_share).max_output(max_output).fills_outputs(true);
    args.allow_path.iter().try_for_each(|dir| files.allow(dir))?;
    let opened = files.add_input(&input.path)?;
    let request = Request {
        input_format: input.format.map(padded_name).unwrap_or_default(),
        output_format: padded_name(filename::format(&args.output_format)?),
        block_size: operands.blocks.block_size.get(),
        count: operands.blocks.count.map_or(NO_COUNT, BlockCount::get),
        skip: operands.blocks.skip.get(),
        identity: identity::of(&output_path, args.uuid)?,
    };
    files.add_output(&output_path)?;
    if files.kind(opened) == Some(FileKind::CharacterDevice) {
        console.warn(&format!(
            "warning: '{}' is a character device: it has no length, so it reads as empty",
            shown(&input.path)
        ));
    }

    let limits = limits(&operands.blocks);
    let report = copy(&request, limits, files, sandboxes, console)?;
    if report.flags & SKIPPED_PAST_END != 0 {
        console.warn(&format!("{}: cannot skip to specified offset", shown(&input.path)));
    }
    Ok(())
}

fn copy(
    request: &Request,
    limits: Limits,
    files: Files,
    sandboxes: &Sandboxes,
    console: &mut Console,
) -> Result<Report, Failure> {
    let [image, decoder] = [guest_images::DD, guest_images::DECODE]
        .map(|elf| GuestImage::parse(elf).expect("the guest was built with this program"));
    let job = Job {
        image: &image,
        decoder: &decoder,
        request: request.as_bytes(),
        sandboxes,
        limits,
        conduct: Conduct::default(),
        guest_time: GUEST_TIME,
        confine: confine::enter,
        interrupted: console.interrupted(),
    };
    Ok(job.run(files, console)?)
}

/// What the copy may take: what the operands ask for. Without `count`, that is a disk of any size.
fn limits(blocks: &Blocks) -> Limits {
    let disk = blocks.window(u64::MAX).output_len().unwrap_or(u64::MAX);
    let output_len = disk.saturating_add(disk / MIN_DISK_PER_TABLE).saturating_add(MAX_OVERHEAD);
    let read = disk.saturating_mul(MAX_READ_PER_BYTE).saturating_add(MAX_READ_AT_FIRST);
    Limits { output_len, written: output_len, read, scanned: 0, packed: 0, operations: MAX_OPERATIONS }
}

/// What the operands say. Of a repeated one the last counts, but each must make sense.
#[derive(Debug, Default)]
struct Operands {
    input: Option<OsString>,
    output: Option<OsString>,
    blocks: Blocks,
}

impl Operands {
    fn parse(operands: &[OsString]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for operand in operands {
            parsed.set(operand)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, operand: &OsStr) -> Result<(), Failure> {
        let bytes = operand.as_bytes();
        let equals = bytes.iter().position(|&byte| byte == b'=');
        let (name, value) = equals.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
        let unknown = || Failure::UnknownOperand(OsStr::from_bytes(name).to_owned());
        let value = value.ok_or_else(unknown)?;
        match name {
            b"if" => self.input = Some(OsStr::from_bytes(value).to_owned()),
            b"of" => self.output = Some(OsStr::from_bytes(value).to_owned()),
            b"bs" => self.blocks.block_size = BlockSize::parse(value).map_err(|e| number("bs", value, e))?,
            b"count" => {
                self.blocks.count = Some(BlockCount::parse(value).map_err(|e| number("count", value, e))?);
            }
            b"skip" => self.blocks.skip = BlockCount::parse(value).map_err(|e| number("skip", value, e))?,
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn number(operand: &'static str, value: &[u8], error: OperandError) -> Failure {
    match error {
        OperandError::Invalid => Failure::NotANumber(operand, OsStr::from_bytes(value).to_owned()),
        OperandError::OutOfRange { min, max } => Failure::OutOfRange { operand, min, max },
    }
}

/// The name of a format as the guest wants it.
fn padded_name(format: Format) -> [u8; FORMAT_NAME_LEN] {
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..format.name().len()].copy_from_slice(format.name().as_bytes());
    padded
}
