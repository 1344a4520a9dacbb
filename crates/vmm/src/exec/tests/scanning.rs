//! What is told of zeros.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::pieces::PIECE_LEN;
use super::*;

/// A disk in which about every second unit of some length is zeros, or has one byte that is not.
fn speckled(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at < len {
        let end = (at + 1 + usize::try_from(random.below(100_000)).unwrap()).min(len);
        match random.below(4) {
            0 => bytes[at..end].copy_from_slice(&pattern(end - at, random.next())),
            1 => bytes[end - 1] = 1,
            2 => bytes[at] = 1,
            _ => {}
        }
        at = end;
    }
    bytes
}

fn expected(bytes: &[u8], unit: usize) -> Vec<u8> {
    let mut bits = vec![0; bytes.len().div_ceil(unit).div_ceil(8)];
    for (index, unit) in bytes.chunks(unit).enumerate() {
        bits[index / 8] |= u8::from(unit.iter().any(|&byte| byte != 0)) << (index % 8);
    }
    bits
}

#[test]
fn each_bit_is_about_its_unit() {
    let len = 2 * usize::try_from(PIECE_LEN).unwrap() + 77_777;
    let content = speckled(len, 1);
    let mut fixture = Fixture::new().input("in", &content);
    fixture.run(NO_LIMITS, |executor, window| {
        for unit in [512, 1536, 4096, 32 << 10, 64 << 10, 96 << 10, 2 << 20, 32 << 20, u32::MAX - 511] {
            for (src, len) in [(0, len), (1, len - 1), (511, len - 511), (70_000, 100_000), (5, 1)] {
                window.0.fill(7);
                let record = scan(0, src as u64, len as u64, unit, 3);
                executor.carry_out(&[record], &window.slice()).unwrap();
                let expected = expected(&content[src..][..len], unit as usize);
                assert_eq!(window.0[..3], [7; 3]);
                assert!(window.0[3..][..expected.len()] == expected, "{len} bytes at {src}, by {unit}");
                assert_eq!(window.0[3 + expected.len()], 7);
            }
        }
    });
}

#[test]
fn many_workers_find_the_same_while_others_write() {
    let content = speckled(90 << 20, 2);
    let mut fixture = Fixture::new().input("in", &content).output("out");
    let conduct = Conduct { workers: 5.try_into().unwrap(), ..Conduct::default() };
    fixture.run_as(conduct, &NoDecoders, NO_LIMITS, |executor, window| {
        let len = content.len() as u64;
        let records =
            [set_len(1, len), scan(0, 0, len, 4096, 0), copy(0, 0, 1, 0, len), scan(0, 0, len, 65536, 9000)];
        executor.carry_out(&records, &window.slice()).unwrap();
        let (fine, coarse) = (expected(&content, 4096), expected(&content, 65536));
        assert!(window.0[..fine.len()] == fine);
        assert!(window.0[9000..][..coarse.len()] == coarse);
        executor.finish().unwrap();
    });
    assert!(fixture.content("out") == content);
}

#[test]
fn holes_are_zeros_however_many() {
    let mut fixture = Fixture::new();
    let path = fixture.path("in");
    let input = File::create(&path).unwrap();
    input.set_len(1 << 42).unwrap();
    input.write_all_at(b"x", 3 << 40).unwrap();
    fixture.files.add_input(&path).unwrap();
    fixture.run(NO_LIMITS, |executor, window| {
        executor.carry_out(&[scan(0, 0, 1 << 42, 1 << 30, 0)], &window.slice()).unwrap();
        let set = window.0[..512].iter().position(|&byte| byte != 0);
        assert_eq!((set, window.0[384]), (Some(384), 1));
    });
}
