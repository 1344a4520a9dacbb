//! Sizes as qemu-img reads them: text in, bytes out.

use core::{fmt, mem};

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SizeError {
    /// The text does not have the form of a size.
    Invalid,
    /// The text has the form of a size, but the size is negative or 2^64 bytes and more.
    OutOfRange,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "not a size",
            Self::OutOfRange => "the size is negative or does not fit 64 bits",
        })
    }
}

impl core::error::Error for SizeError {}

/// Reads a size in bytes, exactly as qemu-img does.
///
/// A size is one of
///
/// * digits, perhaps with a fraction and one letter: `512`, `64k`, `1.5M`, `.5k`, `1.`. Leading zeros mean nothing.
/// * `0x` and hexadecimal digits, and nothing else: in `0x1b` the `b` is a digit.
///
/// either after blanks and a `+`. The letters are `b` for bytes, and `k`, `m`, `g`, `t`, `p`, `e` for powers of 1024,
/// in either case. There are no exponents: `1e` is 1 EiB, and `1e3` is not a size. Nothing may follow, not even a
/// blank.
///
/// A fraction needs a letter above `b`, unless it is zero. It is read into the nearest `f64`, cut to 64 binary digits,
/// multiplied, and the product rounded half up to whole bytes.
///
/// ```
/// use dd_window::{SizeError, parse_size};
///
/// assert_eq!(parse_size(b"1.5k"), Ok(1536));
/// assert_eq!(parse_size(b"0x1b"), Ok(27));
/// assert_eq!(parse_size(b"1.5"), Err(SizeError::Invalid));
/// assert_eq!(parse_size(b"16E"), Err(SizeError::OutOfRange));
/// ```
///
/// # Errors
///
/// [`SizeError::OutOfRange`] if the size is negative, which includes `-0`, or 2^64 and more. [`SizeError::Invalid`] for
/// any other text, and also where digits that are out of range by themselves have anything after them: `-1` is out of
/// range, `-1k` is invalid.
pub fn parse_size(text: &[u8]) -> Result<u64, SizeError> {
    let (negative, text) = split_sign(skip_blanks(text));
    let (whole, after_whole) = split_while(text, u8::is_ascii_digit);
    if let (false, b"0", [b'x' | b'X', digits @ ..]) = (negative, whole, after_whole) {
        return parse_hex(digits);
    }
    let (fraction, after_fraction) = split_fraction(after_whole);
    if whole.is_empty() && matches!(fraction, b"" | b".") {
        return Err(SizeError::Invalid);
    }
    if negative {
        // The sign is noticed with the first digits, be they in front of the point or behind it.
        let rest = if whole.is_empty() { after_fraction } else { after_whole };
        return Err(out_of_range_before(rest));
    }
    let whole = integer(whole, 10).ok_or(out_of_range_before(after_whole))?;
    let number = Fixed::new(whole, fraction).ok_or(out_of_range_before(after_fraction))?;
    match after_fraction {
        [] => number.bytes(1),
        [letter] => number.bytes(unit(*letter)?),
        _ => Err(SizeError::Invalid),
    }
}

/// What is wrong with digits that are out of range and have `rest` behind them.
///
/// qemu-img stops reading at such digits, even in front of a letter that would scale them. What is left then makes the
/// text as a whole invalid.
const fn out_of_range_before(rest: &[u8]) -> SizeError {
    if rest.is_empty() { SizeError::OutOfRange } else { SizeError::Invalid }
}

/// The size given by the hexadecimal digits after `0x`.
fn parse_hex(digits: &[u8]) -> Result<u64, SizeError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(SizeError::Invalid);
    }
    integer(digits, 16).ok_or(SizeError::OutOfRange)
}

