//! Frames of Zstandard, as a decoder gets them: those that libzstd writes, and those that nobody should.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::io::Write;

use fmt_core::Codec;
use guest_ops::decode::Decoder;
use zstd::stream::write::Encoder;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How a frame is written.
#[derive(Clone, Copy, Debug)]
struct Style {
    level: i32,
    window_log: u32,
    says_its_size: bool,
    checksum: bool,
    long_matches: bool,
}

const STYLE: Style =
    Style { level: 3, window_log: 17, says_its_size: true, checksum: false, long_matches: false };

fn frame(plain: &[u8], style: Style) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), style.level).unwrap();
    encoder.window_log(style.window_log).unwrap();
    encoder.include_checksum(style.checksum).unwrap();
    encoder.long_distance_matching(style.long_matches).unwrap();
    encoder.set_pledged_src_size(style.says_its_size.then_some(plain.len() as u64)).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Lines, noise and runs, whose blocks are of all types.
fn content(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    let mut noise = 1u64;
    for n in 0u64.. {
        match n % 500 {
            490..499 => bytes.extend((0..20 * KIB).map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                noise.to_le_bytes()[7]
            })),
            499 => bytes.resize(bytes.len() + 200 * KIB, b'-'),
            _ => bytes.extend(format!("line {n}, {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).bytes()),
        }
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

/// What a new decoder makes of the first `len` bytes of a frame.
fn decoded(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    decoded_with(&mut Decoder::default(), packed, len)
}

fn decoded_with(decoder: &mut Decoder, packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0xa5; len];
    let written = decoder.decode(Codec::Zstd, packed, &mut plain)?;
    assert_eq!(written, len, "a part of it is not enough");
    Some(plain)
}

#[test]
fn frames_of_every_style_are_read_whatever_follows_them() {
    let whole = content(2 * MIB);
    let mut decoder = Decoder::default();
    for len in [1, 3, 512, 4 * KIB, 64 * KIB, 64 * KIB + 1, 128 * KIB, 300 * KIB, 2 * MIB] {
        let plain = &whole[whole.len() - len..];
        for level in [-7, 1, 3, 13] {
            for bits in 0..8 {
                let [says_its_size, checksum, long_matches] = [1, 2, 4].map(|bit| bits & bit != 0);
                let window_log = if bits % 3 == 0 { 10 } else { 21 };
                let style = Style { level, window_log, says_its_size, checksum, long_matches };
                let mut packed = frame(plain, style);
                packed.extend(&whole[..511]);
                assert!(
                    decoded_with(&mut decoder, &packed, len).is_some_and(|it| it == plain),
                    "{len}: {style:?}"
                );
            }
        }
    }
}

#[test]
fn a_frame_may_hold_more_than_is_wanted_and_not_less() {
    let plain = content(300 * KIB);
    for says_its_size in [true, false] {
        let packed = frame(&plain, Style { says_its_size, ..STYLE });
        for len in [1, 512, 128 * KIB, 128 * KIB + 1, plain.len() - 1] {
            assert!(decoded(&packed, len).is_some_and(|it| it == plain[..len]), "{len}");
        }
        assert_eq!(decoded(&packed, plain.len() + 1), None);
        // The last blocks are not there.
        assert_eq!(decoded(&packed[..packed.len() - 1], plain.len()), None);
        assert_eq!(decoded(&[], 1), None);
    }
}

#[test]
fn one_frame_is_a_unit() {
    let plain = content(4 * KIB);
    let packed = frame(&plain, STYLE);
    assert_eq!(decoded(&[&packed[..], &packed].concat(), 2 * plain.len()), None);
    // A frame that is to be skipped (RFC 8878, 3.1.2), of four bytes.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(decoded(&[&skipped[..], &packed].concat(), plain.len()), None);
}

#[test]
fn windows_are_bounded_and_content_may_be_larger() {
    let plain = content(2 * MIB);
    for says_its_size in [true, false] {
        let largest = Style { window_log: 22, says_its_size, ..STYLE };
        assert!(decoded(&frame(&plain, largest), plain.len()).is_some_and(|it| it == plain));
    }
    let unknown = Style { window_log: 23, says_its_size: false, ..STYLE };
    assert_eq!(decoded(&frame(&plain, unknown), plain.len()), None);

    let longer = content(5 * MIB);
    let several_windows = frame(&longer, STYLE);
    assert!(decoded(&several_windows, plain.len()).is_some_and(|it| it == longer[..plain.len()]));
    // It says that its window is its size.
    let one_window = frame(&longer, Style { window_log: 23, ..STYLE });
    assert_eq!(decoded(&one_window, plain.len()), None);
}

/// A frame of one RLE block, by hand (RFC 8878, 3.1.1): its size in eight bytes, and either a window of 1 KiB or one
/// segment.
fn claiming(size: u64, one_segment: bool) -> Vec<u8> {
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    const LAST_RLE_BLOCK_OF_512: [u8; 3] = [0x03, 0x10, 0x00];
    let header: &[u8] = if one_segment { &[0xe0] } else { &[0xc0, 0] };
    [&MAGIC[..], header, &size.to_le_bytes(), &LAST_RLE_BLOCK_OF_512, b"x"].concat()
}

#[test]
fn a_claimed_size_must_be_true() {
    for one_segment in [true, false] {
        assert_eq!(decoded(&claiming(512, one_segment), 512), Some(vec![b'x'; 512]));
        for size in [0, 511, 513, 2 << 20, 4 << 20, u64::MAX / 2, u64::MAX] {
            assert_eq!(decoded(&claiming(size, one_segment), 512), None, "{size}");
        }
    }
}

/// Frames with one byte changed, or cut short, are refused or not, as in a new decoder; and the frame behind each is read.
#[test]
fn a_broken_unit_leaves_nothing_behind() {
    let plain = content(3 * KIB);
    let mut decoder = Decoder::default();
    let mut refused = 0;
    for style in [STYLE, Style { window_log: 10, says_its_size: false, level: 19, ..STYLE }] {
        let packed = frame(&plain, style);
        for at in 0..packed.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut broken = packed.clone();
                broken[at] ^= change;
                for broken in [&broken[..], &broken[..at]] {
                    let outcome = decoded_with(&mut decoder, broken, plain.len());
                    assert_eq!(outcome, decoded(broken, plain.len()), "byte {at}, {change:#x}");
                    refused += usize::from(outcome.is_none());
                    assert!(decoded_with(&mut decoder, &packed, plain.len()).is_some_and(|it| it == plain));
                }
            }
        }
    }
    assert!(refused > 1000, "only {refused} were refused");
}
