//! Random plans, compared with a model in memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;

const INPUTS: u32 = 3;
const OUTPUTS: u32 = 2;
const MAX_LEN: u64 = 14 << 20;

#[test]
fn random_plans_do_what_they_say() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut fixture = Fixture::new();
        let inputs: Vec<_> = (0..INPUTS).map(|n| add_input(&mut fixture, &mut random, n)).collect();
        let mut fixture = (0..OUTPUTS).fold(fixture, |fixture, n| fixture.output(&format!("out{n}")));
        let own = pattern(size(DATA_LEN), random.next());
        let (records, expected) = plan(&mut random, &inputs, &own);

        fixture.run(NO_LIMITS, |executor, window| {
            window.0.copy_from_slice(&own);
            for ring in records.chunks(40) {
                executor.carry_out(ring, &window.slice()).unwrap();
            }
            executor.finish().unwrap();
        });
        for (n, expected) in expected.iter().enumerate() {
            assert!(fixture.content(&format!("out{n}")) == *expected, "seed {seed}, output {n}");
        }
    }
}

/// A file of islands of data in a sea of zeros, most of which are holes.
fn add_input(fixture: &mut Fixture, random: &mut Random, n: u32) -> Vec<u8> {
    let len = 1 + random.below(MAX_LEN);
    let mut content = vec![0; size(len)];
    let path = fixture.path(&format!("in{n}"));
    let file = File::create(&path).unwrap();
    file.set_len(len).unwrap();
    for _ in 0..random.below(8) {
        let start = random.below(len);
        let island = pattern(size(some_len(random, len - start)), random.next());
        file.write_all_at(&island, start).unwrap();
        content[size(start)..][..island.len()].copy_from_slice(&island);
    }
    fixture.files.add_input(&path).unwrap();
    content
}

/// A plan that covers most of each output, with no byte written twice, in any order; and what comes of it.
fn plan(random: &mut Random, inputs: &[Vec<u8>], own: &[u8]) -> (Vec<Record>, Vec<Vec<u8>>) {
    let (mut sizes, mut writes, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for file in INPUTS..INPUTS + OUTPUTS {
        let len = 1 + random.below(MAX_LEN);
        sizes.push(set_len(file, len));
        let mut content = vec![0; size(len)];
        let mut dst = 0;
        while dst < len {
            let part = some_len(random, len - dst);
            let written = match random.below(8) {
                0 => part,
                1 => in_blocks(zero(file, dst, part), &mut writes),
                2 => {
                    let src = random.below(DATA_LEN);
                    let part = part.min(DATA_LEN - src);
                    content[size(dst)..][..size(part)].copy_from_slice(&own[size(src)..][..size(part)]);
                    in_blocks(write(src, file, dst, part), &mut writes)
                }
                _ => {
                    let src_file = random.below(u64::from(INPUTS));
                    let input = &inputs[size(src_file)];
                    let src = random.below(input.len() as u64);
                    let part = part.min(input.len() as u64 - src);
                    content[size(dst)..][..size(part)].copy_from_slice(&input[size(src)..][..size(part)]);
                    in_blocks(copy(u32::try_from(src_file).unwrap(), src, file, dst, part), &mut writes)
                }
            };
            dst += written;
        }
        expected.push(content);
    }
    swap_some(random, &mut writes);
    (sizes.into_iter().chain(writes).collect(), expected)
}

/// Cuts a write as a guest does that plans block by block. Gives the length of it all.
fn in_blocks(write: Record, writes: &mut Vec<Record>) -> u64 {
    let block = write.len.div_ceil(4);
    let has_source = matches!(write.op, COPY | WRITE);
    for at in (0..write.len).step_by(size(block)) {
        let src = if has_source { write.src + at } else { 0 };
        writes.push(Record { dst: write.dst + at, src, len: block.min(write.len - at), ..write });
    }
    write.len
}

fn swap_some(random: &mut Random, writes: &mut [Record]) {
    let count = writes.len() as u64;
    for _ in 0..count / 4 {
        writes.swap(size(random.below(count)), size(random.below(count)));
    }
}

/// A length from 1 to `max`, as often small as large.
fn some_len(random: &mut Random, max: u64) -> u64 {
    let bits = random.below(24);
    1 + random.below((1 << bits).min(max))
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap()
}
