//! Outputs of several files, and files that are written in place, in memory.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use fmt_core::{FileId, ReadAt, Source, Step, StepSink};
use guest_abi::convert::{DATA_FILE_RAW, Request};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_ops::testing::{AccessKind, Input, MemoryHost};
use guest_ops::{Host, HostFile, convert};
use zerocopy::FromZeros;

const GIB: u64 = 1 << 30;

/// `convert -O FORMAT` of one input in `input`, with these options and this data file.
fn request(input: &str, format: &str, options: &str, data_file: &str) -> Request {
    let mut request = Request::new_zeroed();
    request.inputs = 1;
    request.leaves_zeros = 1;
    request.input_format = padded(input);
    request.output_format = padded(format);
    request.identity.name[0] = b'x';
    let text = [options, data_file].concat();
    request.text[..text.len()].copy_from_slice(text.as_bytes());
    request.options_len = options.len().try_into().unwrap();
    request.data_file_len = data_file.len().try_into().unwrap();
    request
}

fn padded(name: &str) -> [u8; FORMAT_NAME_LEN] {
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// The file that a host has after the command.
fn output(host: &MemoryHost, file: u32) -> Vec<u8> {
    let output = host.output(FileId(file)).unwrap();
    let mut bytes = vec![0; output.file_len().try_into().unwrap()];
    output.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_divided_vmdk_is_read_as_it_was_written() {
    let bytes: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    let host =
        MemoryHost::new().with_input(Input::new(bytes.as_slice()).with_hole(4 * GIB)).with_output(1 << 20);
    let host = (0..3).fold(host, |host, _| host.with_further_output(1 << 40));
    convert::run(&host, &request("raw", "vmdk", "subformat\0twoGbMaxExtentSparse\0", "")).unwrap();

    let descriptor = output(&host, 1);
    let text = String::from_utf8(descriptor.clone()).unwrap();
    let lines = "RW 4194304 SPARSE \"x-s001\"\nRW 4194304 SPARSE \"x-s002\"\nRW 196 SPARSE \"x-s003\"\n";
    assert!(text.contains(lines), "{text}");
    let parts = (1..4).map(|number| (format!("x-s00{number}"), output(&host, 1 + number)));
    let reader = MemoryHost::new().with_input(Input::new(descriptor)).with_output(1 << 40);
    let reader = parts.fold(reader, |host, (name, part)| host.with_named(name, Input::new(part)));
    convert::run(&reader, &request("vmdk", "raw", "", "")).unwrap();
    let disk = reader.output(FileId(1)).unwrap();
    assert_eq!(disk.file_len(), (4 * GIB + 100_000).next_multiple_of(512));
    let mut head = vec![0; 200_000];
    disk.read_exact_at(0, &mut head).unwrap();
    assert!(head[..100_000] == bytes && head[100_000..].iter().all(|&byte| byte == 0));
}

/// The host makes all files, and confines itself, before anything is written.
#[test]
fn all_files_have_a_length_before_the_first_is_written() {
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let host = MemoryHost::new().with_input(Input::new([1; 512]).with_hole(4 * GIB)).with_output(1 << 20);
        let host = (0..3).fold(host, |host, _| host.with_further_output(1 << 40));
        convert::run(&host, &request("raw", "vmdk", &format!("subformat\0{subformat}\0"), "")).unwrap();
        let steps = host.steps();
        assert!(steps[..4].iter().all(|step| step.starts_with("SetLen")), "{subformat}: {:?}", &steps[..5]);
    }
}

#[test]
fn a_data_file_has_the_disk() {
    // Its last cluster is not whole.
    let mut bytes: Vec<u8> = (0..=250).cycle().take((5 << 16) - 1536).collect();
    bytes[70_000..200_000].fill(0);
    let len = bytes.len() as u64;
    for (flags, options) in [(0, ""), (DATA_FILE_RAW, ""), (0, "preallocation\0full\0")] {
        // The data file has room for the disk, and no more.
        let host = MemoryHost::new().with_input(Input::new(bytes.as_slice())).with_output(1 << 40);
        let host = host.with_output(len);
        let request = Request { flags, ..request("raw", "qcow2", options, "x.raw") };
        convert::run(&host, &request).unwrap();
        assert!(output(&host, 2) == bytes);

        let image = MemoryHost::new().with_input(Input::new(output(&host, 1))).with_output(1 << 40);
        let image = image.with_named("x.raw", Input::new(output(&host, 2)));
        convert::run(&image, &self::request("qcow2", "raw", "", "")).unwrap();
        assert!(output(&image, 1) == bytes);
    }
}

#[test]
fn what_is_in_place_is_read_as_all_steps_have_made_it() {
    const FILE: FileId = FileId(1);
    let host = MemoryHost::new().with_input(Input::new(*b"input")).with_in_place(Input::new(b"0123456789"));
    let file = HostFile::new(&host, FILE);
    let read = |offset, len| {
        let mut bytes = vec![0; len];
        file.read_exact_at(offset, &mut bytes).map(|()| bytes)
    };
    assert_eq!((file.file_len(), read(2, 3).unwrap()), (10, b"234".to_vec()));
    assert!(read(8, 3).is_err());

    host.step(Step::Write { file: FILE, dst: 8, bytes: b"xy" }).unwrap();
    host.step(Step::SetLen { file: FILE, len: 12 }).unwrap();
    let data = Source::Data { file: FileId(0), offset: 1 };
    host.step(Step::Fill { file: FILE, dst: 1, len: 4, source: data }).unwrap();
    host.step(Step::Fill { file: FILE, dst: 6, len: 1, source: Source::Zero }).unwrap();
    // What has been written may be written again.
    host.step(Step::Write { file: FILE, dst: 9, bytes: b"z" }).unwrap();
    assert_eq!((host.file_len(FILE), read(0, 12).unwrap()), (12, b"0nput5\x007xz\0\0".to_vec()));
    assert_eq!(host.in_place(FILE).file_len(), 12);
}

#[test]
fn what_is_done_with_parts_of_files_is_told() {
    use AccessKind::{Filled, Read, Taken, Written, Zeroed};
    const INPUT: FileId = FileId(0);
    const FILE: FileId = FileId(1);
    let host = MemoryHost::new().with_input(Input::new(b"input")).with_in_place(Input::new(b"0123456789"));
    host.step(Step::Write { file: FILE, dst: 8, bytes: b"xy" }).unwrap();
    HostFile::new(&host, FILE).read_exact_at(2, &mut [0; 3]).unwrap();
    let source = Source::Data { file: INPUT, offset: 1 };
    host.step(Step::Fill { file: FILE, dst: 1, len: 4, source }).unwrap();
    host.step(Step::Fill { file: FILE, dst: 6, len: 1, source: Source::Zero }).unwrap();
    let told: Vec<_> = host.accesses().iter().map(|at| (at.file, at.range.clone(), at.kind)).collect();
    assert_eq!(
        told,
        [
            (FILE, 8..10, Written),
            (FILE, 2..5, Read),
            (INPUT, 1..5, Taken),
            (FILE, 1..5, Filled(INPUT)),
            (FILE, 6..7, Zeroed),
        ]
    );
    assert_eq!((host.reads(), host.step_count()), (1, 3));
}

#[test]
fn a_file_in_place_keeps_what_it_has() {
    let panics = |step: Step<'_>| {
        let host = MemoryHost::new().with_in_place(Input::new(b"0123456789"));
        catch_unwind(AssertUnwindSafe(|| host.step(step))).is_err()
    };
    let file = FileId(0);
    assert!(!panics(Step::SetLen { file, len: 10 }));
    assert!(panics(Step::SetLen { file, len: 9 }));
    assert!(panics(Step::Write { file, dst: 9, bytes: b"xy" }));
    assert!(panics(Step::Fill { file, dst: 0, len: 0, source: Source::Zero }));
    let own = |offset| Source::Data { file, offset };
    assert!(!panics(Step::Fill { file, dst: 0, len: 5, source: own(5) }));
    assert!(panics(Step::Fill { file, dst: 0, len: 5, source: own(4) }), "onto itself");
    assert!(panics(Step::Fill { file, dst: 0, len: 5, source: own(6) }), "beyond the end");
}
