//! `convert` as the guest does it, from any request and any images to what is in the output.
//!
//! An input is a `Case`, little-endian, and behind it the files: the inputs, and what images may name. The memory that
//! stands in for the host checks each step; here the disk in the output is compared with those of the inputs.

#![no_main]

use fmt_core::testing::SparseFile;
use fmt_core::{FileId, Format, ReadAt};
use fmt_vmdk::limits::MAX_DESCRIPTOR_LEN;
use guest_abi::convert::{DATA_FILE_RAW, Report, Request, STAGE_LEN, TEXT_LEN};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_abi::exchange::MAX_FURTHER;
use guest_ops::convert;
use guest_ops::testing::{Input, MemoryHost};
use instar_fuzz::commands::{BUDGET, Done, IDENTITY, carry_out, check_disk, padded};
use instar_fuzz::files::{self, File, files, is_named, text};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

/// The fields of a request, and the beginning of its texts.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Case {
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

fuzz_target!(|bytes: &[u8]| {
    let Ok((case, rest)) = Case::read_from_prefix(bytes) else { return };
    let files = files(rest);
    let request = case.request(&files);
    let Some(done) = run(&files, &request) else { return };
    let are_raw = inputs(&files, &request).iter().all(|file| file.reads_as_raw(&request.input_format));
    let Ok(report) = done.outcome else {
        return assert!(!are_raw || done.host.step_count() == 0, "{:?} comes too late", done.outcome);
    };
    let output = FileId(request.inputs);
    let image = written(&done.host, output);
    if is_named(&request.output_format, Format::Raw) {
        assert_eq!(done.host.written(output), image.file_len(), "no holes are left");
    }
    let Some(named) = named(&files, &request, &done.host, are_raw) else { return };
    let disk =
        if are_raw { Some(joined(inputs(&files, &request))) } else { as_raw(&files, &request, report) };
    let Some(disk) = disk else { return };
    assert_eq!(disk.file_len(), report.virtual_size);
    check_disk(image, request.output_format, named, &disk);
    if data_file(&request).is_some() && request.flags & DATA_FILE_RAW != 0 {
        check_disk(written(&done.host, behind(&request)), padded(Format::Raw), Vec::new(), &disk);
    }
});

impl Case {
    /// The request. Its inputs are among the `files`.
    fn request(&self, files: &[File]) -> Request {
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

fn run(files: &[File], request: &Request) -> Option<Done<Report>> {
    carry_out(FileId(request.inputs), || host(files, request), |host| convert::run(host, request))
}

/// A host with everything that the request may need.
fn host(files: &[File], request: &Request) -> MemoryHost {
    let add_outputs = |host: MemoryHost| {
        let host = host.with_output(u64::MAX);
        let has_data_file = data_file(request).is_some();
        if has_data_file { host.with_output(u64::MAX) } else { host.with_stage(STAGE_LEN) }
    };
    let host = files::host(files, request.inputs as usize, add_outputs).with_budget(BUDGET);
    let further = if is_named(&request.output_format, Format::Vmdk) { MAX_FURTHER } else { 0 };
    (0..further).fold(host, |host, _| host.with_further_output(u64::MAX))
}

/// The number of the data file, or of the stage.
fn behind(request: &Request) -> FileId {
    FileId(request.inputs + 1)
}

/// A file as the command has left it.
fn written(host: &MemoryHost, file: FileId) -> SparseFile {
    host.output(file).expect("it has been given a length")
}

/// A file, and by what name an image has it.
type Named = (Vec<u8>, Input);

/// The files that the output names. `None` where it cannot be told what it shows with them.
fn named(files: &[File], request: &Request, host: &MemoryHost, are_raw: bool) -> Option<Vec<Named>> {
    let (backing, data_file) = (backing(request), data_file(request));
    // There cannot be two files of one name; and what blocks are left to the backing file must be plain.
    let is_known = backing != data_file && are_raw && is_raw_or_asked(&request.backing_format);
    if backing.is_some() && !is_known {
        return None;
    }
    let mut named = parts(files, request, host);
    // What is left to the backing file shows: it holds rubbish.
    named.extend(backing.map(|name| (name.to_vec(), Input::new([0x55; 70_000]))));
    named.extend(data_file.map(|name| (name.to_vec(), Input::from(written(host, behind(request))))));
    Some(named)
}

/// The files that the output consists of beside itself, by the names that it has for them: none, if it is no descriptor.
fn parts(files: &[File], request: &Request, host: &MemoryHost) -> Vec<Named> {
    let mut descriptor = vec![0; MAX_DESCRIPTOR_LEN];
    let image = written(host, FileId(request.inputs));
    let descriptor = image.read_up_to(0, &mut descriptor).expect("it can be read");
    let is_vmdk = is_named(&request.output_format, Format::Vmdk);
    if !is_vmdk || !descriptor.starts_with(b"# Disk DescriptorFile") {
        return Vec::new();
    }
    let lines = descriptor.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"RW "));
    let names = lines.map(|line| line.split(|&byte| byte == b'"').nth(1).expect("each extent has a file"));
    // They are behind the output, the stage, and all files that there were before.
    let numbers = (files.len() as u32 + 2..).map(FileId);
    numbers.zip(names).map(|(number, name)| (name.to_vec(), Input::from(written(host, number)))).collect()
}

fn inputs<'f>(files: &'f [File], request: &Request) -> &'f [File] {
    &files[..request.inputs as usize]
}

/// Raw disks, one behind the other.
fn joined(files: &[File]) -> SparseFile {
    let len = |file: &File| file.content.file_len().next_multiple_of(512);
    let mut disk = SparseFile::new(files.iter().map(len).sum());
    let mut at = 0;
    for file in files {
        disk.write_from(at, &file.content, 0..file.content.file_len());
        at += len(file);
    }
    disk
}

/// The disk that the request makes if it asks for nothing but that, as it is.
fn as_raw(files: &[File], request: &Request, report: Report) -> Option<SparseFile> {
    let mut plain = Request { output_format: padded(Format::Raw), flags: 0, leaves_zeros: 0, ..*request };
    let name = request.options_len as usize..(request.options_len + request.snapshot_len) as usize;
    plain.text.copy_within(name, 0);
    (plain.options_len, plain.backing_len, plain.data_file_len) = (0, 0, 0);
    let done = run(files, &plain)?;
    assert_eq!(done.outcome, Ok(report));
    done.host.output(FileId(request.inputs))
}

/// The name of the backing file, if there is to be one.
fn backing(request: &Request) -> Option<&[u8]> {
    text_of(request, &[request.options_len, request.snapshot_len], request.backing_len)
}

/// The name of the data file, if there is to be one.
fn data_file(request: &Request) -> Option<&[u8]> {
    let Request { options_len, snapshot_len, backing_len, data_file_len, .. } = *request;
    text_of(request, &[options_len, snapshot_len, backing_len], data_file_len)
}

/// The text of `len` bytes behind those that have the lengths `before`, if it is there and not empty.
fn text_of<'r>(request: &'r Request, before: &[u32], len: u32) -> Option<&'r [u8]> {
    let start: u64 = before.iter().copied().map(u64::from).sum();
    let text = request.text.get(usize::try_from(start).ok()?..)?.get(..len as usize)?;
    Some(text).filter(|text| !text.is_empty())
}

fn is_raw_or_asked(format: &[u8; FORMAT_NAME_LEN]) -> bool {
    text(format).is_empty() || is_named(format, Format::Raw)
}
