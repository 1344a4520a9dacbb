//! `dd` as the guest does it, from any request and any image to what is in the output.
//!
//! An input is a `Case`, little-endian, and behind it the bytes of the image. The memory that stands in for the host
//! checks each step; here its outcome is compared with what the request and the image call for.

#![no_main]

use core::ops::Range;

use dd_window::{BlockCount, BlockSize, Blocks, OperandError, Window};
use fmt_core::probe::{PROBE_LEN, probe};
use fmt_core::{ErrorKind, FileId, Format, ReadAt, round_up_to_sector};
use guest_abi::dd::{FORMAT_NAME_LEN, INPUT, NO_COUNT, OUTPUT, Report, Request, SKIPPED_PAST_END};
use guest_abi::identity::{Identity, NAME_LEN};
use guest_ops::testing::{Input, MemoryHost, OutputView};
use guest_ops::{Failure, dd};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

/// The fields of a request, and the image beside its bytes.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Case {
    input_format: [u8; FORMAT_NAME_LEN],
    output_format: [u8; FORMAT_NAME_LEN],
    block_size: u64,
    count: u64,
    skip: u64,
    /// How many zero bytes follow the image's.
    hole: u64,
    /// Odd: the image's name ends in `.dmg`.
    named_dmg: u64,
}

impl Case {
    fn request(&self) -> Request {
        let &Self { input_format, output_format, block_size, count, skip, .. } = self;
        let identity = Identity { uuid: [7; 16], unix_time: 1_700_000_000, name: [b'x'; NAME_LEN] };
        Request { input_format, output_format, block_size, count, skip, identity }
    }

    fn is_named_dmg(&self) -> bool {
        self.named_dmg & 1 == 1
    }
}

/// How many operations a copy of a raw disk may take: the head is read, the output gets its length, padding, the file's
/// bytes and the zeros behind them.
const MAX_OPERATIONS: usize = 5;

/// How much of a disk with tables is copied, in bytes.
const MAX_WINDOW: u64 = 16 << 20;

/// Outputs up to this length are compared as a whole, longer ones at their ends and where the image's bytes end.
const SAMPLE_LEN: u64 = 4096;

fuzz_target!(|bytes: &[u8]| {
    let Ok((case, image)) = Case::read_from_prefix(bytes) else { return };
    let input = Input::new(image).with_hole(case.hole).named_dmg(case.is_named_dmg());
    match expected(&case, image, &input) {
        Expected::Any => run_bounded(&case, input),
        expected => check(&case, image, input, expected),
    }
});

/// Where formats have tables, what must hold is what the memory host asserts: no step outside the files, nothing written
/// twice. What an image claims may be too much to copy here, so only the beginning is.
fn run_bounded(case: &Case, input: Input) {
    let count = case.request().count.min(MAX_WINDOW / case.block_size.max(1));
    let host = MemoryHost::new().with_input(input).with_output(u64::MAX);
    let _ = dd::run(&host, &Request { count, ..case.request() });
}

fn check(case: &Case, image: &[u8], input: Input, expected: Expected) {
    let request = case.request();
    let host = MemoryHost::new().with_input(input.clone()).with_output(max_output_len(&request, &input));
    let outcome = dd::run(&host, &request);
    let steps = host.steps().len();
    assert!(host.reads() + steps <= MAX_OPERATIONS, "{} reads, {steps} steps", host.reads());
    match expected {
        Expected::Copy(window) => {
            assert_eq!(outcome, Ok(report(&input, &window)), "{case:?}");
            let output = host.output(FileId(OUTPUT)).expect("it has been given a length");
            check_content(&output, &input, image.len() as u64, &window);
        }
        Expected::Refusal(is_expected) => {
            let failure = outcome.expect_err("a refusal");
            assert!(is_expected(&failure), "{case:?}: {failure:?}");
            assert_eq!(steps, 0, "nothing is asked of the output");
        }
        Expected::Any => {}
    }
    if is_named(&request.input_format, Format::Raw) {
        assert_eq!(host.reads(), 0, "the bytes of a raw disk are none of the guest's business");
    }
}

