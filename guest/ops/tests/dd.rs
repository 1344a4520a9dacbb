//! The whole operation, on files in memory.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use core::ops::Range;

use fmt_core::probe::PROBE_LEN;
use fmt_core::{Error, ErrorKind, FileId, Format, ReadAt, Source, Step, round_up_to_sector};
use guest_abi::dd::{FORMAT_NAME_LEN, INPUT, NO_COUNT, OUTPUT, Report, Request, SKIPPED_PAST_END};
use guest_abi::identity::{Identity, NAME_LEN};
use guest_ops::testing::{Input, MemoryHost};
use guest_ops::{Failure, dd};

const NO_FORMAT: &str = "";

/// `dd -f INPUT_FORMAT -O raw` with no other operand.
fn request(input_format: &str) -> Request {
    Request {
        input_format: padded(input_format),
        output_format: padded("raw"),
        block_size: 512,
        count: NO_COUNT,
        skip: 0,
        identity: Identity { uuid: [1; 16], unix_time: 1_700_000_000, name: [b'x'; NAME_LEN] },
    }
}

fn padded(name: &str) -> [u8; FORMAT_NAME_LEN] {
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

fn host(input: Input) -> MemoryHost {
    MemoryHost::new().with_input(input).with_output(u64::MAX)
}

/// Bytes that tell where they were, and carry no format's mark.
fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// The output's bytes; all of them must have been written, so that none is a hole.
fn written(host: &MemoryHost) -> Vec<u8> {
    let output = host.output(FileId(OUTPUT)).unwrap();
    assert_eq!(host.written(FileId(OUTPUT)), output.file_len());
    let mut bytes = vec![0; output.file_len().try_into().unwrap()];
    output.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[track_caller]
fn copies(len: usize, block_size: u64, skip: u64, count: u64, expected: Range<usize>) {
    let input = pattern(len);
    let host = host(Input::new(input.clone()));
    let report = dd::run(&host, &Request { block_size, skip, count, ..request("raw") }).unwrap();

    let virtual_size = round_up_to_sector(len as u64).unwrap();
    assert_eq!(report, Report { virtual_size, window_len: expected.len() as u64, flags: 0 });
    // The last sectors of both disks end in zeros.
    let mut disk = input;
    disk.resize(len.next_multiple_of(512), 0);
    let mut output = disk[expected].to_vec();
    output.resize(output.len().next_multiple_of(512), 0);
    assert_eq!(written(&host), output);
}

#[track_caller]
fn refuses(host: &MemoryHost, request: &Request, expected: Failure) {
    assert_eq!(dd::run(host, request), Err(expected));
    assert!(host.steps().is_empty(), "nothing is asked of the output");
}

fn shown(steps: &[Step<'_>]) -> Vec<String> {
    steps.iter().map(|step| format!("{step:?}")).collect()
}

/// The formats that are read and written.
const SUPPORTED: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx];

fn unsupported(file: u32, format: Format) -> Failure {
    let error = Error::new(ErrorKind::UnsupportedFormat, 0, format.name());
    Failure::Image { file: FileId(file), error }
}

#[test]
fn the_window_is_copied_and_padded_to_whole_sectors() {
    copies(4096, 512, 0, NO_COUNT, 0..4096);
    copies(4096, 512, 3, NO_COUNT, 1536..4096);
    copies(4096, 512, 3, 5, 1536..2560);
    copies(4096, 1000, 1, 3, 1000..3000);
    copies(4096, 1, 4095, NO_COUNT, 4095..4096);
    copies(4096, 4096, 0, u64::MAX >> 1, 0..4096);
    copies(4096, 512, 8, NO_COUNT, 4096..4096);
    copies(4096, 512, 0, 0, 0..0);
}

#[test]
fn a_file_that_ends_within_a_sector_ends_in_zeros() {
    copies(1000, 512, 0, NO_COUNT, 0..1024);
    copies(1000, 1, 998, 1003, 998..1003);
    copies(1000, 1, 1010, NO_COUNT, 1010..1024);
    copies(1, 512, 0, NO_COUNT, 0..512);
    copies(0, 512, 0, NO_COUNT, 0..0);
}

#[test]
fn skipping_past_the_end_makes_an_empty_output() {
    let host = host(Input::new(pattern(4096)));
    let report = dd::run(&host, &Request { skip: 9, ..request("raw") }).unwrap();
    assert_eq!(report, Report { virtual_size: 4096, window_len: 0, flags: SKIPPED_PAST_END });
    assert_eq!(host.steps(), shown(&[Step::SetLen { file: FileId(OUTPUT), len: 0 }]));
}

#[test]
fn the_end_of_the_longest_disk_is_copied() {
    let file_len = u64::MAX - 511;
    let host = host(Input::new([]).with_hole(file_len));
    let report =
        dd::run(&host, &Request { block_size: 1 << 30, skip: (1 << 34) - 1, ..request("raw") }).unwrap();
    let (src, len) = (u64::MAX - (1 << 30) + 1, (1 << 30) - 512);
    assert_eq!(report, Report { virtual_size: file_len, window_len: len, flags: 0 });
    let (source, file) = (Source::Data { file: FileId(INPUT), offset: src }, FileId(OUTPUT));
    let steps = [Step::SetLen { file, len }, Step::Fill { file, dst: 0, len, source }];
    assert_eq!(host.steps(), shown(&steps));
}

#[test]
fn a_file_whose_sectors_do_not_fit_64_bits_is_refused() {
    let error = Error::new(ErrorKind::TooLarge, u64::MAX, "the length of the file");
    let host = host(Input::new([]).with_hole(u64::MAX));
    refuses(&host, &request("raw"), Failure::Image { file: FileId(INPUT), error });
}

/// The beginning of an image of every format that has a mark there.
fn heads() -> Vec<(Format, Vec<u8>)> {
    let at = |offset: usize, mark: &[u8]| [vec![b' '; offset].as_slice(), mark].concat();
    let mut bochs = at(64, &[0, 0, 2, 0]);
    bochs[..23].copy_from_slice(b"Bochs Virtual HD Image\0");
    bochs[32..40].copy_from_slice(b"Redolog\0");
    bochs[48..56].copy_from_slice(b"Growing\0");
    let cloop = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";
    vec![
        (Format::Qcow2, b"QFI\xfb\0\0\0\x03".to_vec()),
        (Format::Vmdk, b"KDMV\x01\0\0\0".to_vec()),
        (Format::Vmdk, b"# Disk DescriptorFile\nversion=1\n".to_vec()),
        (Format::Vpc, b"conectix".to_vec()),
        (Format::Vhdx, b"vhdxfile".to_vec()),
        (Format::Qcow, b"QFI\xfb\0\0\0\x01".to_vec()),
        (Format::Qed, b"QED\0".to_vec()),
        (Format::Vdi, at(0x40, b"\x7f\x10\xda\xbe")),
        (Format::Parallels, b"WithoutFreeSpace\x02\0\0\0".to_vec()),
        (Format::Luks, b"LUKS\xba\xbe\0\x01".to_vec()),
        (Format::Bochs, bochs),
        (Format::Cloop, cloop.to_vec()),
    ]
}

/// A head without an image behind it is a broken image, or one of a format that is not read; and never raw.
#[test]
fn a_head_alone_is_refused() {
    let heads = heads();
    for format in Format::ALL.into_iter().filter(|format| !matches!(format, Format::Raw | Format::Dmg)) {
        assert!(heads.iter().any(|(of, _)| *of == format), "{format} has a head here");
    }
    for (format, head) in heads {
        for len in [head.len(), PROBE_LEN, PROBE_LEN + 1] {
            let mut bytes = head.clone();
            bytes.resize(len.max(head.len()), 0);
            let host = host(Input::new(bytes));
            if SUPPORTED.contains(&format) {
                let failure = dd::run(&host, &request(NO_FORMAT)).unwrap_err();
                assert!(matches!(failure, Failure::Image { file: FileId(INPUT), .. }), "{failure:?}");
                assert!(host.steps().is_empty(), "nothing is asked of the output");
            } else {
                refuses(&host, &request(NO_FORMAT), unsupported(INPUT, format));
            }
        }
    }
}

#[test]
fn what_carries_no_mark_is_copied_as_raw() {
    for len in [0, 1, PROBE_LEN, 3 * PROBE_LEN] {
        let host = host(Input::new(pattern(len)));
        dd::run(&host, &request(NO_FORMAT)).unwrap();
        assert_eq!(written(&host)[..len], pattern(len));
    }
}

#[test]
fn an_input_said_to_be_raw_is_not_even_looked_at() {
    for (format, head) in heads() {
        let host = host(Input::new(head.clone()).named_dmg(true));
        dd::run(&host, &request("raw")).unwrap();
        assert_eq!(host.reads(), 0, "{format}");
        assert_eq!(written(&host)[..head.len()], head);
    }
}

#[test]
fn an_input_said_to_be_of_another_format_is_refused() {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Raw) {
        let host = host(Input::new(pattern(4096)));
        let failure = dd::run(&host, &request(format.name())).unwrap_err();
        let Failure::Image { file: FileId(INPUT), error } = failure else { panic!("{failure:?}") };
        assert_eq!(error.kind == ErrorKind::UnsupportedFormat, !SUPPORTED.contains(&format), "{error}");
        assert!(host.steps().is_empty(), "nothing is asked of the output");
    }
}

#[test]
fn a_name_in_dmg_decides_where_no_mark_does() {
    let dmg = host(Input::new(pattern(4096)).named_dmg(true));
    refuses(&dmg, &request(NO_FORMAT), unsupported(INPUT, Format::Dmg));
    let qed = host(Input::new(b"QED\0").named_dmg(true));
    refuses(&qed, &request(NO_FORMAT), unsupported(INPUT, Format::Qed));
}

#[test]
fn an_output_of_a_format_that_is_not_written_is_refused() {
    for format in Format::ALL.into_iter().filter(|format| !SUPPORTED.contains(format)) {
        let host = host(Input::new(pattern(4096)));
        let request = Request { output_format: padded(format.name()), ..request("raw") };
        refuses(&host, &request, unsupported(OUTPUT, format));
    }
}

#[test]
fn requests_without_sense_are_refused() {
    let bad = |request: Request, what| {
        refuses(&host(Input::new(pattern(4096))), &request, Failure::BadRequest(what));
    };
    bad(request("QCOW2"), "unknown format");
    bad(Request { input_format: [b'x'; FORMAT_NAME_LEN], ..request("") }, "unknown format");
    bad(Request { output_format: padded("file"), ..request("raw") }, "unknown format");
    bad(Request { output_format: padded(""), ..request("raw") }, "no output format");

    let number = "a number of blocks is out of range";
    bad(Request { block_size: 0, ..request("raw") }, number);
    bad(Request { block_size: 1 << 31, ..request("raw") }, number);
    bad(Request { count: 1 << 63, ..request("raw") }, number);
    bad(Request { skip: 1 << 63, ..request("raw") }, number);
    bad(Request { skip: u64::MAX, ..request("raw") }, number);
}
