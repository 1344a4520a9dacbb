//! Decompression of any bytes.
//!
//! An input is two [`Unit`]s, then the bytes that both are taken from.

#![no_main]

use fmt_core::Codec;
use guest_abi::exchange::MAX_UNIT_LEN;
use guest_ops::decode;
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

/// The base-2 logarithm of the largest window that a decoder takes.
const MAX_ZSTD_WINDOW_LOG: u32 = 22;

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
    fn decode(&self, decoder: &mut decode::Decoder, bytes: &[u8]) -> Option<Vec<u8>> {
        let (codec, packed) = (self.codec(), self.packed(bytes));
        let mut plain = vec![0; self.unit_len.min(MAX_UNIT_LEN) as usize];
        let len = decoder.decode(codec, packed, &mut plain)?;
        assert!(codec == Codec::Zlib || len == plain.len(), "a part of it is not enough");
        plain.truncate(len);
        Some(plain)
    }

    /// Compares what became of it with what libzstd makes of it, if it is one of Zstandard's.
    ///
    /// libzstd takes some frames that are broken, so what is refused here need not be refused there. What it refuses is
    /// refused here too, but for a frame that has more bytes than it says: those that are wanted are there.
    fn compare_with_libzstd(&self, plain: &[u8], bytes: &[u8]) {
        if self.codec() != Codec::Zstd || plain.is_empty() {
            return;
        }
        let packed = self.packed(bytes);
        let theirs = by_libzstd(packed, plain.len());
        assert!(plain.starts_with(&theirs), "libzstd decompresses it otherwise");
        assert!(theirs.len() == plain.len() || says_its_size(packed), "libzstd refuses it");
    }

    fn codec(&self) -> Codec {
        [Codec::Deflate, Codec::Zlib, Codec::Zstd][self.codec as usize % 3]
    }

    fn packed<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let packed = bytes.get(self.offset.into()..).unwrap_or_default();
        &packed[..packed.len().min(self.len.into())]
    }
}

/// As much of a frame as libzstd gets, up to `len` bytes.
fn by_libzstd(packed: &[u8], len: usize) -> Vec<u8> {
    let mut frame = Decoder::new().expect("there is memory for it");
    frame.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG)).expect("a size that the format has");
    let mut plain = vec![0; len];
    let mut room = OutBuffer::around(&mut plain[..]);
    // By the byte: nothing is looked at behind the last byte that is wanted.
    for byte in packed {
        let more = frame.run(&mut InBuffer::around(core::slice::from_ref(byte)), &mut room);
        if !more.is_ok_and(|more| more > 0) || room.pos() == len {
            break;
        }
    }
    let written = room.pos();
    plain.truncate(written);
    plain
}

/// Whether a frame's header has a content size (RFC 8878, 3.1.1.1.1).
fn says_its_size(frame: &[u8]) -> bool {
    const SIZE_FLAG_AND_SINGLE_SEGMENT: u8 = 0b1110_0000;
    frame[4] & SIZE_FLAG_AND_SINGLE_SEGMENT != 0
}

fuzz_target!(|input: &[u8]| {
    let Ok(([first, second], bytes)) = <[Unit; 2]>::read_from_prefix(input) else { return };
    let mut decoder = decode::Decoder::default();
    first.decode(&mut decoder, bytes);
    let after_another = second.decode(&mut decoder, bytes);
    if let Some(plain) = &after_another {
        second.compare_with_libzstd(plain, bytes);
    }
    assert!(
        after_another == second.decode(&mut decode::Decoder::default(), bytes),
        "it depends on what came before"
    );
});
