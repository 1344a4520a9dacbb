//! Sectors, and arithmetic that says when it overflows.

/// The unit of a virtual disk's size: 512 bytes. A disk is a whole number of these.
pub const SECTOR: u64 = 512;

/// `bytes` rounded up to whole sectors, or `None` where that does not fit 64 bits.
///
/// ```
/// use fmt_core::round_up_to_sector;
///
/// assert_eq!(round_up_to_sector(1000), Some(1024));
/// assert_eq!(round_up_to_sector(1024), Some(1024));
/// assert_eq!(round_up_to_sector(u64::MAX), None);
/// ```
#[must_use]
pub const fn round_up_to_sector(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(SECTOR)
}
