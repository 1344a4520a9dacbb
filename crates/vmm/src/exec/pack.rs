//! Compression. The bytes to compress are opaque, and a compressor reads them from end to end whatever they are: there is no
//! length, no offset, and no table in them that it would believe. Decompression is another matter, and not done here.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use flate2::{Compress, Compression, FlushCompress, Status};
use guest_abi::exchange::{MAX_UNIT_LEN, PACKED_ZEROS, pack_room};
use vm_memory::{Bytes, VolatileSlice};
use zstd::bulk::Compressor;

use super::fault::ExecError;
use super::operation::{Pack, Packing};

/// How much more work it is to compress a byte than to move it, about.
const EFFORT: u64 = 32;

/// The window of a deflate stream without a wrapper, as a power of two: what readers of qcow2 allow for.
const SMALL_WINDOW: u8 = 12;

/// The window of a zlib stream, as a power of two.
const WINDOW: u8 = 15;

/// Something to compress, and how long it became.
pub(super) struct Packet {
    pub(super) pack: Pack,
    len: AtomicU32,
}

impl Packet {
    pub(super) fn new(pack: Pack) -> Self {
        Self { pack, len: AtomicU32::new(0) }
    }

    /// How much work it is, in bytes to move.
    pub(super) fn work(&self) -> u64 {
        self.pack.len * EFFORT
    }

    pub(super) fn set_len(&self, len: u32) {
        self.len.store(len, Relaxed);
    }

    /// Puts the answer into the guest's data window.
    pub(super) fn tell(&self, window: &VolatileSlice<'_>) -> Result<(), ExecError> {
        let at = usize::try_from(self.pack.window_at).unwrap_or(usize::MAX);
        window.write_slice(&self.len.load(Relaxed).to_le_bytes(), at).map_err(ExecError::Window)
    }
}

/// What one worker compresses with. It takes memory when there is something to compress.
#[derive(Default)]
pub(super) struct Packer {
    deflate: Option<(Packing, Compress)>,
    zstd: Option<Compressor<'static>>,
    room: Vec<u8>,
}

impl Packer {
    /// What `bytes` become: `None` where there is no room for it.
    pub(super) fn pack(&mut self, bytes: &[u8], packing: Packing) -> Option<&[u8]> {
        debug_assert!(bytes.len() <= MAX_UNIT_LEN as usize, "checked");
        let room = usize::try_from(pack_room(bytes.len() as u64)).ok()?;
        self.room.resize(room, 0);
        let len = match packing {
            Packing::Deflate | Packing::Zlib => self.deflate(bytes, packing),
            Packing::Zstd => self.zstd(bytes),
        };
        len.and_then(|len| self.room.get(..len))
    }

    fn deflate(&mut self, bytes: &[u8], packing: Packing) -> Option<usize> {
        if self.deflate.as_ref().is_none_or(|(of, _)| *of != packing) {
            let (has_header, window) =
                if packing == Packing::Zlib { (true, WINDOW) } else { (false, SMALL_WINDOW) };
            let new = Compress::new_with_window_bits(Compression::default(), has_header, window);
            self.deflate = Some((packing, new));
        }
        let (_, deflate) = self.deflate.as_mut()?;
        deflate.reset();
        let status = deflate.compress(bytes, &mut self.room, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd).then(|| usize::try_from(deflate.total_out()).ok())?
    }

    fn zstd(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.zstd.is_none() {
            self.zstd = Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).ok();
        }
        self.zstd.as_mut()?.compress_to_buffer(bytes, &mut self.room).ok()
    }
}

/// The answer for `len` bytes that something became.
pub(super) fn answer(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|&len| len != PACKED_ZEROS).unwrap_or(0)
}
