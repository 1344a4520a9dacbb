//! The arithmetic against models of it, over all that can be given.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use dd_window::{BlockCount, BlockSize, Blocks, OperandError, SizeError, parse_size};
use proptest::prelude::*;

const BLOCK_SIZE_MAX: u64 = (1 << 31) - 1;
const BLOCK_COUNT_MAX: u64 = (1 << 63) - 1;

/// `0.fraction`, of at most 19 digits, as the nearest `f64` cut to units of 2^-64: in integers only.
fn fraction_bits(fraction: &str) -> u128 {
    let digits: u128 = fraction.parse().unwrap();
    if digits == 0 {
        return 0;
    }
    let one = 10_u128.pow(fraction.len().try_into().unwrap());
    // A double has 53 significant bits: the quotient is scaled until it has them, and rounded half to even.
    let shift = (53..).find(|shift| digits << shift >= one << 52).unwrap();
    let (quotient, rest) = ((digits << shift) / one, (digits << shift) % one);
    let up = 2 * rest > one || (2 * rest == one && quotient % 2 == 1);
    let rounded = quotient + u128::from(up);
    if shift <= 64 { rounded << (64 - shift) } else { (rounded >> (shift - 64)).max(1) }
}

/// What a size means that is put together from `whole` digits, `.fraction` digits and a letter that is no more than a
/// power of two. The other way round than the parser, which takes sizes apart.
fn size(whole: &str, fraction: Option<&str>, shift: Option<u32>) -> Result<u64, SizeError> {
    let whole: u128 = whole.parse().unwrap();
    let bits = fraction.filter(|digits| !digits.is_empty()).map_or(0, fraction_bits);
    let (carried, bits) = (whole + (bits >> 64), bits & u128::from(u64::MAX));
    // Digits that are too much by themselves must have nothing behind them.
    let fraction_behind = whole > u64::MAX.into() && fraction.is_some();
    let letter_behind = carried > u64::MAX.into() && shift.is_some();
    let shift = shift.unwrap_or(0);
    if fraction_behind || letter_behind || (shift == 0 && bits != 0) {
        return Err(SizeError::Invalid);
    }
    let bytes = (carried << shift) + (((bits << shift) + (1 << 63)) >> 64);
    u64::try_from(bytes).map_err(|_| SizeError::OutOfRange)
}

/// Numbers of all magnitudes, and those near a power of two more often than others.
fn magnitudes() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (any::<u64>(), 0_u32..64).prop_map(|(bits, shift)| bits >> shift),
        (0_u32..64, -2_i64..=2).prop_map(|(shift, near)| (1_u64 << shift).wrapping_add_signed(near)),
    ]
}

/// Numbers from `min` to `max`, the limits more often than others.
fn within(min: u64, max: u64) -> impl Strategy<Value = u64> {
    prop_oneof![4 => magnitudes().prop_map(move |n| n.clamp(min, max)), 1 => Just(min), 1 => Just(max)]
}

