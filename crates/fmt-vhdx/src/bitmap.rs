//! Sector bitmaps: runs of equal bits.

/// Whether bit `from` of `bytes` is set, and how many bits from it on are the same, `max` of them at most. Bit 0 is the
/// lowest bit of the first byte. Answers 0 bits where `bytes` has none.
#[must_use]
pub(crate) fn run(bytes: &[u8], from: u8, max: u64) -> (bool, u64) {
    let bit = u32::from(from % 8);
    let bytes = bytes.get(usize::from(from / 8)..).unwrap_or(&[]);
    let Some((&first, rest)) = bytes.split_first() else { return (false, 0) };
    let set = first >> bit & 1 == 1;
    // With the looked-for bits as zeros, counting is counting trailing zeros.
    let differing = |byte: u8| if set { !byte } else { byte };
    let in_first = (differing(first) >> bit).trailing_zeros().min(8 - bit);
    let mut len = u64::from(in_first);
    if in_first == 8 - bit {
        for &byte in rest {
            let same = differing(byte).trailing_zeros().min(8);
            len += u64::from(same);
            if same < 8 || len >= max {
                break;
            }
        }
    }
    (set, len.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_across_bytes() {
        assert_eq!(run(&[0b0000_0111], 0, 100), (true, 3));
        assert_eq!(run(&[0b0000_0111], 1, 100), (true, 2));
        assert_eq!(run(&[0b0000_0111], 3, 100), (false, 5));
        assert_eq!(run(&[0xf0, 0xff, 0x01, 0], 4, 100), (true, 13));
        assert_eq!(run(&[0xf0, 0xff, 0x01, 0], 17, 100), (false, 15));
        assert_eq!(run(&[0xff; 9], 3, 20), (true, 20));
        assert_eq!(run(&[0; 9], 71, 20), (false, 1));
        assert_eq!(run(&[0; 9], 72, 20), (false, 0));
    }
}
