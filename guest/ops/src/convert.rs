//! `instar convert`: disks, one behind the other, become another.

pub mod in_place;
mod joined;
mod overlay;
mod pack;
mod snapshot;

use alloc::boxed::Box;
use core::cell::Cell;

use fmt_core::{DiskMap, Error, Extent, FileId, Format};
use guest_abi::convert::{DATA_FILE_RAW, PACK, Report, Request};

use crate::host::InFile;
use crate::output::{self, Options};
use crate::request::{self, Texts};
use crate::sieve::Sieve;
use crate::units::Units;
use crate::{Failure, Host};
use joined::Joined;
use overlay::Overlay;

/// Plans the conversion that `request` asks for.
///
/// # Errors
///
/// When an input is not what it would have to be, a format or an option is not supported, or the request makes no sense.
/// Nothing has been asked of the output then, unless an input's tables turn out broken halfway.
pub fn run<H: Host>(host: &H, request: &Request) -> Result<Report, Failure> {
    let texts = Texts::of(request)?;
    let (output, format) = output_of(request)?;
    let options = options(request, &texts, format)?;

    let blamed = Cell::new(FileId(0));
    let mut disk = open_inputs(host, request, &texts, &blamed)?;
    let size = disk.virtual_size();
    let is_packed = request.flags & PACK != 0 || options.packs_all();
    let block_len = if is_packed { options.unit_len() } else { options.block_len(size) }.in_file(output)?;
    let layers: Box<dyn Iterator<Item = Result<Extent, Error>>> = match (texts.backing(), block_len) {
        (Some(_), Some(block_len)) => Box::new(Overlay::new(&mut disk, block_len)),
        _ => Box::new(disk.extents(0..size)),
    };
    let mut extents = layers.map(|extent| extent.in_file(blamed.get()));

    let sink = Units::new(host);
    let written = match unit(request, block_len) {
        _ if is_packed => pack::write(host, &sink, output, &options, size, &mut extents),
        Some(unit) => {
            output::write(host, &sink, output, &options, size, &mut Sieve::new(host, unit, &mut extents))
        }
        None => output::write(host, &sink, output, &options, size, &mut extents),
    };
    written.map_err(|failure| sink.blame(failure))?;
    Ok(Report { virtual_size: size })
}

/// The output, which comes behind the inputs, and its format.
fn output_of(request: &Request) -> Result<(FileId, Format), Failure> {
    let format = request::format(&request.output_format)?.ok_or(Failure::BadRequest("no output format"))?;
    Ok((FileId(request.inputs), format))
}

/// The disk that is to be converted.
fn open_inputs<'h, H: Host>(
    host: &'h H,
    request: &Request,
    texts: &Texts<'_>,
    blamed: &'h Cell<FileId>,
) -> Result<Joined<'h>, Failure> {
    let snapshot = texts.snapshot().map(snapshot::Words::parse).transpose()?;
    let snapshot = snapshot.as_ref().map(snapshot::Words::wanted);
    let format = request::format(&request.input_format)?;
    Joined::open(host, request.inputs, format, snapshot, blamed)
}

/// What the request says of the output.
fn options<'r>(request: &'r Request, texts: &Texts<'r>, format: Format) -> Result<Options<'r>, Failure> {
    let output = FileId(request.inputs);
    let mut options = Options::new(format, &request.identity).in_file(output)?;
    if request.leaves_zeros != 0 {
        options = options.without_zeros();
    }
    for option in texts.options() {
        let (name, value) = option?;
        options.set(name, value).map_err(|_| Failure::BadRequest("an option of the output"))?;
    }
    if let Some(name) = texts.backing() {
        options = options.over(name, request::name(&request.backing_format)).in_file(output)?;
    }
    match texts.data_file() {
        Some(name) => {
            let file = FileId(output.0.saturating_add(1));
            options.with_data_in(file, name, request.flags & DATA_FILE_RAW != 0).in_file(output)
        }
        None => Ok(options),
    }
}

/// The bytes that are looked at for zeros together, if zeros are of use to the output: what it allocates or leaves out, which
/// are blocks.
fn unit(request: &Request, block_len: Option<u64>) -> Option<u32> {
    block_len.filter(|_| request.leaves_zeros != 0).and_then(|len| len.try_into().ok())
}