/// Letters by the power of two that they stand for.
fn letter() -> impl Strategy<Value = (char, u32)> {
    prop::sample::select("bkmgtpeBKMGTPE".chars().zip((0..).step_by(10).take(7).cycle()).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes_are_a_size_or_an_error(text: Vec<u8>) {
        let _ = parse_size(&text);
        let _ = BlockSize::parse(&text);
        let _ = BlockCount::parse(&text);
    }

    #[test]
    fn any_likely_text_is_a_size_or_an_error(text in "[ \t+.0-9a-fkxXE-]{0,24}") {
        let size = parse_size(text.as_bytes());
        let count = BlockCount::parse(text.as_bytes());
        let beyond = OperandError::OutOfRange { min: 0, max: BLOCK_COUNT_MAX };
        prop_assert_eq!(count.map(BlockCount::get), match size {
            Ok(blocks) if blocks <= BLOCK_COUNT_MAX => Ok(blocks),
            Err(SizeError::Invalid) => Err(OperandError::Invalid),
            _ => Err(beyond),
        });
    }

    #[test]
    fn integers_survive_the_round_trip(bytes in magnitudes(), blanks in "[ \t\n\x0b\x0c\r]{0,3}\\+?0{0,3}") {
        let decimal = format!("{blanks}{bytes}");
        prop_assert_eq!(parse_size(decimal.as_bytes()), Ok(bytes));
        let hexadecimal = format!("{}0x{bytes:x}", blanks.trim_end_matches('0'));
        prop_assert_eq!(parse_size(hexadecimal.as_bytes()), Ok(bytes));
    }

    #[test]
    fn sizes_agree_with_the_model(
        whole in prop_oneof![
            magnitudes().prop_map(u128::from),
            (0_u128..4).prop_map(|over| u128::from(u64::MAX) - 1 + over),
            0_u128..10,
        ],
        fraction in prop::option::of("[0-9]{0,19}|9{14,19}|0{9,18}[0-9]"),
        letter in prop::option::of(letter()),
    ) {
        let whole = whole.to_string();
        let mut text = whole.clone();
        if let Some(fraction) = &fraction {
            text.push('.');
            text.push_str(fraction);
        }
        text.extend(letter.map(|(letter, _)| letter));
        let expected = size(&whole, fraction.as_deref(), letter.map(|(_, shift)| shift));
        prop_assert_eq!(parse_size(text.as_bytes()), expected, "{}", text);

        let trailing = format!("{text} ");
        prop_assert_eq!(parse_size(trailing.as_bytes()), Err(SizeError::Invalid), "{}", trailing);
        let negative = format!("-{text}");
        let alone = fraction.is_none() && letter.is_none();
        let error = if alone { SizeError::OutOfRange } else { SizeError::Invalid };
        prop_assert_eq!(parse_size(negative.as_bytes()), Err(error), "{}", negative);
    }

    #[test]
    fn windows_agree_with_the_model(
        block_size in within(1, BLOCK_SIZE_MAX),
        count in prop::option::of(within(0, BLOCK_COUNT_MAX)),
        skip in within(0, BLOCK_COUNT_MAX),
        virtual_size in within(0, u64::MAX),
    ) {
        check_window(block_size, count, skip, virtual_size)?;
    }

    #[test]
    fn windows_near_their_own_edges_agree_with_the_model(
        block_size in within(1, BLOCK_SIZE_MAX),
        count in prop::option::of(magnitudes()),
        virtual_size in within(0, u64::MAX),
        (near_count, near_skip) in (0_u64..3, 0_u64..3),
    ) {
        let blocks = virtual_size / block_size;
        let count = count.map(|count| count.min(blocks.saturating_add(near_count)).min(BLOCK_COUNT_MAX));
        let skip = count.unwrap_or(blocks).saturating_sub(1).saturating_add(near_skip).min(BLOCK_COUNT_MAX);
        check_window(block_size, count, skip, virtual_size)?;
    }
}

/// The length of the window and whether `skip` leads past its end, as measured on qemu-img: a product is formed only
/// where a division shows that it fits an `i64`.
fn window_by_division(block_size: u64, count: Option<u64>, skip: u64, mut size: u64) -> (u64, bool) {
    let fits = i64::MAX.unsigned_abs() / block_size;
    if let Some(count) = count.filter(|count| *count <= fits) {
        size = size.min(count * block_size);
    }
    if skip > fits || size < skip * block_size { (0, true) } else { (size - skip * block_size, false) }
}

fn check_window(
    block_size: u64,
    count: Option<u64>,
    skip: u64,
    virtual_size: u64,
) -> Result<(), TestCaseError> {
    let window = Blocks {
        block_size: BlockSize::new(block_size).unwrap(),
        count: count.map(|count| BlockCount::new(count).unwrap()),
        skip: BlockCount::new(skip).unwrap(),
    }
    .window(virtual_size);

    let bytes = |blocks: u64| i128::from(blocks) * i128::from(block_size);
    let end = count.map_or(i128::from(virtual_size), |count| bytes(count).min(virtual_size.into()));
    let len = (end - bytes(skip)).max(0);
    prop_assert_eq!(i128::from(window.len()), len);
    prop_assert_eq!(i128::from(window.end()), end);
    prop_assert_eq!(window.skip_past_end(), bytes(skip) > end);
    if let Ok(size) = i64::try_from(virtual_size) {
        let divided = window_by_division(block_size, count, skip, size.unsigned_abs());
        prop_assert_eq!((window.len(), window.skip_past_end()), divided);
    }
    prop_assert_eq!(window.range(), window.start()..window.start() + window.len());
    prop_assert_eq!(
        window.output_len().map(i128::from),
        Some((len + 511) / 512 * 512).filter(|len| *len < 1 << 64)
    );
    Ok(())
}

#[test]
fn errors_are_words_for_a_person() {
    assert_eq!(SizeError::Invalid.to_string(), "not a size");
    assert_eq!(SizeError::OutOfRange.to_string(), "the size is negative or does not fit 64 bits");
    assert_eq!(OperandError::Invalid.to_string(), "not a number");
    assert_eq!(BlockSize::new(0).unwrap_err().to_string(), "must be between 1 and 2147483647");
}
