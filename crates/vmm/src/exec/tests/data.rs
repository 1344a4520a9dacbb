//! The bytes that arrive are the right ones.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::super::mover::BUFFER_LEN;
use super::super::pieces::PIECE_LEN;
use super::*;

const MIB: u64 = 1 << 20;

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

#[test]
fn reads_into_the_window() {
    let content = pattern(3 * BUFFER_LEN, 1);
    let mut fixture = Fixture::new().input("a", &content).input("b", b"other");
    fixture.run(NO_LIMITS, |executor, window| {
        let len = 2 * BUFFER_LEN + 77;
        let records = [read(0, 1000, 10, len as u64), read(1, 1, 0, 4)];
        executor.carry_out(&records, &window.slice()).unwrap();
        assert_eq!(window.0[..4], *b"ther");
        assert_eq!(window.0[4..10], [0; 6]);
        assert_eq!(window.0[10..][..len], content[1000..][..len]);
        assert_eq!(window.0[10 + len..][..10], [0; 10]);
        assert_eq!((executor.operations(), executor.written()), (2, 0));
    });
}

#[test]
fn a_window_that_is_too_small_is_an_error() {
    let mut fixture = Fixture::new().input("a", b"content");
    fixture.run(NO_LIMITS, |executor, window| {
        window.0.truncate(5);
        let error = executor.carry_out(&[read(0, 0, 0, 7)], &window.slice()).unwrap_err();
        assert!(matches!(error, ExecError::Window(_)), "{error}");
    });
}

#[test]
fn copies_around_the_boundaries_of_buffers_and_pieces() {
    let buffer = BUFFER_LEN as u64;
    let content = pattern(index(2 * PIECE_LEN + 2), 2);
    for around in [buffer, PIECE_LEN] {
        for dst in [0, 1, around - 1, around, around + 1] {
            for len in [1, around - 1, around, around + 1, 2 * around + 1] {
                let src = content.len() as u64 - len;
                let mut fixture = Fixture::new().input("in", &content).output("out");
                fixture.ring(&[set_len(1, dst + len + 1), copy(0, src, 1, dst, len)]).unwrap();
                let expected = [&vec![0; index(dst)], &content[index(src)..], &[0]].concat();
                assert!(fixture.content("out") == expected, "{len} bytes to {dst}");
            }
        }
    }
}

#[test]
fn sparse_input_gives_dense_output() {
    let mut fixture = Fixture::new();
    let path = fixture.path("in");
    let input = File::create(&path).unwrap();
    input.set_len(20 * MIB + 123).unwrap();
    input.write_all_at(&pattern(70_000, 3), 9 * MIB + 5).unwrap();
    assert!(input.metadata().unwrap().blocks() * 512 < MIB, "this test needs a file system with holes");
    fixture.files.add_input(&path).unwrap();

    let mut fixture = fixture.output("out");
    let len = 20 * MIB + 123;
    fixture.ring(&[set_len(1, len), copy(0, 0, 1, 0, len)]).unwrap();
    assert!(fixture.content("out") == fixture.content("in"));
    assert!(fs::metadata(fixture.path("out")).unwrap().blocks() * 512 >= len);
}

#[test]
fn zeros_are_really_written() {
    let mut fixture = Fixture::new().output("out");
    fixture.ring(&[set_len(0, 9 * MIB), zero(0, 10, 9 * MIB - 10)]).unwrap();
    let metadata = fs::metadata(fixture.path("out")).unwrap();
    assert_eq!(metadata.len(), 9 * MIB);
    assert!(metadata.blocks() * 512 >= 9 * MIB);
}

#[test]
fn several_inputs_and_outputs_in_several_rings() {
    let (a, b) = (pattern(index(5 * MIB), 4), pattern(index(6 * MIB), 5));
    let mut fixture = Fixture::new().input("a", &a).output("x").input("b", &b).output("y");
    fixture.run(NO_LIMITS, |executor, window| {
        let window = window.slice();
        executor.carry_out(&[set_len(1, 6 * MIB)], &window).unwrap();
        executor.carry_out(&[set_len(3, 6 * MIB), copy(0, 0, 1, MIB, 5 * MIB)], &window).unwrap();
        executor.carry_out(&[copy(2, 0, 3, 0, 6 * MIB)], &window).unwrap();
        executor.carry_out(&[copy(2, 0, 1, 0, MIB)], &window).unwrap();
        executor.finish().unwrap();
        assert_eq!((executor.operations(), executor.written()), (5, 12 * MIB));
        assert_eq!(executor.files().outputs_touched().count(), 2);
    });
    assert!(fixture.content("x") == [&b[..index(MIB)], &a].concat());
    assert!(fixture.content("y") == b);
}

