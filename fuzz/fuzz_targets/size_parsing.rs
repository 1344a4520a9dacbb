//! Sizes in text: what must be so for any text, and what must be so for any number put into text.

#![no_main]

use dd_window::{BlockCount, BlockSize, OperandError, SizeError, parse_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    check_text(text);
    check_operands(text);
    if let Some(number) = text.first_chunk() {
        check_number(u64::from_le_bytes(*number));
    }
});

fn check_text(text: &[u8]) {
    let size = parse_size(text);
    assert_eq!(parse_size(&text.to_ascii_uppercase()), size, "case does not matter");
    assert_eq!(parse_size(&[b" \t\x0b", text].concat()), size, "blanks in front do not matter");
    assert_eq!(parse_size(&[text, b" "].concat()), Err(SizeError::Invalid), "a blank behind does");
    if matches!(text, [b'0'..=b'9' | b'.', ..]) {
        assert_eq!(parse_size(&[b"+", text].concat()), size, "a plus does not matter");
        assert!(parse_size(&[b"-", text].concat()).is_err(), "nothing is negative");
    }
    if matches!(text, [b'0'..=b'9', ..]) && !matches!(text, [b'0', b'x' | b'X', ..]) {
        assert_eq!(parse_size(&[b"00", text].concat()), size, "leading zeros do not matter");
    }
}

/// An operand is a size within limits.
fn check_operands(text: &[u8]) {
    let within = |min: u64, max: u64| match parse_size(text) {
        Ok(size) if (min..=max).contains(&size) => Ok(size),
        Err(SizeError::Invalid) => Err(OperandError::Invalid),
        _ => Err(OperandError::OutOfRange { min, max }),
    };
    assert_eq!(BlockSize::parse(text).map(BlockSize::get), within(1, (1 << 31) - 1));
    assert_eq!(BlockCount::parse(text).map(BlockCount::get), within(0, (1 << 63) - 1));
}

fn check_number(number: u64) {
    assert_eq!(parse_size(format!("{number}").as_bytes()), Ok(number));
    assert_eq!(parse_size(format!("{number}.0b").as_bytes()), Ok(number));
    assert_eq!(parse_size(format!("{number:#x}").as_bytes()), Ok(number));
    for (power, letter) in (1..).zip("kmgtpe".chars()) {
        let bytes = number.checked_mul(1024_u64.pow(power)).ok_or(SizeError::OutOfRange);
        assert_eq!(parse_size(format!("{number}{letter}").as_bytes()), bytes);
        // A half is a double, so no rounding hides a mistake. The number is kept below where the sum would not fit.
        let half = (number >> 32).checked_mul(1024_u64.pow(power));
        let half =
            half.and_then(|bytes| bytes.checked_add(1024_u64.pow(power) / 2)).ok_or(SizeError::OutOfRange);
        assert_eq!(parse_size(format!("{}.5{letter}", number >> 32).as_bytes()), half);
    }
}
