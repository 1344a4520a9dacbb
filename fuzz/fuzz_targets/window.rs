//! The window arithmetic against the same in integers that cannot overflow.
//!
//! An input is a [`Case`], little-endian.

#![no_main]

use dd_window::{BlockCount, BlockSize, Blocks, Window};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Case {
    block_size: u64,
    /// The greatest number stands for no count.
    count: u64,
    skip: u64,
    virtual_size: u64,
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((case, _)) = Case::read_from_prefix(bytes) else { return };
    match blocks(&case) {
        Some(blocks) => check(&case, &blocks.window(case.virtual_size)),
        None => assert!(!is_within_limits(&case), "{case:?}"),
    }
});

fn blocks(case: &Case) -> Option<Blocks> {
    Some(Blocks {
        block_size: BlockSize::new(case.block_size).ok()?,
        count: count(case).map(BlockCount::new).transpose().ok()?,
        skip: BlockCount::new(case.skip).ok()?,
    })
}

fn count(case: &Case) -> Option<u64> {
    (case.count != u64::MAX).then_some(case.count)
}

fn is_within_limits(case: &Case) -> bool {
    let is_count = |blocks: u64| i64::try_from(blocks).is_ok();
    (1..1 << 31).contains(&case.block_size) && count(case).is_none_or(is_count) && is_count(case.skip)
}

fn check(case: &Case, window: &Window) {
    assert!(is_within_limits(case), "{case:?}");
    let (block_size, size) = (i128::from(case.block_size), i128::from(case.virtual_size));
    let end = count(case).map_or(size, |count| size.min(block_size * i128::from(count)));
    let skipped = block_size * i128::from(case.skip);
    let start = skipped.min(end);

    assert_eq!(i128::from(window.start()), start, "{case:?}");
    assert_eq!(i128::from(window.end()), end, "{case:?}");
    assert_eq!(i128::from(window.len()), end - start, "{case:?}");
    assert_eq!(window.range(), window.start()..window.end(), "{case:?}");
    assert_eq!(window.is_empty(), start == end, "{case:?}");
    assert_eq!(window.skip_past_end(), skipped > end, "{case:?}");
    assert_eq!(window.output_len(), u64::try_from((end - start + 511) / 512 * 512).ok(), "{case:?}");
}