/// The number that `digits` spell, 0 if there are none; `None` if it does not fit 64 bits.
fn integer(digits: &[u8], radix: u32) -> Option<u64> {
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// How many bytes the letter behind a number stands for.
const fn unit(letter: u8) -> Result<u64, SizeError> {
    match letter.to_ascii_lowercase() {
        b'b' => Ok(1),
        b'k' => Ok(1 << 10),
        b'm' => Ok(1 << 20),
        b'g' => Ok(1 << 30),
        b't' => Ok(1 << 40),
        b'p' => Ok(1 << 50),
        b'e' => Ok(1 << 60),
        _ => Err(SizeError::Invalid),
    }
}

/// A number with 64 binary digits before its point and 64 behind.
#[derive(Clone, Copy)]
struct Fixed(u128);

impl Fixed {
    /// `whole` and a `fraction` such as `.25`, or `None` if the fraction rounds up to 1 and that is one too many.
    fn new(whole: u64, fraction: &[u8]) -> Option<Self> {
        (u128::from(whole) << 64).checked_add(fraction_bits(fraction)?).map(Self)
    }

    /// What is behind the point, in units of 2^-64.
    fn fraction(self) -> u128 {
        self.0 & u128::from(u64::MAX)
    }

    /// This number of `unit`s in bytes, rounded half up. A fraction of what cannot be divided is a mistake.
    fn bytes(self, unit: u64) -> Result<u64, SizeError> {
        if unit == 1 && self.fraction() != 0 {
            return Err(SizeError::Invalid);
        }
        self.times(unit.into()).ok_or(SizeError::OutOfRange)
    }

    /// The product with `unit`, rounded half up. Each half is multiplied alone, so that 128 bits are enough.
    fn times(self, unit: u128) -> Option<u64> {
        let carry = self.fraction().checked_mul(unit)?.checked_add(1 << 63)? >> 64;
        let product = (self.0 >> 64).checked_mul(unit)?.checked_add(carry)?;
        u64::try_from(product).ok()
    }
}

/// 2^64, by which an `f64` is multiplied without rounding.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

/// A `fraction` such as `.25` in units of 2^-64, from 0 to 2^64.
///
/// By way of `f64`, as in qemu-img: that decides which fractions are 1 (`.99999999999999999999`), and the last bytes of
/// a large size.
fn fraction_bits(fraction: &[u8]) -> Option<u128> {
    if fraction.iter().all(|byte| matches!(byte, b'.' | b'0')) {
        return Some(0);
    }
    let value: f64 = core::str::from_utf8(fraction).ok()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^64, and to be cut")]
    let bits = (value * TWO_POW_64) as u128;
    // What is too small to see is still not zero, and still needs a letter.
    Some(bits.max(1))
}

/// `text` without the leading characters that C's `isspace` knows. Rust's notion of ASCII whitespace lacks one, `\v`.
fn skip_blanks(text: &[u8]) -> &[u8] {
    split_while(text, |byte| matches!(byte, b'\t'..=b'\r' | b' ')).1
}

/// Whether `text` starts with a minus, and what is behind the sign, if there is one.
const fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// The point that `text` may start with, together with the digits behind it, and the rest.
fn split_fraction(text: &[u8]) -> (&[u8], &[u8]) {
    let mut first = true;
    split_while(text, |byte| if mem::take(&mut first) { *byte == b'.' } else { byte.is_ascii_digit() })
}

/// The first bytes of `text`, all that are `wanted`, and the rest.
fn split_while(text: &[u8], mut wanted: impl FnMut(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !wanted(byte)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::SizeError::{Invalid, OutOfRange};
    use super::parse_size;

    #[track_caller]
    fn sizes(expected: &[(&str, u64)]) {
        for (text, bytes) in expected {
            assert_eq!(parse_size(text.as_bytes()), Ok(*bytes), "{text:?}");
        }
    }

    #[track_caller]
    fn refused(error: super::SizeError, texts: &[&str]) {
        for text in texts {
            assert_eq!(parse_size(text.as_bytes()), Err(error), "{text:?}");
        }
    }

    #[test]
    fn letters_are_powers_of_1024_in_either_case() {
        for (letter, shift) in "bkmgtpe".chars().zip((0..).step_by(10)) {
            for letter in [letter, letter.to_ascii_uppercase()] {
                let text = [b'7', u8::try_from(letter).unwrap()];
                assert_eq!(parse_size(&text), Ok(7 << shift), "{letter}");
            }
        }
        refused(Invalid, &["1kB", "1KiB", "1kk", "1w", "1c", "1x", "k", "b", "1k "]);
    }

    #[test]
    fn blanks_a_plus_and_zeros_may_lead_and_nothing_may_follow() {
        sizes(&[(" \t\n\x0b\x0c\r1", 1), ("+1", 1), (" +.5k", 512), ("08", 8), ("010", 10), ("000", 0)]);
        refused(
            Invalid,
            &["", " ", "+", "+ 1", "++1", "+-1", "1 ", "1\n", "1\0", "\0", "1_000", "1,5k", "2x512"],
        );
        refused(Invalid, &["\u{a0}1", "\u{663}"]);
        assert_eq!(parse_size(b"1\xff"), Err(Invalid));
    }

    #[test]
    fn hexadecimal_is_digits_only() {
        sizes(&[
            ("0x10", 16),
            ("0X1b", 27),
            ("+0xfF", 255),
            ("0xffffffffffffffff", u64::MAX),
            ("0x0000000000000000001", 1),
        ]);
        refused(OutOfRange, &["0x10000000000000000"]);
        refused(Invalid, &["0x", "0xg", "0x 1", "0x10k", "0x1p3", "0x1.8", "0x10.", "000x10", "1x2", "-0x1"]);
        refused(Invalid, &["0x10000000000000000k"]);
    }

    #[test]
    fn what_c_would_read_as_another_number_is_none() {
        refused(
            Invalid,
            &["1e3", "1e1", "1.5e3", "1.5e-3k", "1e+1", "inf", "nan", "NaN", "infinity", "inf.", "nan.5"],
        );
        refused(Invalid, &["0b1", "0o7", "0x1p3", "-inf.", "."]);
    }

    #[test]
    fn a_fraction_needs_a_letter_unless_it_is_zero() {
        sizes(&[("1.5k", 1536), (".5k", 512), ("1.k", 1024), ("1.e", 1 << 60), ("1.5E", 3 << 59)]);
        sizes(&[("1.", 1), ("1.0", 1), ("1.0b", 1), (".0", 0), ("0.00", 0)]);
        refused(
            Invalid,
            &["1.5", ".5", "1.5b", "1.5B", ".k", ".", "+.", "1..5k", "1.2.3k", "1.-5k", "1.+5k", "1. 5k"],
        );
    }

    #[test]
    fn products_are_rounded_half_up() {
        sizes(&[("0.0004882812k", 0), ("0.00048828125k", 1), ("0.0014648437k", 1), ("0.0014648438k", 2)]);
        sizes(&[("1.4999999k", 1536), ("1.9999999999G", 2 << 30)]);
    }

    #[test]
    fn fractions_pass_through_a_double() {
        // Exactly, a tenth of 2^60 is 115292150460684697.6.
        sizes(&[("0.1E", 115_292_150_460_684_704)]);
        // So close to 1 that no double lies between: it is 1, and needs no letter any more.
        sizes(&[("1.99999999999999999999", 2), (".99999999999999999999", 1)]);
        refused(Invalid, &["1.9999999999999999"]);
        refused(OutOfRange, &["18446744073709551615.99999999999999999999", "15.99999999999999999999e"]);
        refused(Invalid, &["18446744073709551615.99999999999999999999k"]);
    }

    #[test]
    fn a_fraction_too_small_for_a_double_is_not_zero() {
        let mut text = [b'0'; 400];
        (text[1], text[398], text[399]) = (b'.', b'1', b'k');
        assert_eq!(parse_size(&text), Ok(0));
        assert_eq!(parse_size(&text[..399]), Err(Invalid));
        assert_eq!(parse_size(&text[..398]), Ok(0));
    }

    #[test]
    fn sizes_end_below_2_to_the_64() {
        sizes(&[("18446744073709551615", u64::MAX), ("15e", 15 << 60)]);
        refused(OutOfRange, &["18446744073709551616", "99999999999999999999", "16e", "18014398509481984k"]);
        refused(Invalid, &["18446744073709551616k", "18446744073709551616.0", "16ek"]);
    }

    #[test]
    fn a_minus_is_out_of_range_or_invalid_by_what_follows() {
        refused(OutOfRange, &["-1", "-0", " -1", "-99999999999999999999", "-.5", "-.0"]);
        refused(Invalid, &["-", "- 1", "-.", "-1k", "-0.", "-1.5", "-.5k", "--1", "-x"]);
    }
}
