//! CRC-32C (Castagnoli), which guards headers, region tables and log entries.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][byte]` is the checksum's change by `byte` with `n` bytes of zeros behind it, so that eight bytes are taken in
/// one step.
static TABLES: [[u32; 256]; 8] = tables();

/// A checksum being computed.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The checksum of nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Goes on with `bytes`.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (eights, rest) = bytes.as_chunks();
        let crc = eights.iter().fold(self.0, |crc, &eight| step_eight(crc, eight));
        Self(rest.iter().fold(crc, |crc, &byte| step(crc, byte)))
    }

    /// Goes on with `len` zeros.
    #[must_use]
    pub fn zeros(self, len: usize) -> Self {
        const ZEROS: [u8; 512] = [0; 512];
        let whole = (0..len / ZEROS.len()).fold(self, |crc, _| crc.bytes(&ZEROS));
        whole.bytes(ZEROS.get(..len % ZEROS.len()).unwrap_or(&[]))
    }

    /// Goes on with the beginning of a structure, whose own checksum, its bytes 4 to 7, counts as zeros.
    #[must_use]
    pub fn structure(self, bytes: &[u8]) -> Self {
        let (head, rest) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
        self.bytes(head).zeros(rest.len().min(4)).bytes(rest.get(4..).unwrap_or(&[]))
    }

    /// The checksum.
    #[must_use]
    pub const fn value(self) -> u32 {
        !self.0
    }

    /// Whether it is the one that a structure carries. Any is for a fuzzer, which could not guess it and would learn nothing
    /// about what comes after.
    pub(crate) const fn is(self, carried: u32) -> bool {
        cfg!(fuzzing) || self.value() == carried
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

// A byte is always an index of 256 entries.

fn step(crc: u32, byte: u8) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    TABLES[0][usize::from(low ^ byte)] ^ (crc >> 8)
}

fn step_eight(crc: u32, eight: [u8; 8]) -> u32 {
    let [a, b, c, d, e, f, g, h] = eight.map(usize::from);
    let [w, x, y, z] = crc.to_le_bytes().map(usize::from);
    TABLES[7][a ^ w]
        ^ TABLES[6][b ^ x]
        ^ TABLES[5][c ^ y]
        ^ TABLES[4][d ^ z]
        ^ TABLES[3][e]
        ^ TABLES[2][f]
        ^ TABLES[1][g]
        ^ TABLES[0][h]
}

#[expect(clippy::cast_possible_truncation, reason = "indices of 256 entries")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][index] = crc;
        index += 1;
    }
    // One more byte of zeros behind, in each table.
    let mut table = 1;
    while table < 8 {
        let mut index = 0;
        while index < 256 {
            let before = tables[table - 1][index];
            tables[table][index] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            index += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalogues, and vectors of RFC 3720, B.4.
    #[test]
    fn known_values() {
        assert_eq!(Crc32c::new().bytes(b"123456789").value(), 0xe306_9283);
        assert_eq!(Crc32c::new().zeros(32).value(), 0x8a91_36aa);
        assert_eq!(Crc32c::new().bytes(&[0xff; 32]).value(), 0x62a8_ab43);
    }

    /// Byte by byte is how the tables' first row says it.
    #[test]
    fn eight_bytes_at_once_are_eight_bytes() {
        let bytes: [u8; 100] = core::array::from_fn(|at| at.to_le_bytes()[0].wrapping_mul(37));
        for len in 0..100 {
            let whole = Crc32c::new().bytes(&bytes[..len]).value();
            let single = bytes[..len].iter().fold(Crc32c::new(), |crc, byte| crc.bytes(&[*byte])).value();
            assert_eq!(whole, single, "{len}");
        }
        assert_eq!(Crc32c::new().zeros(1300).value(), Crc32c::new().bytes(&[0; 1300]).value());
    }

    #[test]
    fn a_structures_own_checksum_counts_as_zeros() {
        let expected = Crc32c::new().bytes(b"head\0\0\0\0rest").value();
        assert_eq!(Crc32c::new().structure(b"head\x12\x34\x56\x78rest").value(), expected);
        assert_eq!(Crc32c::new().structure(b"he").value(), Crc32c::new().bytes(b"he").value());
    }
}
