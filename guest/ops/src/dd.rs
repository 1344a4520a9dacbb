//! `instar dd`: a window of one disk becomes another.

use core::cell::Cell;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError};
use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId};
use guest_abi::dd::{INPUT, NO_COUNT, OUTPUT, Report, Request, SKIPPED_PAST_END};

use crate::host::InFile;
use crate::output::{self, Options};
use crate::request::format;
use crate::units::Units;
use crate::{Failure, Host, input};

/// Plans the copy that `request` asks for.
///
/// # Errors
///
/// When the input is not what it would have to be, a format is not supported, or the request makes no sense. Nothing
/// has been asked of the output then, unless the input's tables turn out broken halfway.
pub fn run<H: Host>(host: &H, request: &Request) -> Result<Report, Failure> {
    let blamed = Cell::new(FileId(INPUT));
    let mut disk = input::open(host, FileId(INPUT), format(&request.input_format)?, None, &blamed)?;
    let format = format(&request.output_format)?.ok_or(Failure::BadRequest("no output format"))?;
    let options = Options::new(format, &request.identity).in_file(FileId(OUTPUT))?;

    let virtual_size = disk.virtual_size();
    let window = blocks(request)?.window(virtual_size);
    let extents = disk.extents(window.range());
    let mut extents =
        extents.map(|extent| extent.and_then(|e| moved(e, window.start())).in_file(blamed.get()));
    let sink = Units::new(host);
    let written = output::write(host, &sink, FileId(OUTPUT), &options, window.len(), &mut extents);
    written.map_err(|failure| sink.blame(failure))?;

    let flags = if window.skip_past_end() { SKIPPED_PAST_END } else { 0 };
    Ok(Report { virtual_size, window_len: window.len(), flags })
}

/// The extent on a disk that begins at byte `origin` of the extent's own.
fn moved(extent: Extent, origin: u64) -> Result<Extent, Error> {
    let before = Error::new(ErrorKind::Corrupt, extent.start, "an extent begins before what was asked for");
    Ok(Extent { start: extent.start.checked_sub(origin).ok_or(before)?, ..extent })
}

fn blocks(request: &Request) -> Result<Blocks, Failure> {
    let parse = || -> Result<Blocks, OperandError> {
        let count = (request.count != NO_COUNT).then_some(request.count);
        Ok(Blocks {
            block_size: BlockSize::new(request.block_size)?,
            count: count.map(BlockCount::new).transpose()?,
            skip: BlockCount::new(request.skip)?,
        })
    };
    parse().map_err(|_| Failure::BadRequest("a number of blocks is out of range"))
}
