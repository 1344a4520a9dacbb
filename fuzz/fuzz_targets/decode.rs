//! Decompression of any bytes.
//!
//! An input is two [`Unit`]s, then the bytes that both are taken from.

#![no_main]

use fmt_core::Codec;
use guest_abi::exchange::MAX_UNIT_LEN;
use guest_ops::decode::Decoder;
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

/// A compressed piece of the input, little-endian.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Unit {
    offset: u16,
    len: u16,
    unit_len: u32,
    unused: [u32; 2],
    codec: u32,
    also_unused: u32,
}

impl Unit {
    /// What `decoder` makes of it.
    fn decode(&self, decoder: &mut Decoder, bytes: &[u8]) -> Option<Vec<u8>> {
        let codec = [Codec::Deflate, Codec::Zlib, Codec::Zstd][self.codec as usize % 3];
        let packed = bytes.get(self.offset.into()..).unwrap_or_default();
        let packed = &packed[..packed.len().min(self.len.into())];
        let mut plain = vec![0; self.unit_len.min(MAX_UNIT_LEN) as usize];
        let len = decoder.decode(codec, packed, &mut plain)?;
        assert!(codec == Codec::Zlib || len == plain.len(), "a part of it is not enough");
        plain.truncate(len);
        Some(plain)
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(([first, second], bytes)) = <[Unit; 2]>::read_from_prefix(input) else { return };
    let mut decoder = Decoder::default();
    first.decode(&mut decoder, bytes);
    let after_another = second.decode(&mut decoder, bytes);
    assert!(after_another == second.decode(&mut Decoder::default(), bytes), "it depends on what came before");
});
