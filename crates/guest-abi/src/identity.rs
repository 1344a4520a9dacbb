//! What a new image is called and when it was made: what cannot be computed from its content.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest name of an output, in bytes.
pub const NAME_LEN: usize = 256;

/// What a new image is called and when it was made. The host makes it, from chance and the clock, or from what the user
/// says; a guest knows neither.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Identity {
    /// The image's own identity, as a UUID in the order in which one is written down.
    pub uuid: [u8; 16],
    /// When it is made, in seconds since 1970-01-01 00:00:00 UTC.
    pub unix_time: u64,
    /// The output's name without directories, cut and padded with zero bytes.
    pub name: [u8; NAME_LEN],
}

impl Identity {
    /// The name, without what pads it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// The UUID number `n` of the image: the image's own for 0, others that follow from it for structures that have one
    /// of their own.
    #[must_use]
    pub fn uuid(&self, n: u8) -> [u8; 16] {
        let mut uuid = self.uuid;
        uuid[15] ^= n;
        uuid
    }

    /// A 32-bit number that follows from the UUID.
    #[must_use]
    pub fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.uuid;
        u32::from_be_bytes([a, b, c, d])
    }
}
