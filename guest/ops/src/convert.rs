//! `instar convert`: disks, one behind the other, become another.

mod joined;
mod overlay;
mod pack;
mod snapshot;

use alloc::boxed::Box;
use core::cell::Cell;

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, Format};
use guest_abi::convert::{DATA_FILE_RAW, NO_CREATE, PACK, Report, Request};

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
    let output = FileId(request.inputs);
    let format = request::format(&request.output_format)?.ok_or(Failure::BadRequest("no output format"))?;
    check(request, format).in_file(output)?;
    let options = options(request, &texts, format)?;

    let snapshot = texts.snapshot().map(snapshot::Words::parse).transpose()?;
    let snapshot = snapshot.as_ref().map(snapshot::Words::wanted);

    let blamed = Cell::new(FileId(0));
    let input_format = request::format(&request.input_format)?;
    let mut disk = Joined::open(host, request.inputs, input_format, snapshot, &blamed)?;
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

/// Refuses what is not done yet or does not go together.
fn check(request: &Request, format: Format) -> Result<(), Error> {
    let refuse = |what| Err(Error::new(ErrorKind::UnsupportedFeature, 0, what));
    if request.flags & NO_CREATE != 0 && format != Format::Raw {
        return refuse("converting into an existing image of another format than raw");
    }
    Ok(())
}

/// The bytes that are looked at for zeros together, if zeros are of use to the output: what it allocates or leaves out, which
/// are blocks.
fn unit(request: &Request, block_len: Option<u64>) -> Option<u32> {
    block_len.filter(|_| request.leaves_zeros != 0).and_then(|len| len.try_into().ok())
}
