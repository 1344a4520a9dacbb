//! `convert` as the guest does it, from any request and any images to what is in the output.
//!
//! An input is a `Case`, little-endian, and behind it the files: the inputs, and what images may name. The memory that
//! stands in for the host checks each step; here the disk in the output is compared with those of the inputs.

#![no_main]

use fmt_core::testing::SparseFile;
use fmt_core::{FileId, Format, ReadAt};
use fmt_vmdk::limits::MAX_DESCRIPTOR_LEN;
use guest_abi::convert::{DATA_FILE_RAW, Request};
use guest_ops::testing::MemoryHost;
use instar_fuzz::commands::{Named, check_disk, padded, rubbish};
use instar_fuzz::conversions::{self, Case, are_raw, backing, data_file, has_raw_backing};
use instar_fuzz::files::{File, files, is_named};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

fuzz_target!(|bytes: &[u8]| {
    let Ok((case, rest)) = Case::read_from_prefix(bytes) else { return };
    let files = files(rest);
    let request = case.request(&files);
    let Some(done) = conversions::run(&files, &request) else { return };
    let are_raw = are_raw(&files, &request);
    let Ok(report) = done.outcome else {
        return assert!(!are_raw || done.host.step_count() == 0, "{:?} comes too late", done.outcome);
    };
    let output = FileId(request.inputs);
    let image = written(&done.host, output);
    if is_named(&request.output_format, Format::Raw) {
        assert_eq!(done.host.written(output), image.file_len(), "no holes are left");
    }
    let Some(named) = named(&files, &request, &done.host, are_raw) else { return };
    let Some(disk) = conversions::disk(&files, &request) else { return };
    assert_eq!(disk.file_len(), report.virtual_size);
    check_disk(image, request.output_format, named, &disk);
    if data_file(&request).is_some() && request.flags & DATA_FILE_RAW != 0 {
        check_disk(written(&done.host, behind(&request)), padded(Format::Raw), Vec::new(), &disk);
    }
});

/// The number of the data file, or of the stage.
fn behind(request: &Request) -> FileId {
    FileId(request.inputs + 1)
}

/// A file as the command has left it.
fn written(host: &MemoryHost, file: FileId) -> SparseFile {
    host.output(file).expect("it has been given a length")
}

/// The files that the output names. `None` where it cannot be told what it shows with them.
fn named(files: &[File], request: &Request, host: &MemoryHost, are_raw: bool) -> Option<Vec<Named>> {
    let (backing, data_file) = (backing(request), data_file(request));
    // There cannot be two files of one name; and what blocks are left to the backing file must be plain.
    let is_known = backing != data_file && are_raw && has_raw_backing(request);
    if backing.is_some() && !is_known {
        return None;
    }
    let mut named = parts(files, request, host);
    // What is left to the backing file shows: it holds rubbish.
    named.extend(backing.map(|name| (name.to_vec(), rubbish())));
    named.extend(data_file.map(|name| (name.to_vec(), written(host, behind(request)))));
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
    numbers.zip(names).map(|(number, name)| (name.to_vec(), written(host, number))).collect()
}
