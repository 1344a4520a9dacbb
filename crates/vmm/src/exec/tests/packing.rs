//! What is compressed can be decompressed, and is told of truly.

use flate2::{Decompress, FlushDecompress, Status};
use guest_abi::exchange::{CODEC_ZLIB, CODEC_ZSTD, MAX_UNIT_LEN, PACKED_ZEROS, pack_room};

use super::*;

const STAGE: u64 = 8 << 20;

/// What `packed` was before, for the codec that made it.
fn unpacked(packed: &[u8], codec: u32, len: usize) -> Vec<u8> {
    if codec == CODEC_ZSTD {
        return zstd::bulk::decompress(packed, len).unwrap();
    }
    // A decoder with a window of 4 KiB refuses what looks back further.
    let mut inflate =
        if codec == CODEC_ZLIB { Decompress::new(true) } else { Decompress::new_with_window_bits(false, 12) };
    let mut bytes = vec![0; len];
    assert_eq!(inflate.decompress(packed, &mut bytes, FlushDecompress::Finish).unwrap(), Status::StreamEnd);
    assert_eq!(inflate.total_out(), len as u64);
    bytes
}

fn text(len: usize) -> Vec<u8> {
    b"Nothing is compressed as well as what has been said before. "
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

fn answer(window: &Window, at: usize) -> u32 {
    u32::from_le_bytes(window.0[at..at + 4].try_into().unwrap())
}

#[test]
fn every_way_and_back() {
    let most = usize::try_from(MAX_UNIT_LEN).unwrap();
    for codec in [CODEC_DEFLATE, CODEC_ZLIB, CODEC_ZSTD] {
        for (content, shrinks) in [
            (text(65536), true),
            (text(most), true),
            (pattern(65536, 1), false),
            (pattern(most, 2), false),
            (vec![1], false),
        ] {
            let len = content.len() as u64;
            let mut fixture = Fixture::new().input("in", &content).output("out").stage(STAGE);
            let packed_len = fixture.run(NO_LIMITS, |executor, window| {
                executor
                    .carry_out(&[Record { codec, ..pack(0, 0, len, 2, 100, 9) }], &window.slice())
                    .unwrap();
                let packed_len = u64::from(answer(window, 9));
                let records = [set_len(1, packed_len), copy(2, 100, 1, 0, packed_len)];
                executor.carry_out(&records, &window.slice()).unwrap();
                executor.finish().unwrap();
                packed_len
            });
            assert!((1..=pack_room(len)).contains(&packed_len));
            assert_eq!(packed_len < len, shrinks);
            assert!(unpacked(&fixture.content("out"), codec, content.len()) == content);
        }
    }
}

#[test]
fn zeros_are_told_and_not_written() {
    let mut fixture = Fixture::new().input("in", &[0; 5000]).stage(STAGE);
    fixture.run(NO_LIMITS, |executor, window| {
        let window_len = window.0.len();
        window.0.fill(8);
        executor.carry_out(&[write(0, 1, 0, 5000)], &window.slice()).unwrap();
        executor.carry_out(&[pack(0, 0, 5000, 1, 0, 100)], &window.slice()).unwrap();
        assert_eq!(answer(window, 100), PACKED_ZEROS);
        executor.carry_out(&[read(1, 0, 0, 5000)], &window.slice()).unwrap();
        assert_eq!(window.0[..5000], [8; 5000]);
        assert_eq!(window.0.len(), window_len);
    });
}

#[test]
fn many_at_once_and_from_the_stage() {
    let units = 60;
    let content: Vec<u8> = (0..units)
        .flat_map(|n| [pattern(9 + n * 50, n as u64), text(65_536 - 9 - n * 50)].concat())
        .collect();
    let mut fixture = Fixture::new().input("in", &content).output("out").stage(2 * STAGE);
    let conduct = Conduct { workers: 4.try_into().unwrap(), ..Conduct::default() };
    let lens = fixture.run_as(conduct, &NoDecoders, NO_LIMITS, |executor, window| {
        executor.carry_out(&[copy(0, 0, 2, STAGE, content.len() as u64)], &window.slice()).unwrap();
        let places = |n: u64| (STAGE + n * 65_536, n * pack_room(65_536));
        let records: Vec<_> = (0..units as u64)
            .map(|n| pack(2, places(n).0, 65_536, 2, places(n).1, 4 * u32::try_from(n).unwrap()))
            .collect();
        executor.carry_out(&records, &window.slice()).unwrap();
        let lens: Vec<u64> = (0..units).map(|n| answer(window, 4 * n).into()).collect();
        let mut copies = vec![set_len(1, lens.iter().sum())];
        let mut dst = 0;
        for (n, &len) in (0..).zip(&lens) {
            copies.push(copy(2, places(n).1, 1, dst, len));
            dst += len;
        }
        executor.carry_out(&copies, &window.slice()).unwrap();
        executor.finish().unwrap();
        lens
    });
    let packed = fixture.content("out");
    let mut rest = packed.as_slice();
    for (unit, len) in content.chunks(65_536).zip(lens) {
        let (own, behind) = rest.split_at(usize::try_from(len).unwrap());
        assert!(unpacked(own, CODEC_DEFLATE, 65_536) == unit);
        rest = behind;
    }
}
