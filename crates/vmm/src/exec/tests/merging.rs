//! Neighbours that continue each other become one; nothing else does.

use super::super::operation::{Operation, Read, Source, Write, merge};
use crate::files::FileId;

fn read(file: u32, src: u64, window_at: u64, len: u64) -> Operation {
    Operation::Read(Read { file: FileId(file), src, window_at, len })
}

fn copy(file: u32, at: u64, to: u32, dst: u64, len: u64) -> Operation {
    let from = Source::Input { file: FileId(file), at };
    Operation::Write(Write { from, to: FileId(to), dst, len })
}

fn zero(to: u32, dst: u64, len: u64) -> Operation {
    Operation::Write(Write { from: Source::Zeros, to: FileId(to), dst, len })
}

fn own(at: u64, to: u32, dst: u64, len: u64) -> Operation {
    Operation::Write(Write { from: Source::Window { at }, to: FileId(to), dst, len })
}

fn assert_apart(operations: [Operation; 2]) {
    assert_eq!(merge(operations.to_vec()), operations);
}

#[test]
fn what_goes_on_is_joined() {
    assert_eq!(merge(vec![copy(0, 10, 1, 0, 5), copy(0, 15, 1, 5, 6)]), [copy(0, 10, 1, 0, 11)]);
    assert_eq!(merge(vec![zero(1, 0, 5), zero(1, 5, 5), zero(1, 10, 5)]), [zero(1, 0, 15)]);
    assert_eq!(merge(vec![read(0, 10, 0, 5), read(0, 15, 5, 6)]), [read(0, 10, 0, 11)]);
    assert_eq!(merge(vec![own(10, 1, 0, 5), own(15, 1, 5, 6)]), [own(10, 1, 0, 11)]);
}

#[test]
fn what_does_not_is_not() {
    assert_apart([copy(0, 10, 1, 0, 5), copy(0, 16, 1, 5, 5)]);
    assert_apart([copy(0, 10, 1, 0, 5), copy(0, 15, 1, 6, 5)]);
    assert_apart([copy(0, 10, 1, 0, 5), copy(2, 15, 1, 5, 5)]);
    assert_apart([copy(0, 10, 1, 0, 5), copy(0, 15, 2, 5, 5)]);
    assert_apart([copy(0, 15, 1, 5, 5), copy(0, 10, 1, 0, 5)]);
    assert_apart([zero(1, 0, 5), zero(1, 6, 5)]);
    assert_apart([zero(1, 0, 5), zero(2, 5, 5)]);
    assert_apart([zero(1, 0, 5), copy(0, 5, 1, 5, 5)]);
    assert_apart([copy(0, 0, 1, 0, 5), zero(1, 5, 5)]);
    assert_apart([own(10, 1, 0, 5), own(16, 1, 5, 5)]);
    assert_apart([own(10, 1, 0, 5), own(15, 1, 6, 5)]);
    assert_apart([own(10, 1, 0, 5), own(15, 2, 5, 5)]);
    assert_apart([own(0, 1, 0, 5), copy(0, 5, 1, 5, 5)]);
    assert_apart([read(0, 10, 0, 5), read(0, 15, 6, 5)]);
    assert_apart([read(0, 10, 0, 5), read(1, 15, 5, 5)]);
}

#[test]
fn nothing_is_joined_around_a_change_of_length() {
    let sized = Operation::SetLen { file: FileId(1), len: 5, keeps_all: true };
    let operations = vec![zero(1, 0, 5), sized, zero(1, 5, 5)];
    assert_eq!(merge(operations.clone()), operations);
}

#[test]
fn the_end_of_all_numbers_is_not_passed() {
    assert_apart([zero(1, u64::MAX, 5), zero(1, 4, 5)]);
    assert_apart([copy(0, u64::MAX, 1, 0, 5), copy(0, 4, 1, 5, 5)]);
    assert_apart([read(0, 0, u64::MAX, 5), read(0, 5, 4, 5)]);
    assert_apart([zero(1, 0, u64::MAX), zero(1, u64::MAX, 1)]);
}

#[test]
fn parts_end_at_multiples_of_the_step() {
    let Operation::Write(write) = own(1, 1, 6, 9) else { unreachable!() };
    let parts: Vec<_> = write.in_steps(8).map(Operation::Write).collect();
    assert_eq!(parts, [own(1, 1, 6, 2), own(3, 1, 8, 7)]);

    let Operation::Write(write) = copy(0, 1, 1, 6, 13) else { unreachable!() };
    let parts: Vec<_> = write.in_steps(8).map(Operation::Write).collect();
    assert_eq!(parts, [copy(0, 1, 1, 6, 2), copy(0, 3, 1, 8, 8), copy(0, 11, 1, 16, 3)]);
}