#[test]
fn an_empty_output_is_an_output() {
    let mut fixture = Fixture::new().output("out");
    fixture.ring(&[set_len(0, 0)]).unwrap();
    assert_eq!(fixture.content("out"), b"");
}

#[test]
fn a_guest_writes_from_all_of_its_window() {
    let mut fixture = Fixture::new().output("out");
    let content = pattern(index(DATA_LEN), 6);
    fixture.run(NO_LIMITS, |executor, window| {
        window.0.copy_from_slice(&content);
        let half = DATA_LEN / 2;
        let records =
            [set_len(0, DATA_LEN + 1), write(half, 0, half + 1, DATA_LEN - half), write(0, 0, 1, half)];
        executor.carry_out(&records, &window.slice()).unwrap();
        assert_eq!((executor.operations(), executor.written()), (3, DATA_LEN));
    });
    assert!(fixture.content("out") == [&[0], &content[..]].concat());
}

#[test]
fn what_a_guest_writes_is_what_was_there_when_it_rang() {
    let mut fixture = Fixture::new().input("in", b"input").output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        window.0[..5].copy_from_slice(b"guest");
        executor.carry_out(&[read(0, 0, 0, 5), set_len(1, 5), write(0, 1, 0, 5)], &window.slice()).unwrap();
        assert_eq!(window.0[..5], *b"input");
    });
    assert_eq!(fixture.content("out"), b"guest");
}

#[test]
fn each_ring_takes_the_window_anew() {
    let mut fixture = Fixture::new().output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        executor.carry_out(&[set_len(0, 6)], &window.slice()).unwrap();
        for (at, bytes) in [(0, b"one"), (3, b"two")] {
            window.0[7..10].copy_from_slice(bytes);
            executor.carry_out(&[write(7, 0, at, 3)], &window.slice()).unwrap();
        }
    });
    assert_eq!(fixture.content("out"), b"onetwo");
}

#[test]
fn a_window_that_is_too_small_to_write_from_is_an_error() {
    let mut fixture = Fixture::new().output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        window.0.truncate(5);
        let error = executor.carry_out(&[set_len(0, 7), write(0, 0, 0, 7)], &window.slice()).unwrap_err();
        assert!(matches!(error, ExecError::Window(_)), "{error}");
    });
    assert!(!fixture.path("out").exists());
}

#[test]
fn an_output_is_sized_after_what_comes_before_and_before_what_comes_after() {
    let mut fixture = Fixture::new().input("in", &[7; 9]).output("out");
    let records = [
        set_len(1, 6),
        copy(0, 0, 1, 0, 6),
        set_len(1, 2),
        set_len(1, 8),
        copy(0, 0, 1, 4, 4),
        set_len(1, 7),
        copy(0, 0, 1, 6, 1),
        set_len(1, 9),
    ];
    fixture.ring(&records).unwrap();
    assert_eq!(fixture.content("out"), [7, 7, 0, 0, 7, 7, 7, 0, 0]);
}

/// What is cut off has been written before, and what is there to stay need not be: here, it cannot be written at all.
#[test]
fn only_what_makes_an_output_shorter_waits() {
    for (len, found) in [(3, 6), (6, 6), (9, 9)] {
        let mut fixture = Fixture::new().input("in", &[7; 9]).output("out");
        fs::write(fixture.path("in"), [7; 5]).unwrap();
        let failed = fixture.ring(&[set_len(1, 6), copy(0, 0, 1, 0, 6), set_len(1, len)]);
        assert!(matches!(failed, Err(ExecError::File(_))), "{failed:?}");
        assert_eq!(fs::metadata(fixture.path("out")).unwrap().len(), found);
    }
}

#[test]
fn an_output_grows_from_ring_to_ring() {
    let mut fixture = Fixture::new().output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        for (ring, content) in [b"abc", b"def", b"ghi"].into_iter().enumerate() {
            window.0[..3].copy_from_slice(content);
            let at = 3 * ring as u64;
            executor.carry_out(&[set_len(0, at + 3), write(0, 0, at, 3)], &window.slice()).unwrap();
        }
    });
    assert_eq!(fixture.content("out"), b"abcdefghi");
}