/// The bound that the host sets: that of a raw disk.
fn max_output_len(request: &Request, input: &Input) -> u64 {
    let size = round_up_to_sector(input.file_len()).unwrap_or(u64::MAX);
    let window = blocks(request).map(|blocks| blocks.window(size));
    window.ok().and_then(|window| window.output_len()).unwrap_or(u64::MAX)
}

enum Expected {
    /// A format with tables takes part.
    Any,
    Copy(Window),
    Refusal(fn(&Failure) -> bool),
}

fn expected(case: &Case, image: &[u8], input: &Input) -> Expected {
    let request = &case.request();
    if !is_known_or_none(&request.input_format) {
        return Expected::Refusal(|failure| matches!(failure, Failure::BadRequest(_)));
    }
    if !reads_as_raw(case, image) {
        return Expected::Any;
    }
    let Some(size) = round_up_to_sector(input.file_len()) else {
        return Expected::Refusal(is_too_large);
    };
    if !is_known(&request.output_format) {
        return Expected::Refusal(|failure| matches!(failure, Failure::BadRequest(_)));
    }
    if !is_writable(&request.output_format) {
        return Expected::Refusal(is_unsupported_output);
    }
    let Ok(blocks) = blocks(request) else {
        return Expected::Refusal(|failure| matches!(failure, Failure::BadRequest(_)));
    };
    if !is_named(&request.output_format, Format::Raw) {
        return Expected::Any;
    }
    Expected::Copy(blocks.window(size))
}

fn reads_as_raw(case: &Case, image: &[u8]) -> bool {
    let said_to_be_raw = is_named(&case.input_format, Format::Raw);
    let asked = case.input_format[0] == 0;
    // The hole's zeros complete no mark that the image's bytes begin, but they may be a part of one.
    let mut head = image.to_vec();
    let hole = usize::try_from(case.hole).unwrap_or(usize::MAX);
    head.resize(head.len() + hole.min(PROBE_LEN), 0);
    said_to_be_raw || (asked && !case.is_named_dmg() && probe(&head) == Format::Raw)
}

fn is_named(name: &[u8], format: Format) -> bool {
    text(name) == format.name().as_bytes()
}

fn is_known(name: &[u8]) -> bool {
    Format::ALL.into_iter().any(|format| is_named(name, format))
}

fn is_known_or_none(name: &[u8]) -> bool {
    text(name).is_empty() || is_known(name)
}

fn is_writable(name: &[u8]) -> bool {
    [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx]
        .into_iter()
        .any(|format| is_named(name, format))
}

fn text(name: &[u8]) -> &[u8] {
    &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())]
}

fn is_too_large(failure: &Failure) -> bool {
    matches!(failure, Failure::Image { file: FileId(INPUT), error } if error.kind == ErrorKind::TooLarge)
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

fn report(input: &Input, window: &Window) -> Report {
    Report {
        virtual_size: input.file_len().next_multiple_of(512),
        window_len: window.len(),
        flags: if window.skip_past_end() { SKIPPED_PAST_END } else { 0 },
    }
}

fn check_content(output: &OutputView<'_>, input: &Input, data_len: u64, window: &Window) {
    assert_eq!(Some(output.file_len()), window.output_len());
    assert_eq!(output.written(), output.file_len(), "no holes are left");
    for range in samples(output.file_len(), data_len.saturating_sub(window.start())) {
        let len = usize::try_from(range.end - range.start).expect("samples are short");
        let mut actual = vec![0; len];
        output.read_exact_at(range.start, &mut actual).expect("samples are inside the output");
        let mut expected = vec![0; len];
        let wanted =
            usize::try_from(window.len().saturating_sub(range.start)).map_or(len, |rest| rest.min(len));
        // The disk's last sector may reach beyond the file.
        let from = window.start().saturating_add(range.start).min(input.file_len());
        input.read_up_to(from, &mut expected[..wanted]).expect("the input can be read");
        assert_eq!(actual, expected, "{range:?}");
    }
}

/// Ranges of an output of `len` bytes: its ends, and around byte `middle`.
fn samples(len: u64, middle: u64) -> [Range<u64>; 3] {
    let at = |start: u64| start.min(len)..start.saturating_add(SAMPLE_LEN).min(len);
    [at(0), at(middle.saturating_sub(SAMPLE_LEN / 2)), at(len.saturating_sub(SAMPLE_LEN))]
}
