//! `instar dd`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError};
use guest_abi::dd::{NO_COUNT, Report, Request, SKIPPED_PAST_END};
use vmm::{Conduct, Files, Sandboxes, shown};
use zerocopy::IntoBytes;

use super::{Work, padded_name, warn_of_character_device};
use crate::args::DdArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::{budget, filename, identity};

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
    warn_of_character_device(&files, opened, &input.path, console);

    let work = Work {
        guest: guest_images::DD,
        request: request.as_bytes(),
        disk_len: operands.blocks.window(u64::MAX).output_len().unwrap_or(u64::MAX),
        examined: 0,
        conduct: Conduct::default(),
    };
    let report: Report = work.run(files, sandboxes, console)?;
    if report.flags & SKIPPED_PAST_END != 0 {
        console.warn(&format!("{}: cannot skip to specified offset", shown(&input.path)));
    }
    Ok(())
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
