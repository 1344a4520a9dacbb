//! `convert` as the guest does it, from any request and any images to what is in the output.
//!
//! An input is a `Case`, little-endian, and behind it the files: the inputs, and what images may name. The memory that
//! stands in for the host checks each step; here the disk in the output is compared with those of the inputs.

#![no_main]

use fmt_core::testing::SparseFile;
use fmt_core::{FileId, Format, ReadAt};
use guest_abi::convert::{Report, Request, TEXT_LEN};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_ops::convert;
use guest_ops::testing::Input;
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
    sparse_size: u32,
    options_len: u32,
    snapshot_len: u32,
    backing_len: u32,
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
    let image = done.host.output(output).expect("it has been given a length");
    if is_named(&request.output_format, Format::Raw) {
        assert_eq!(done.host.written(output), image.file_len(), "no holes are left");
    }
    let below = match backing(&request) {
        None => None,
        // What is left to the backing file shows: it holds rubbish.
        Some(name) if are_raw && is_raw_or_asked(&request.backing_format) => {
            Some((name, Input::new([0x55; 70_000])))
        }
        Some(_) => return,
    };
    let disk =
        if are_raw { Some(joined(inputs(&files, &request))) } else { as_raw(&files, &request, report) };
    let Some(disk) = disk else { return };
    assert_eq!(disk.file_len(), report.virtual_size);
    check_disk(image, request.output_format, below, &disk);
});

impl Case {
    /// The request. Its inputs are among the `files`.
    fn request(&self, files: &[File]) -> Request {
        let mut text = [0; TEXT_LEN];
        text[..self.text.len()].copy_from_slice(&self.text);
        Request {
            inputs: self.inputs.min(files.len() as u32),
            flags: self.flags,
            sparse_size: self.sparse_size,
            options_len: self.options_len,
            snapshot_len: self.snapshot_len,
            backing_len: self.backing_len,
            input_format: self.input_format,
            output_format: self.output_format,
            backing_format: self.backing_format,
            identity: IDENTITY,
            text,
        }
    }
}

fn run(files: &[File], request: &Request) -> Option<Done<Report>> {
    let host = || files::host(files, request.inputs as usize, BUDGET);
    carry_out(FileId(request.inputs), host, |host| convert::run(host, request))
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
    let mut plain = Request { output_format: padded(Format::Raw), flags: 0, sparse_size: 0, ..*request };
    let name = request.options_len as usize..(request.options_len + request.snapshot_len) as usize;
    plain.text.copy_within(name, 0);
    (plain.options_len, plain.backing_len) = (0, 0);
    let done = run(files, &plain)?;
    assert_eq!(done.outcome, Ok(report));
    done.host.output(FileId(request.inputs))
}

/// The name of the backing file, if there is to be one.
fn backing(request: &Request) -> Option<&[u8]> {
    let start = (request.options_len + request.snapshot_len) as usize;
    Some(&request.text[start..][..request.backing_len as usize]).filter(|name| !name.is_empty())
}

fn is_raw_or_asked(format: &[u8; FORMAT_NAME_LEN]) -> bool {
    text(format).is_empty() || is_named(format, Format::Raw)
}
