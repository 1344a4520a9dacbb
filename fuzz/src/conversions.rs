//! Conversions: how inputs describe them, and what they are of.

use fmt_core::testing::SparseFile;
use fmt_core::{FileId, Format, ReadAt, round_up_to_sector};
use guest_abi::convert::{Report, Request, STAGE_LEN, TEXT_LEN};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_abi::exchange::MAX_FURTHER;
use guest_ops::convert;
use guest_ops::testing::MemoryHost;
use zerocopy::FromBytes;

use crate::commands::{BUDGET, Done, IDENTITY, carry_out, padded};
use crate::files::{self, File, is_named, text};

/// The fields of a request, and the beginning of its texts.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
pub struct Case {
    inputs: u32,
    flags: u32,
    leaves_zeros: u32,
    options_len: u32,
    snapshot_len: u32,
    backing_len: u32,
    data_file_len: u32,
    input_format: [u8; FORMAT_NAME_LEN],
    output_format: [u8; FORMAT_NAME_LEN],
    backing_format: [u8; FORMAT_NAME_LEN],
    text: [u8; 96],
}

impl Case {
    /// The request. Its inputs are among the `files`.
    #[must_use]
    pub fn request(&self, files: &[File]) -> Request {
        let mut text = [0; TEXT_LEN];
        text[..self.text.len()].copy_from_slice(&self.text);
        Request {
            inputs: self.inputs.min(files.len() as u32),
            flags: self.flags,
            leaves_zeros: self.leaves_zeros,
            options_len: self.options_len,
            snapshot_len: self.snapshot_len,
            backing_len: self.backing_len,
            data_file_len: self.data_file_len,
            reserved: 0,
            input_format: self.input_format,
            output_format: self.output_format,
            backing_format: self.backing_format,
            identity: IDENTITY,
            text,
        }
    }
}

/// Makes the output that `request` asks for. `None` if that takes too much.
#[must_use]
pub fn run(files: &[File], request: &Request) -> Option<Done<Report>> {
    let done = carry_out(|| host(files, request), |host| convert::run(host, request)).if_ended()?;
    done.check_output(FileId(request.inputs));
    Some(done)
}

/// The output that `request` asks for, made without a second look at it. `None` if that takes too much, or is refused.
#[must_use]
pub fn make(files: &[File], request: &Request) -> Option<SparseFile> {
    let host = host(files, request);
    let outcome = convert::run(&host, request);
    let made = Done { host, outcome }.if_ended()?;
    made.outcome.ok()?;
    made.host.output(FileId(request.inputs))
}

/// A host with everything that the request may need.
fn host(files: &[File], request: &Request) -> MemoryHost {
    let add_outputs = |host: MemoryHost| {
        let host = host.with_output(u64::MAX);
        let has_data_file = data_file(request).is_some();
        if has_data_file { host.with_output(u64::MAX) } else { host.with_stage(STAGE_LEN) }
    };
    let host = files::host(files, request.inputs as usize, add_outputs).with_budget(BUDGET);
    let may_be_several = is_named(&request.output_format, Format::Vmdk) && !options(request).is_empty();
    let further = if may_be_several { MAX_FURTHER } else { 0 };
    (0..further).fold(host, |host, _| host.with_further_output(u64::MAX))
}

/// The inputs.
#[must_use]
pub fn inputs<'f>(files: &'f [File], request: &Request) -> &'f [File] {
    &files[..request.inputs as usize]
}

/// Whether all inputs are raw.
#[must_use]
pub fn are_raw(files: &[File], request: &Request) -> bool {
    inputs(files, request).iter().all(|file| file.reads_as_raw(&request.input_format))
}

/// The disk that `request` converts. `None` if it takes too much to read, or is larger than any.
///
/// # Panics
///
/// When the inputs are not raw, and cannot be read.
#[must_use]
pub fn disk(files: &[File], request: &Request) -> Option<SparseFile> {
    if are_raw(files, request) { joined(inputs(files, request)) } else { as_raw(files, request) }
}

/// Raw disks, one behind the other.
fn joined(files: &[File]) -> Option<SparseFile> {
    let mut disk = SparseFile::new(0);
    for File { content, .. } in files {
        let at = disk.file_len();
        disk = disk.with_len(at.checked_add(round_up_to_sector(content.file_len())?)?);
        disk.write_from(at, content, 0..content.file_len());
    }
    Some(disk)
}

/// The disk that the request makes if it asks for nothing but that, as it is.
fn as_raw(files: &[File], request: &Request) -> Option<SparseFile> {
    let mut plain = Request { output_format: padded(Format::Raw), flags: 0, leaves_zeros: 0, ..*request };
    let name = request.options_len as usize..(request.options_len + request.snapshot_len) as usize;
    plain.text.copy_within(name, 0);
    (plain.options_len, plain.backing_len, plain.data_file_len) = (0, 0, 0);
    let done = run(files, &plain)?;
    done.outcome.expect("it has been read");
    done.host.output(FileId(request.inputs))
}

/// The name of the backing file, if there is to be one.
#[must_use]
pub fn backing(request: &Request) -> Option<&[u8]> {
    text_of(request, &[request.options_len, request.snapshot_len], request.backing_len)
}

/// The name of the data file, if there is to be one.
#[must_use]
pub fn data_file(request: &Request) -> Option<&[u8]> {
    let Request { options_len, snapshot_len, backing_len, data_file_len, .. } = *request;
    text_of(request, &[options_len, snapshot_len, backing_len], data_file_len)
}

/// The options.
#[must_use]
pub fn options(request: &Request) -> &[u8] {
    text_of(request, &[], request.options_len).unwrap_or_default()
}

/// The text of `len` bytes behind those that have the lengths `before`, if it is there and not empty.
fn text_of<'r>(request: &'r Request, before: &[u32], len: u32) -> Option<&'r [u8]> {
    let start: u64 = before.iter().copied().map(u64::from).sum();
    let text = request.text.get(usize::try_from(start).ok()?..)?.get(..len as usize)?;
    Some(text).filter(|text| !text.is_empty())
}

/// Whether the backing file is read as raw, whatever its name: its format is raw, or asked for, and what is in it has no mark.
#[must_use]
pub fn has_raw_backing(request: &Request) -> bool {
    let format = &request.backing_format;
    text(format).is_empty() || is_named(format, Format::Raw)
}
