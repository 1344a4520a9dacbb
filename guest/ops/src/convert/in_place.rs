//! A disk that becomes the content of an image that is there.

use core::cell::Cell;

use fmt_core::{DiskMap, Error, ErrorKind, FileId, ReadAt, StepSink};
use guest_abi::convert::{Report, Request};

use super::{open_inputs, output_of};
use crate::host::{HostFile, InFile};
use crate::output::Target;
use crate::request::Texts;
use crate::sieve::Sieve;
use crate::units::Units;
use crate::{Failure, Host, input};

/// Plans the conversion that `request` asks for, into the output, an image that is there. Its disk may be larger: what is
/// behind the end stays as it is.
///
/// # Errors
///
/// As [`convert::run`](super::run), and where the image cannot be written into. Nothing has been changed then, unless its
/// tables, or an input's, turn out broken halfway.
pub fn run<H: Host>(host: &H, request: &Request) -> Result<Report, Failure> {
    let texts = Texts::of(request)?;
    let (output, format) = output_of(request)?;
    let blamed = Cell::new(FileId(0));
    let mut disk = open_inputs(host, request, &texts, &blamed)?;
    let size = disk.virtual_size();

    let (image, sink) = (HostFile::new(host, output), Units::new(host));
    let target = Target::open(&image, &sink, output, format, &request.identity).in_file(output)?;
    check_size(size, target.virtual_size()).in_file(output)?;
    let block_len = target.block_len();

    let behind_blamed = Cell::new(output);
    let mut behind;
    let target = if target.may_stand_on_another() && ends_within_a_block(size, &target) {
        behind = input::open(host, output, Some(format), None, &behind_blamed)?;
        target.standing_on(&mut behind)
    } else {
        target
    };

    // A chain says of everything what it is. What no layer has is zeros, and is to become that, whatever is there now.
    let mut extents = disk.extents(0..size).map(|extent| extent.in_file(blamed.get()));
    let written = match block_len.and_then(|len| u32::try_from(len).ok()) {
        Some(unit) => target.write(output, &mut Sieve::new(host, unit, &mut extents)),
        None => target.write(output, &mut extents),
    };
    written.map_err(|failure| sink.blame(failure))?;
    Ok(Report { virtual_size: size })
}

fn check_size(size: u64, room: u64) -> Result<(), Error> {
    let what = "what is to be converted, for the disk of this image,";
    if size > room { Err(Error::new(ErrorKind::TooLarge, room, what)) } else { Ok(()) }
}

/// Whether the end of a disk of `size` bytes leaves a part of a block of the larger disk of `target`.
fn ends_within_a_block<R: ReadAt, S: StepSink>(size: u64, target: &Target<'_, R, S>) -> bool {
    let is_whole = target.block_len().is_none_or(|len| size.is_multiple_of(len));
    !is_whole && size < target.virtual_size()
}
