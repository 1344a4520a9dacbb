//! The operands of `dd` that are numbers, each kept within its limits.

use core::fmt;

use crate::size::{SizeError, parse_size};

/// Why a text or a number is not the value of an operand.
///
/// These are the two complaints that qemu-img makes, and its words follow from them:
///
/// ```
/// use dd_window::{BlockSize, OperandError};
///
/// fn complaint(error: OperandError, name: &str, value: &str) -> String {
///     match error {
///         OperandError::Invalid => format!("Invalid {name} specified: '{value}'"),
///         OperandError::OutOfRange { min, max } => {
///             format!("Invalid {name} specified. Must be between {min} and {max}.")
///         }
///     }
/// }
/// let error = BlockSize::parse(b"0").unwrap_err();
/// assert_eq!(complaint(error, "bs", "0"), "Invalid bs specified. Must be between 1 and 2147483647.");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandError {
    /// The text is not a number.
    Invalid,
    /// The number is not from `min` to `max`.
    OutOfRange {
        /// The least value that the operand takes.
        min: u64,
        /// The greatest value that the operand takes.
        max: u64,
    },
}

impl fmt::Display for OperandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("not a number"),
            Self::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
        }
    }
}

impl core::error::Error for OperandError {}

/// The size of a block, the value of `bs=`: from 1 to 2147483647 bytes, by default 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u64);

impl BlockSize {
    /// One byte.
    pub const MIN: Self = Self(1);
    /// One byte less than 2 GiB.
    pub const MAX: Self = Self(2_147_483_647);

    /// The block size of `bytes`.
    ///
    /// # Errors
    ///
    /// [`OperandError::OutOfRange`] outside [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub const fn new(bytes: u64) -> Result<Self, OperandError> {
        if bytes < Self::MIN.0 || bytes > Self::MAX.0 {
            return Err(Self::OUT_OF_RANGE);
        }
        Ok(Self(bytes))
    }

    /// The block size that `text` spells, as [`parse_size`] reads it.
    ///
    /// # Errors
    ///
    /// [`OperandError::Invalid`] if `text` is not a size, [`OperandError::OutOfRange`] if it is one outside
    /// [`MIN`](Self::MIN) to [`MAX`](Self::MAX), negative ones included.
    pub fn parse(text: &[u8]) -> Result<Self, OperandError> {
        Self::new(number(text, Self::OUT_OF_RANGE)?)
    }

    /// The block size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    const OUT_OF_RANGE: OperandError = OperandError::OutOfRange { min: Self::MIN.0, max: Self::MAX.0 };
}

impl Default for BlockSize {
    /// 512 bytes.
    fn default() -> Self {
        Self(512)
    }
}

/// A number of blocks, the value of `count=` or `skip=`: from 0, the default, to 2^63 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockCount(u64);

impl BlockCount {
    /// No blocks.
    pub const MIN: Self = Self(0);
    /// 2^63 - 1 blocks.
    pub const MAX: Self = Self(9_223_372_036_854_775_807);

    /// The number `blocks`.
    ///
    /// # Errors
    ///
    /// [`OperandError::OutOfRange`] above [`MAX`](Self::MAX).
    pub const fn new(blocks: u64) -> Result<Self, OperandError> {
        if blocks > Self::MAX.0 {
            return Err(Self::OUT_OF_RANGE);
        }
        Ok(Self(blocks))
    }

    /// The number that `text` spells, as [`parse_size`] reads it: `1k` is 1024 blocks.
    ///
    /// # Errors
    ///
    /// [`OperandError::Invalid`] if `text` is not a number, [`OperandError::OutOfRange`] if it is negative or above
    /// [`MAX`](Self::MAX).
    pub fn parse(text: &[u8]) -> Result<Self, OperandError> {
        Self::new(number(text, Self::OUT_OF_RANGE)?)
    }

    /// How many blocks.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    const OUT_OF_RANGE: OperandError = OperandError::OutOfRange { min: Self::MIN.0, max: Self::MAX.0 };
}

/// The number that `text` spells; one that does not fit 64 bits is out of any operand's range.
fn number(text: &[u8], out_of_range: OperandError) -> Result<u64, OperandError> {
    parse_size(text).map_err(|error| match error {
        SizeError::Invalid => OperandError::Invalid,
        SizeError::OutOfRange => out_of_range,
    })
}

#[cfg(test)]
mod tests {
    use super::{BlockCount, BlockSize, OperandError};

    #[test]
    fn block_sizes_are_from_1_to_2_to_the_31_less_1() {
        let beyond = Err(OperandError::OutOfRange { min: 1, max: 2_147_483_647 });
        assert_eq!(BlockSize::parse(b"1"), Ok(BlockSize::MIN));
        assert_eq!(BlockSize::parse(b"2147483647"), Ok(BlockSize::MAX));
        assert_eq!(BlockSize::parse(b"512"), Ok(BlockSize::default()));
        for text in ["0", "2147483648", "2g", "-1", "18446744073709551615", "18446744073709551616"] {
            assert_eq!(BlockSize::parse(text.as_bytes()), beyond, "{text}");
        }
        assert_eq!(BlockSize::parse(b"x"), Err(OperandError::Invalid));
        assert_eq!(BlockSize::new(0), beyond);
        assert_eq!(BlockSize::new(4096).map(BlockSize::get), Ok(4096));
    }

    #[test]
    fn block_counts_are_from_0_to_2_to_the_63_less_1() {
        let beyond = Err(OperandError::OutOfRange { min: 0, max: 9_223_372_036_854_775_807 });
        assert_eq!(BlockCount::parse(b"0"), Ok(BlockCount::MIN));
        assert_eq!(BlockCount::parse(b"9223372036854775807"), Ok(BlockCount::MAX));
        for text in ["9223372036854775808", "8E", "-0", "18446744073709551616"] {
            assert_eq!(BlockCount::parse(text.as_bytes()), beyond, "{text}");
        }
        assert_eq!(BlockCount::parse(b""), Err(OperandError::Invalid));
        assert_eq!(BlockCount::new(u64::MAX), beyond);
        assert_eq!(BlockCount::new(7).map(BlockCount::get), Ok(7));
    }
}
