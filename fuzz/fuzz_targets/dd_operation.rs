//! `dd` as the guest does it, from any request and any images to what is in the output.
//!
//! An input is a `Case`, little-endian, and behind it the files: the input, and what images may name. The memory that
//! stands in for the host checks each step; here its outcome is compared with what the request and the images call for.

#![no_main]

use core::ops::Range;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError, Window};
use fmt_core::testing::SparseFile;
use fmt_core::{ErrorKind, FileId, Format, ReadAt, round_up_to_sector};
use guest_abi::dd::{FORMAT_NAME_LEN, INPUT, NO_COUNT, OUTPUT, Report, Request, SKIPPED_PAST_END};
use guest_ops::testing::MemoryHost;
use guest_ops::{Failure, dd};
use instar_fuzz::commands::{BUDGET, Done, IDENTITY, WRITABLE, carry_out, check_disk, padded};
use instar_fuzz::files::{self, File, files, is_named, text};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

/// The fields of a request.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Case {
    input_format: [u8; FORMAT_NAME_LEN],
    output_format: [u8; FORMAT_NAME_LEN],
    block_size: u64,
    count: u64,
    skip: u64,
}

/// How many operations a copy of a raw disk may take: the head is read, the output gets its length, padding, the file's
/// bytes and the zeros behind them.
const MAX_OPERATIONS: usize = 5;

fuzz_target!(|bytes: &[u8]| {
    let Ok((case, rest)) = Case::read_from_prefix(bytes) else { return };
    let files = files(rest);
    let Some(input) = files.first() else { return };
    let request = case.request();
    let Some(done) = run(&files, &request) else { return };
    match expected(&request, input) {
        Expected::Copy(window) => check_copy(&done, &request, input, &window),
        Expected::Refusal(is_expected) => {
            let failure = done.outcome.expect_err("a refusal");
            assert!(is_expected(&failure), "{case:?}: {failure:?}");
            assert_eq!(done.host.step_count(), 0, "nothing is asked of the output");
        }
        Expected::AsRaw => check_as_raw(&done, &request, &files),
    }
    if is_named(&request.input_format, Format::Raw) {
        assert_eq!(done.host.reads(), 0, "the bytes of a raw disk are none of the guest's business");
    }
});

impl Case {
    fn request(&self) -> Request {
        let &Self { input_format, output_format, block_size, count, skip } = self;
        Request { input_format, output_format, block_size, count, skip, identity: IDENTITY }
    }
}

fn run(files: &[File], request: &Request) -> Option<Done<Report>> {
    let add_output = |host: MemoryHost| host.with_output(u64::MAX);
    let host = || files::host(files, 1, add_output).with_budget(BUDGET);
    let done = carry_out(host, |host| dd::run(host, request)).if_ended()?;
    done.check_output(FileId(OUTPUT));
    Some(done)
}

/// What is to become of a request.
enum Expected {
    /// The window of a raw disk is in the output, unless it is too large for its format.
    Copy(Window),
    Refusal(fn(&Failure) -> bool),
    /// The output has the disk that it would have if it were raw, or there is none.
    AsRaw,
}

fn expected(request: &Request, input: &File) -> Expected {
    let bad_request = Expected::Refusal(|failure| matches!(failure, Failure::BadRequest(_)));
    if !is_known_or_none(&request.input_format) {
        return bad_request;
    }
    if !input.reads_as_raw(&request.input_format) {
        return Expected::AsRaw;
    }
    let Some(size) = round_up_to_sector(input.content.file_len()) else {
        return Expected::Refusal(is_too_large);
    };
    if !is_known(&request.output_format) {
        return bad_request;
    }
    if !WRITABLE.iter().any(|&format| is_named(&request.output_format, format)) {
        return Expected::Refusal(is_unsupported_output);
    }
    match blocks(request) {
        Ok(blocks) => Expected::Copy(blocks.window(size)),
        Err(_) => bad_request,
    }
}

/// What is in the output of a copy of a raw disk.
fn check_copy(done: &Done<Report>, request: &Request, input: &File, window: &Window) {
    let (host, is_raw) = (&done.host, is_named(&request.output_format, Format::Raw));
    match done.outcome {
        Ok(found) => assert_eq!(found, report(input, window)),
        Err(failure) => return assert!(!is_raw && is_of_size(&failure, window), "{failure:?}"),
    }
    let image = host.output(FileId(OUTPUT)).expect("it has been given a length");
    if is_raw {
        let operations = host.reads() + host.step_count();
        assert!(operations <= MAX_OPERATIONS, "{} reads, {:?}", host.reads(), host.steps());
        assert_eq!(Some(image.file_len()), window.output_len());
        assert_eq!(host.written(FileId(OUTPUT)), image.file_len(), "no holes are left");
    }
    // The disk's last sector may reach beyond the file.
    let Range { start, end } = window.range();
    let mut disk = SparseFile::new(window.len());
    disk.write_from(0, &input.content, start..end.min(input.content.file_len()));
    check_disk(image, request.output_format, Vec::new(), &disk);
}

/// What is in the output of a copy of any disk is what would be in a raw one.
fn check_as_raw(done: &Done<Report>, request: &Request, files: &[File]) {
    let Ok(report) = done.outcome else { return };
    let Some(raw) = run(files, &Request { output_format: padded(Format::Raw), ..*request }) else { return };
    assert_eq!(raw.outcome, Ok(report));
    let image = done.host.output(FileId(OUTPUT)).expect("it has been given a length");
    let disk = raw.host.output(FileId(OUTPUT)).expect("it has been given a length");
    check_disk(image, request.output_format, Vec::new(), &disk);
}

fn is_known(name: &[u8; FORMAT_NAME_LEN]) -> bool {
    Format::ALL.into_iter().any(|format| is_named(name, format))
}

fn is_known_or_none(name: &[u8; FORMAT_NAME_LEN]) -> bool {
    text(name).is_empty() || is_known(name)
}

fn is_too_large(failure: &Failure) -> bool {
    matches!(failure, Failure::Image { file: FileId(INPUT), error } if error.kind == ErrorKind::TooLarge)
}

/// Whether the output is refused because its format has no disks as large as the window, or none without a byte.
fn is_of_size(failure: &Failure, window: &Window) -> bool {
    let Failure::Image { file: FileId(OUTPUT), error } = failure else { return false };
    match error.kind {
        ErrorKind::TooLarge => true,
        ErrorKind::UnsupportedFeature => window.is_empty(),
        _ => false,
    }
}

fn is_unsupported_output(failure: &Failure) -> bool {
    matches!(failure, Failure::Image { file: FileId(OUTPUT), error } if error.kind == ErrorKind::UnsupportedFormat)
}

fn blocks(request: &Request) -> Result<Blocks, OperandError> {
    let count = (request.count != NO_COUNT).then_some(request.count);
    Ok(Blocks {
        block_size: BlockSize::new(request.block_size)?,
        count: count.map(BlockCount::new).transpose()?,
        skip: BlockCount::new(request.skip)?,
    })
}

fn report(input: &File, window: &Window) -> Report {
    Report {
        virtual_size: input.content.file_len().next_multiple_of(512),
        window_len: window.len(),
        flags: if window.skip_past_end() { SKIPPED_PAST_END } else { 0 },
    }
}
