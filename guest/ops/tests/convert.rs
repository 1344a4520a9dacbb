//! The whole operation, on files in memory.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use core::cell::Cell;

use fmt_core::{DiskMap, ErrorKind, FileId, Format, ReadAt, Source};
use guest_abi::convert::{PACK, Report, Request, STAGE_LEN};
use guest_abi::dd::FORMAT_NAME_LEN;
use guest_ops::testing::{Input, MemoryHost};
use guest_ops::{Failure, convert, input};
use zerocopy::FromZeros;

/// The formats that are written.
const FORMATS: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx];

/// `convert -O FORMAT` of so many raw inputs.
fn request(inputs: u32, format: &str) -> Request {
    let mut request = Request::new_zeroed();
    request.inputs = inputs;
    request.leaves_zeros = 1;
    request.input_format = padded("raw");
    request.output_format = padded(format);
    request.identity.uuid = [1; 16];
    request.identity.name[0] = b'x';
    request
}

fn padded(name: &str) -> [u8; FORMAT_NAME_LEN] {
    let mut padded = [0; FORMAT_NAME_LEN];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// The request with these options, this snapshot and this backing file.
fn with_texts(mut request: Request, options: &[(&str, &str)], snapshot: &str, backing: &str) -> Request {
    let options: String = options.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    let text = [options.as_str(), snapshot, backing].concat();
    request.text[..text.len()].copy_from_slice(text.as_bytes());
    request.options_len = options.len().try_into().unwrap();
    request.snapshot_len = snapshot.len().try_into().unwrap();
    request.backing_len = backing.len().try_into().unwrap();
    request
}

fn host(inputs: &[&[u8]]) -> MemoryHost {
    let host = inputs.iter().fold(MemoryHost::new(), |host, input| host.with_input(Input::new(*input)));
    host.with_output(1 << 40).with_stage(STAGE_LEN)
}

/// The file that a host has after the command.
fn output(host: &MemoryHost, file: u32) -> Vec<u8> {
    let output = host.output(FileId(file)).unwrap();
    let mut bytes = vec![0; output.file_len().try_into().unwrap()];
    output.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn convert(inputs: &[&[u8]], request: &Request) -> Vec<u8> {
    let host = host(inputs);
    let report = convert::run(&host, request).unwrap();
    let size: usize = inputs.iter().map(|input| input.len().next_multiple_of(512)).sum();
    if request.input_format == padded("raw") {
        assert_eq!(report, Report { virtual_size: size as u64 });
    }
    output(&host, request.inputs)
}

/// The disk that is in `image`, as `instar` itself reads it, in `format`. What is in a backing file reads as `behind`.
fn disk(image: &[u8], format: Format) -> Vec<u8> {
    let request = Request { input_format: padded(format.name()), ..request(1, "raw") };
    convert(&[image], &request)
}

/// Stretches of text, noise and zeros, of no particular length.
fn islands(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut random = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let mut disk = vec![0; len];
    let mut at = 0;
    while at < len {
        let end = (at + 1 + random(200_000)).min(len);
        match random(4) {
            0 => disk[at..end].fill_with(|| random(255).try_into().unwrap()),
            1 => disk[at..end].fill(b'a'),
            _ => {}
        }
        at = end;
    }
    disk
}

#[track_caller]
fn reads_as(image: &[u8], format: Format, expected: &[u8]) {
    let found = disk(image, format);
    // A VHD's disk has the size of a geometry.
    assert!(found[..expected.len()] == *expected, "{format}");
    assert!(found[expected.len()..].iter().all(|&byte| byte == 0), "{format}");
}

#[test]
fn every_format_holds_the_disk_and_no_more() {
    let bytes = islands(5 << 20, 1);
    for format in FORMATS {
        let image = convert(&[&bytes], &request(1, format.name()));
        reads_as(&image, format, &bytes);
        if format == Format::Qcow2 || format == Format::Vmdk {
            let used = bytes.chunks(65536).filter(|block| block.iter().any(|&byte| byte != 0)).count();
            assert!(image.len() <= used * 65536 + (512 << 10), "{format} has {} bytes", image.len());
        }
    }
}

#[test]
fn everything_is_written_where_zeros_are_wanted() {
    let bytes = islands(3 << 20, 2);
    let dense = Request { leaves_zeros: 0, ..request(1, "qcow2") };
    let image = convert(&[&bytes], &dense);
    assert!(image.len() > 3 << 20);
    reads_as(&image, Format::Qcow2, &bytes);
}

#[test]
fn blocks_of_zeros_are_left_out_wherever_they_are() {
    let mut bytes = vec![1; 1 << 20];
    let full = convert(&[&bytes], &request(1, "qcow2")).len();
    // Two blocks and a piece of one, eight in a row, and a piece of the last one.
    bytes[65_536..200_000].fill(0);
    bytes[458_752..983_040].fill(0);
    bytes[1_048_000..].fill(0);
    let image = convert(&[&bytes], &request(1, "qcow2"));
    assert_eq!(image.len() + 10 * 65_536, full);
    reads_as(&image, Format::Qcow2, &bytes);
}

#[test]
fn an_output_has_options() {
    let bytes = islands(1 << 20, 3);
    let options = [("cluster_size", "512"), ("compat", "0.10")];
    let image = convert(&[&bytes], &with_texts(request(1, "qcow2"), &options, "", ""));
    assert_eq!((image[7], image[23]), (2, 9), "version and cluster bits");
    reads_as(&image, Format::Qcow2, &bytes);
}

#[test]
fn inputs_are_one_behind_the_other_in_whole_sectors() {
    let (one, two) = (islands(100_000, 4), islands(70_001, 5));
    let mut expected = one.clone();
    expected.resize(100_000_usize.next_multiple_of(512), 0);
    expected.extend(&two);
    expected.resize(expected.len().next_multiple_of(512), 0);
    expected.extend(&one);
    for format in FORMATS {
        let image = convert(&[&one, &two, &one], &request(3, format.name()));
        reads_as(&image, format, &expected);
    }
}

#[test]
fn compressed_outputs_hold_the_disk() {
    let bytes = islands((3 << 20) + 512, 6);
    let plain = convert(&[&bytes], &request(1, "qcow2"));
    let pack = |format| Request { flags: PACK, ..request(1, format) };
    for options in [
        &[][..],
        &[("compression_type", "zstd")],
        &[("cluster_size", "512")],
        &[("cluster_size", "2M")],
        &[("extended_l2", "on")],
    ] {
        let image = convert(&[&bytes], &with_texts(pack("qcow2"), options, "", ""));
        reads_as(&image, Format::Qcow2, &bytes);
        if options.is_empty() {
            assert!(image.len() < plain.len());
        }
    }
    // A stream of compressed grains is compressed whether that was asked for or not.
    for request in [pack("vmdk"), request(1, "vmdk")] {
        let image = convert(&[&bytes], &with_texts(request, &[("subformat", "streamOptimized")], "", ""));
        reads_as(&image, Format::Vmdk, &bytes);
    }
}

/// What is decompressed to be compressed goes through the stage.
#[test]
fn compressed_inputs_can_be_compressed_again() {
    let bytes = islands(2 << 20, 7);
    let packed = convert(&[&bytes], &Request { flags: PACK, ..request(1, "qcow2") });
    let again = Request { flags: PACK, input_format: padded("qcow2"), ..request(1, "qcow2") };
    let again = with_texts(again, &[("cluster_size", "16k"), ("compression_type", "zstd")], "", "");
    reads_as(&convert(&[&packed], &again), Format::Qcow2, &bytes);
}

#[test]
fn compression_where_there_is_none_is_refused() {
    let preallocated = [("preallocation", "metadata")];
    for (format, options) in
        [("raw", &[][..]), ("vpc", &[]), ("vhdx", &[]), ("vmdk", &[]), ("qcow2", &preallocated)]
    {
        let host = host(&[&[1; 4096]]);
        let request = Request { flags: PACK, ..request(1, format) };
        let failure = convert::run(&host, &with_texts(request, options, "", "")).unwrap_err();
        let Failure::Image { file: FileId(1), error } = failure else { panic!("{failure:?}") };
        assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
        assert!(host.steps().is_empty(), "nothing is asked of the output: {format}");
    }
}

/// The parts of an image that are its own, as ranges of bytes, and which of them are zeros.
fn own_parts(image: &[u8]) -> Vec<(u64, u64, bool)> {
    let mut map = fmt_qcow2::Qcow2Map::new(image, FileId(0)).unwrap();
    let size = map.virtual_size();
    let mut parts: Vec<(u64, u64, bool)> = Vec::new();
    for extent in map.extents(0..size).map(Result::unwrap) {
        if extent.source == Source::Unallocated {
            continue;
        }
        let is_zero = extent.source == Source::Zero;
        match parts.last_mut() {
            Some((_, end, zero)) if (*end, *zero) == (extent.start, is_zero) => *end = extent.end(),
            _ => parts.push((extent.start, extent.end(), is_zero)),
        }
    }
    parts
}

/// Clusters of 4 KiB become clusters of 64 KiB: what the input leaves to its backing file of one in which it has something
/// itself is taken from there.
#[test]
fn an_overlay_has_what_its_input_has_itself() {
    let below = vec![7; 1 << 20];
    let mut above = vec![0; 1 << 20];
    above[4096..8192].fill(1);
    above[131_072..204_800].fill(2);
    above[(1 << 20) - 512..].fill(3);
    let options = [("cluster_size", "4k")];
    let top = convert(&[&above], &with_texts(request(1, "qcow2"), &options, "", ""));
    // The same image, standing on another file.
    let over =
        with_texts(Request { input_format: padded("qcow2"), ..request(1, "qcow2") }, &options, "", "below");
    let over = Request { backing_format: padded("raw"), ..over };
    let top = convert(&[&top], &over);
    assert_eq!(
        own_parts(&top),
        [(4096, 8192, false), (131_072, 204_800, false), ((1 << 20) - 4096, 1 << 20, false)]
    );

    for flags in [0, PACK] {
        let request = Request { input_format: padded("qcow2"), flags, ..request(1, "qcow2") };
        let request = Request { backing_format: padded("raw"), ..with_texts(request, &[], "", "below") };
        let host = MemoryHost::new().with_input(Input::new(top.clone()));
        let host =
            host.with_output(1 << 40).with_stage(STAGE_LEN).with_named("below", Input::new(below.clone()));
        convert::run(&host, &request).unwrap();
        let image = output(&host, 1);
        let parts: Vec<_> = own_parts(&image).into_iter().map(|(start, end, _)| (start, end)).collect();
        assert_eq!(parts, [(0, 65_536), (131_072, 262_144), (983_040, 1 << 20)]);

        let mut expected = below.clone();
        for (range, byte) in [(4096..8192, 1), (131_072..204_800, 2)] {
            expected[range].fill(byte);
        }
        // The last cluster was data and zeros.
        expected[(1 << 20) - 4096..].fill(0);
        expected[(1 << 20) - 512..].fill(3);
        let host = MemoryHost::new().with_input(Input::new(image)).with_output(1 << 40).with_stage(STAGE_LEN);
        let host = host.with_named("below", Input::new(below.clone()));
        convert::run(&host, &Request { input_format: padded("qcow2"), ..self::request(1, "raw") }).unwrap();
        assert!(output(&host, 1) == expected);
    }
}

#[test]
fn zeros_of_an_overlay_are_marked() {
    let mut above = vec![0; 1 << 20];
    above[..65_536].fill(1);
    let dense = convert(&[&above], &Request { leaves_zeros: 0, ..request(1, "qcow2") });
    let over = Request { input_format: padded("qcow2"), ..request(1, "qcow2") };
    let image = convert(&[&dense], &with_texts(over, &[], "", "below"));
    assert_eq!(own_parts(&image), [(0, 65_536, false), (65_536, 1 << 20, true)]);
}

#[test]
fn an_input_can_be_opened_at_a_snapshot_that_it_has() {
    let image = convert(&[&[1; 4096]], &request(1, "qcow2"));
    for (format, input) in [("qcow2", &image[..]), ("raw", &[1; 4096])] {
        let request = Request { input_format: padded(format), ..request(1, "raw") };
        let failure = convert::run(&host(&[input]), &with_texts(request, &[], "one", "")).unwrap_err();
        let Failure::Image { file: FileId(0), error } = failure else { panic!("{failure:?}") };
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn requests_without_sense_are_refused() {
    let refused = |request: Request| {
        let host = host(&[&[1; 4096]]);
        let failure = convert::run(&host, &request).unwrap_err();
        assert!(host.steps().is_empty(), "nothing is asked of the output");
        failure
    };
    let bad = |request| assert!(matches!(refused(request), Failure::BadRequest(_)));
    bad(request(1, ""));
    bad(request(1, "QCOW2"));
    bad(Request { options_len: u32::MAX, ..request(1, "raw") });
    bad(Request { backing_len: 3000, ..request(1, "qcow2") });
    bad(with_texts(request(1, "qcow2"), &[("nonsense", "1")], "", ""));
    bad(with_texts(request(1, "qcow2"), &[("cluster_size", "big")], "", ""));
    bad(with_texts(
        Request { input_format: padded("qcow2"), ..request(1, "raw") },
        &[],
        "snapshot.size=1",
        "",
    ));
    for request in [with_texts(request(1, "raw"), &[], "", "below"), request(1, "qed")] {
        assert!(matches!(refused(request), Failure::Image { file: FileId(1), .. }));
    }
}

/// What the chain shows is what the image's own layer shows, and where that has nothing, what is behind.
#[test]
fn the_top_of_a_chain_is_told_apart() {
    let mut above = vec![0; 1 << 20];
    above[..65_536].fill(1);
    let top = convert(&[&above], &request(1, "qcow2"));
    let over = Request { input_format: padded("qcow2"), ..request(1, "qcow2") };
    let top = convert(&[&top], &with_texts(over, &[], "", "below"));
    let host = MemoryHost::new().with_input(Input::new(top)).with_named("below", Input::new([7; 131_072]));
    let blamed = Cell::new(FileId(0));
    let mut chain = input::open(&host, FileId(0), Some(Format::Qcow2), None, &blamed).unwrap();
    assert_eq!(chain.own_extent_at(65_536).unwrap().source, Source::Unallocated);
    assert_eq!(chain.extent_at(65_536).unwrap().source, Source::Data { file: FileId(1), offset: 65_536 });
    assert_eq!(chain.own_extent_at(0).unwrap(), chain.extent_at(0).unwrap());
}
