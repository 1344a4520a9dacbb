//! Decompression: what a decoder does.

use fmt_core::Codec;
use guest_abi::decode::{
    BROKEN, COUNT_AT, LENS_AT, MAX_UNITS, PACKED_AT, PACKED_LEN, PLAIN_AT, PLAIN_LEN, UNITS_AT, Unit,
};
use guest_abi::exchange::{CODEC_DEFLATE, CODEC_ZLIB, CODEC_ZSTD};
use structured_zstd::decoding::FrameDecoder;
use zerocopy::FromBytes;
use zlib_rs::{Inflate, InflateFlush, Status};

/// The largest window that a Zstandard frame may ask for, in bytes. A frame of a cluster needs no more than the cluster,
/// and what a writer rounds up to.
const MAX_ZSTD_WINDOW: u64 = 4 << 20;

/// The base-2 logarithm of the largest window that RFC 1951 allows, in bytes.
const MAX_WINDOW_BITS: u8 = 15;

/// What decompression needs, kept from unit to unit. It takes memory when the first unit comes.
#[derive(Default)]
pub struct Decoder {
    inflate: Option<Inflate>,
    zstd: Option<FrameDecoder>,
}

impl Decoder {
    /// Decompresses the batch in `exchange`, whose layout is that of [`guest_abi::decode`], and returns how many units it
    /// has.
    ///
    /// # Panics
    ///
    /// If the batch is none: that is the host's mistake, and not an image's.
    pub fn batch(&mut self, exchange: &mut [u8]) -> u32 {
        let count = u32::read_from_prefix(&exchange[place(COUNT_AT)..]).expect(INSIDE).0;
        assert!(count as usize <= MAX_UNITS, "a batch has more units than there is room for");
        for number in 0..count as usize {
            let unit = place(UNITS_AT) + number * size_of::<Unit>();
            let unit = Unit::read_from_prefix(&exchange[unit..]).expect(INSIDE).0;
            let len = self.unit(unit, exchange).unwrap_or(BROKEN);
            let at = place(LENS_AT) + number * size_of::<u32>();
            exchange[at..][..size_of::<u32>()].copy_from_slice(&len.to_le_bytes());
        }
        count
    }

    /// Decompresses one unit of a batch, and returns its length.
    fn unit(&mut self, unit: Unit, exchange: &mut [u8]) -> Option<u32> {
        let (head, packed) = exchange.split_at_mut(place(PACKED_AT));
        let packed = &packed[..place(PACKED_LEN)][unit.packed_at as usize..][..unit.packed_len as usize];
        let plain = &mut head[place(PLAIN_AT)..][..place(PLAIN_LEN)];
        let plain = &mut plain[unit.plain_at as usize..][..unit.plain_len as usize];
        let len = self.decode(codec(unit.codec), packed, plain)?;
        Some(u32::try_from(len).expect("no more than there was room for"))
    }

    /// Decompresses the unit that `packed` begins with into `plain`, and returns its length; `None` if it is broken.
    pub fn decode(&mut self, codec: Codec, packed: &[u8], plain: &mut [u8]) -> Option<usize> {
        match codec {
            Codec::Deflate => self.inflate(packed, plain),
            Codec::Zlib => self.inflate_whole(packed, plain),
            Codec::Zstd => self.unzstd(packed, plain),
            _ => None,
        }
    }

    /// Fills `plain` from a stream without a wrapper. What the stream holds beyond that is not wanted.
    fn inflate(&mut self, packed: &[u8], plain: &mut [u8]) -> Option<usize> {
        let (_, written) = self.run_inflate(packed, plain, false)?;
        (written == plain.len()).then_some(written)
    }

    /// Decompresses a whole zlib stream into `plain`. It may be shorter: a disk's last grain is.
    fn inflate_whole(&mut self, packed: &[u8], plain: &mut [u8]) -> Option<usize> {
        let (status, written) = self.run_inflate(packed, plain, true)?;
        (status == Status::StreamEnd).then_some(written)
    }

    /// Decompresses until the stream ends or `plain` is full, and returns how it ended and how much it wrote; `None` if the
    /// stream is broken.
    fn run_inflate(&mut self, packed: &[u8], plain: &mut [u8], wrapped: bool) -> Option<(Status, usize)> {
        let state = self.inflate.get_or_insert_with(|| Inflate::new(wrapped, MAX_WINDOW_BITS));
        state.reset(wrapped);
        let status = state.decompress(packed, plain, InflateFlush::Finish).ok()?;
        Some((status, usize::try_from(state.total_out()).expect("no more than there was room for")))
    }

    /// Fills `plain` from a frame. What the frame holds beyond that is not wanted.
    fn unzstd(&mut self, packed: &[u8], plain: &mut [u8]) -> Option<usize> {
        let state = self.zstd.get_or_insert_with(zstd_state);
        let mut blocks = packed;
        state.reset(&mut blocks).ok()?;
        let (_, written) = state.decode_from_to(blocks, plain).ok()?;
        (written == plain.len()).then_some(written)
    }
}

/// A decoder of frames whose windows are bounded.
fn zstd_state() -> FrameDecoder {
    let mut state = FrameDecoder::new();
    state.set_max_window_size(MAX_ZSTD_WINDOW).expect("a size that the format has");
    state
}

/// The number of a codec that host and decoder know it by.
///
/// # Panics
///
/// For one that they do not.
#[must_use]
pub fn codec_number(codec: Codec) -> u32 {
    match codec {
        Codec::Deflate => CODEC_DEFLATE,
        Codec::Zlib => CODEC_ZLIB,
        Codec::Zstd => CODEC_ZSTD,
        _ => panic!("a codec without a number"),
    }
}

fn codec(number: u32) -> Codec {
    match number {
        CODEC_DEFLATE => Codec::Deflate,
        CODEC_ZLIB => Codec::Zlib,
        CODEC_ZSTD => Codec::Zstd,
        _ => panic!("an unknown codec"),
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect(INSIDE)
}

const INSIDE: &str = "the layout of the exchange is inside it: guest_abi asserts that";
