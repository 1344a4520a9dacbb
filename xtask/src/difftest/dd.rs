//! Random arguments of `dd`.

use fastrand::Rng;

use super::command::{Argument, Input};
use super::generate::{SMALL, choose, logarithmic, one_in};
use super::image::Format;

pub(super) const FILES: &[&str] = &["if=in.img", "of=out.img"];

/// The most that is copied.
const LONGEST_WINDOW: u64 = SMALL;

/// qemu-img makes a request for each block, and they take their time.
const MOST_BLOCKS: u64 = 1024;

const DEFAULT_BS: u64 = 512;
const LARGEST_BS: u64 = 0x7fff_ffff;

const BLOCK_SIZES: &[u64] = &[
    1, 2, 3, 7, 100, 511, 512, 513, 1000, 1024, 4095, 4096, 5000, 12_345, 65_535, 65_536, 65_537, 100_000,
    262_144, 1_000_000, 1_048_576, 1_048_577, 2_097_152, 3_000_000, 16_777_216, LARGEST_BS,
];

const OUTPUTS: &[&str] = &["raw", "qcow2", "vmdk", "vpc", "vhdx"];

/// One format in so many is not the input's.
const WRONG: u32 = 20;

/// `count=` and `skip=` are plain decimal numbers: a qemu-img that Debian ships reads other spellings of these two as
/// no upstream version does. The recorded baselines have the spellings.
pub(super) fn arguments(random: &mut Rng, input: &Input) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut size = input.size;
    if let Some(format) = format(random, input) {
        if format == Format::Raw {
            size = input.file_len;
        }
        arguments.push(vec!["-f".into(), format.to_string()]);
    }
    if !one_in(random, 4) {
        arguments.push(vec!["-O".into(), choose(random, OUTPUTS).into()]);
    }
    arguments.extend(window(random, size, &input.landmarks).into_iter().map(|operand| vec![operand]));
    arguments
}

/// The input's, or none, or any, which may be wrong.
fn format(random: &mut Rng, input: &Input) -> Option<Format> {
    let formats = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx];
    if one_in(random, WRONG) { Some(choose(random, &formats)) } else { random.bool().then_some(input.format) }
}

fn window(random: &mut Rng, size: u64, landmarks: &[u64]) -> Vec<String> {
    match random.u32(..40) {
        0 => nothing(random, size),
        1 => vec![format!("bs={}", choose(random, &["0", "2147483648", "x"]))],
        2..10 if size <= LONGEST_WINDOW => whole(random, size),
        _ => part(random, size, landmarks),
    }
}

/// A window that ends before it begins, or begins behind the disk.
fn nothing(random: &mut Rng, size: u64) -> Vec<String> {
    let bs = choose(random, BLOCK_SIZES);
    let blocks = size.div_ceil(bs);
    match random.u32(..4) {
        0 => vec![format!("bs={bs}"), "count=0".into()],
        1 => vec![format!("bs={bs}"), format!("skip={}", blocks + random.u64(..3))],
        2 => vec![format!("skip={}", i64::MAX)],
        _ => {
            let count = random.u64(1..100);
            vec![format!("count={count}"), format!("skip={}", count + random.u64(..3))]
        }
    }
}

/// The whole disk, in blocks that are not too many.
fn whole(random: &mut Rng, size: u64) -> Vec<String> {
    let least = size.div_ceil(MOST_BLOCKS).max(1);
    let bs = match choose(random, BLOCK_SIZES) {
        listed if listed >= least => listed,
        _ => random.u64(least..=least * 4),
    };
    let bs = format!("bs={bs}");
    if one_in(random, 4) { vec![bs, format!("count={}", i64::MAX)] } else { vec![bs] }
}

/// From somewhere to somewhere, mostly near a landmark.
fn part(random: &mut Rng, size: u64, landmarks: &[u64]) -> Vec<String> {
    // Of a disk that is too long to be copied, a block of the longest sizes would be too much.
    let fits = |bs: &u64| *bs <= LONGEST_WINDOW || size <= LONGEST_WINDOW;
    let sizes: Vec<_> = BLOCK_SIZES.iter().copied().filter(fits).collect();
    let bs = choose(random, &sizes);
    let longest = LONGEST_WINDOW.min(bs.saturating_mul(MOST_BLOCKS));
    let len = logarithmic(random, 1, longest + 1);
    let middle = match random.u32(..8) {
        0 => random.u64(..=size),
        1 => 0,
        2 => size,
        _ if landmarks.is_empty() => random.u64(..=size),
        _ => choose(random, landmarks),
    };
    let skip = middle.saturating_sub(random.u64(..=len)) / bs;
    let count = (skip * bs + len).div_ceil(bs).max(skip);
    let mut operands = Vec::new();
    if bs != DEFAULT_BS || random.bool() {
        operands.push(format!("bs={bs}"));
    }
    if skip > 0 || one_in(random, 8) {
        operands.push(format!("skip={skip}"));
    }
    // Without a count the disk's end is where the window ends, if that is not too far.
    let rest = size.saturating_sub(skip * bs);
    if rest > longest || !one_in(random, 4) {
        operands.push(format!("count={count}"));
    }
    operands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operand(operands: &[String], name: &str) -> Option<u64> {
        operands.iter().find_map(|operand| operand.strip_prefix(name)?.parse().ok())
    }

    #[test]
    fn no_window_takes_long() {
        let mut random = Rng::with_seed(1);
        for _ in 0..10_000 {
            let size = logarithmic(&mut random, 1, 1 << 44);
            let landmarks = [random.u64(..=size)];
            let operands = window(&mut random, size, &landmarks);
            let bs = operand(&operands, "bs=").unwrap_or(DEFAULT_BS).max(1);
            let start = operand(&operands, "skip=").unwrap_or(0).saturating_mul(bs);
            let end = operand(&operands, "count=").map_or(size, |count| count.saturating_mul(bs).min(size));
            let len = end.saturating_sub(start);
            let is_refused = operands.iter().any(|word| matches!(&**word, "bs=0" | "bs=2147483648" | "bs=x"));
            assert!(is_refused || len.div_ceil(bs) <= 2 * MOST_BLOCKS, "{size}: {operands:?}");
            assert!(is_refused || len <= LONGEST_WINDOW + 2 * bs.min(size), "{size}: {operands:?}");
        }
    }
}
