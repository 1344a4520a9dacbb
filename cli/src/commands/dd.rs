//! `instar dd`.

use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError};
use fmt_core::{Format, round_up_to_sector};
use guest_abi::dd::{FORMAT_NAME_LEN, NO_COUNT, Report, Request, SKIPPED_PAST_END};
use vmm::files::FileKind;
use vmm::{Files, GuestImage, Job, Limits};
use zerocopy::IntoBytes;

use crate::args::DdArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::filename;

/// The processor time that the guest gets between two doorbells. It needs a hundredth of a millisecond.
const GUEST_TIME: Duration = Duration::from_secs(5);

/// How many operations the guest may ask for: a raw disk has three extents at most.
const MAX_OPERATIONS: u64 = 64;

/// How many bytes the guest may read: it looks at the head of the input only.
const MAX_READ: u64 = 1 << 20;

/// Copies what the command line says.
pub(crate) fn run(args: &DdArgs, console: &mut Console) -> Result<(), Failure> {
    let operands = Operands::parse(&args.operands)?;
    let input = operands.input.ok_or(Failure::Missing("if"))?;
    let output = operands.output.ok_or(Failure::Missing("of"))?;

    let mut files = Files::new();
    let opened = files.add_input(&filename::path(&input)?)?;
    let request = Request {
        input_format: args.format.as_deref().map(format_name).transpose()?.unwrap_or_default(),
        output_format: format_name(&args.output_format)?,
        block_size: operands.blocks.block_size.get(),
        count: operands.blocks.count.map_or(NO_COUNT, BlockCount::get),
        skip: operands.blocks.skip.get(),
    };
    files.add_output(&filename::path(&output)?)?;
    if files.kind(opened) == Some(FileKind::CharacterDevice) {
        console.warn(&format!(
            "warning: '{}' is a character device: it has no length, so it reads as empty",
            input.display()
        ));
    }

    let limits = limits(&operands.blocks, files.input_len(opened));
    let report = copy(&request, limits, files, console)?;
    if report.flags & SKIPPED_PAST_END != 0 {
        console.warn(&format!("{}: cannot skip to specified offset", input.display()));
    }
    Ok(())
}

fn copy(request: &Request, limits: Limits, files: Files, console: &mut Console) -> Result<Report, Failure> {
    let image = GuestImage::parse(guest_images::DD).expect("the guest was built with this program");
    let job = Job {
        image: &image,
        request: request.as_bytes(),
        limits,
        guest_time: GUEST_TIME,
        interrupted: console.interrupted(),
    };
    Ok(job.run(files, console)?)
}

/// What the copy may take: no more than if the input were a raw disk, which is the largest that it can be.
fn limits(blocks: &Blocks, input_len: u64) -> Limits {
    let disk = round_up_to_sector(input_len).unwrap_or(u64::MAX);
    let output_len = blocks.window(disk).output_len().unwrap_or(u64::MAX);
    Limits { output_len, written: output_len, read: MAX_READ, operations: MAX_OPERATIONS }
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
        let unknown = || Failure::UnknownOperand(String::from_utf8_lossy(name).into_owned());
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
        OperandError::Invalid => Failure::NotANumber(operand, String::from_utf8_lossy(value).into_owned()),
        OperandError::OutOfRange { min, max } => Failure::OutOfRange { operand, min, max },
    }
}

/// The name of a format as the guest wants it. `file` is what `qemu-img` calls the bytes of a file, which is raw.
fn format_name(name: &OsStr) -> Result<[u8; FORMAT_NAME_LEN], Failure> {
    let name = if name == "file" { OsStr::new("raw") } else { name };
    let unknown = || Failure::UnknownFormat(name.display().to_string());
    let format = Format::from_name(name.as_bytes()).ok_or_else(unknown)?;
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..format.name().len()].copy_from_slice(format.name().as_bytes());
    Ok(padded)
}
