//! How bytes get into an output: the one place that knows.

use core::ops::Range;

use guest_abi::exchange::PACKED_ZEROS;
use vm_memory::{Bytes, VolatileSlice};

use super::conduct::Conduct;
use super::fault::ExecError;
use super::operation::{Pack, Read, Source, Write};
use super::pack::{self, Packer, Packet};
use super::pieces::Piece;
use super::progress::{Shift, Stopped};
use super::scan::{Look, is_zero};
use super::taken::Taken;
use crate::files::{FileError, FileId, Files, Mapping, Output};

/// What is read and written at a time, in bytes: it stays in the processor's cache on its way.
pub(super) const BUFFER_LEN: usize = 256 << 10;

/// What file systems allocate together, mostly, in bytes.
const FILE_BLOCK: u64 = 4 << 10;

/// From how many bytes on they are worth a mapping: to unmap them, too, takes time of all threads.
const WORTH_MAPPING: u64 = 1 << 20;

/// The memory of one worker.
pub(super) struct Buffers {
    data: Vec<u8>,
    /// Never written to, so that the system backs it with one page.
    zeros: Vec<u8>,
    /// What is compressed as a whole.
    whole: Vec<u8>,
    packer: Packer,
}

/// Where bytes come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) files: &'a Files,
    pub(super) taken: &'a Taken,
    pub(super) conduct: &'a Conduct,
}

/// Carries out writes.
pub(super) struct Mover<'a> {
    pub(super) buffers: &'a mut Buffers,
    pub(super) stores: Stores<'a>,
    pub(super) shift: &'a Shift<'a>,
    /// It gets bytes into files in memory by way of mappings, where it can.
    ///
    /// Whoever writes to a file waits for all others who do, also while the system makes the pages. To fill pages that are
    /// mapped waits for nobody, but takes twice as long.
    pub(super) maps: bool,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            data: vec![0; BUFFER_LEN],
            zeros: vec![0; BUFFER_LEN],
            whole: Vec::new(),
            packer: Packer::default(),
        }
    }
}

impl Mover<'_> {
    /// Carries out one piece.
    pub(super) fn carry_out(&mut self, piece: Piece<'_>) -> Result<(), Stopped> {
        match piece {
            Piece::Write(write) => self.write(write),
            Piece::Look(look) => self.look(look),
            Piece::Pack(packet) => self.pack(packet),
        }
    }

    fn write(&mut self, piece: Write) -> Result<(), Stopped> {
        let output = self.stores.files.output(piece.to);
        if piece.from == Source::Zeros && output.hole_grain().is_some() {
            self.shift.wrote(piece.len);
            return self.shift.go_on();
        }
        let is_mapped = self.maps && piece.len >= WORTH_MAPPING && matches!(piece.from, Source::Input { .. });
        let mapping = if is_mapped { output.map(piece.dst, piece.len) } else { None };
        for chunk in piece.in_steps(BUFFER_LEN as u64) {
            self.shift.go_on()?;
            self.put(chunk, output, mapping.as_ref())?;
            self.shift.wrote(chunk.len);
            self.shift.keep_pace(chunk.len)?;
        }
        Ok(())
    }

    /// Puts what a decoder has made into an output. Where there are to be holes, it is looked through for them.
    pub(super) fn deliver(&mut self, plain: &VolatileSlice<'_>, to: FileId, dst: u64) -> Result<(), Stopped> {
        self.shift.go_on()?;
        let output = self.stores.files.output(to);
        match output.hole_grain() {
            None => output.write_all_from(plain, dst)?,
            Some(grain) => {
                let whole = &mut self.buffers.whole;
                whole.resize(plain.len(), 0);
                plain.copy_to(&mut whole[..]);
                each_data(whole, dst, grain, |data| {
                    output.write_all_at(&whole[data.clone()], dst + data.start as u64)
                })?;
            }
        }
        self.shift.wrote(plain.len() as u64);
        self.shift.keep_pace(plain.len() as u64)
    }

    /// Compresses.
    fn pack(&mut self, packet: &Packet) -> Result<(), Stopped> {
        self.shift.go_on()?;
        let Pack { packing, from, src, len, to, dst, .. } = packet.pack;
        let Buffers { whole, packer, .. } = &mut *self.buffers;
        whole.resize(usize::try_from(len).unwrap_or(0), 0);
        self.stores.read(from, whole, src)?;
        let answer = if is_zero(whole) {
            PACKED_ZEROS
        } else if let Some(packed) = packer.pack(whole, packing) {
            self.stores.files.output(to).write_all_at(packed, dst)?;
            pack::answer(packed.len())
        } else {
            0
        };
        packet.set_len(answer);
        Ok(())
    }

    /// Looks where an input is other than zero.
    fn look(&mut self, look: Look<'_>) -> Result<(), Stopped> {
        let mut rest = Some(look);
        while let Some(look) = rest.and_then(Look::unknown) {
            self.shift.go_on()?;
            let (part, behind) = look.first(BUFFER_LEN as u64);
            let bytes = &mut self.buffers.data[..clip(part.len())];
            self.stores.read(part.file(), bytes, part.src())?;
            part.note(bytes);
            rest = behind;
        }
        Ok(())
    }

    /// Puts the bytes that the guest wants to read into its data window.
    pub(super) fn answer(&mut self, read: Read, window: &VolatileSlice<'_>) -> Result<(), ExecError> {
        let input = self.stores.files.input(read.file);
        let mut done = 0;
        while done < read.len {
            self.shift.go_on().map_err(|stopped| self.shift.error(stopped))?;
            let bytes = &mut self.buffers.data[..clip(read.len - done)];
            input.read_exact_at(bytes, read.src + done)?;
            let at = usize::try_from(read.window_at + done).unwrap_or(usize::MAX);
            window.write_slice(bytes, at).map_err(ExecError::Window)?;
            done += bytes.len() as u64;
        }
        Ok(())
    }

    /// Carries out one write of at most a buffer, by way of a mapping if there is one.
    fn put(&mut self, chunk: Write, output: &Output, mapping: Option<&Mapping>) -> Result<(), FileError> {
        let (stores, grain) = (self.stores, output.hole_grain());
        let is_filled = |part: Write| mapping.is_some_and(|mapping| stores.fill(mapping, part));
        if grain.is_none() && is_filled(chunk) {
            return Ok(());
        }
        let bytes = match chunk.from {
            Source::Zeros => &self.buffers.zeros[..clip(chunk.len)],
            Source::Input { file, at } => {
                let bytes = &mut self.buffers.data[..clip(chunk.len)];
                stores.read(file, bytes, at)?;
                bytes
            }
            Source::Window { at } => stores.taken.bytes(at, chunk.len),
        };
        let Some(grain) = grain else {
            return output.write_all_at(bytes, chunk.dst);
        };
        each_data(bytes, chunk.dst, grain, |data| {
            if is_filled(chunk.part(&data)) {
                return Ok(());
            }
            output.write_all_at(&bytes[data.clone()], chunk.dst + data.start as u64)
        })
    }
}

/// Has all of `bytes`, which are to lie at `offset`, written but for zeros: what they are in reads as zeros. Between other bytes,
/// zeros are left out that are `grain` bytes or more, and blocks of the file system.
fn each_data(
    bytes: &[u8],
    offset: u64,
    grain: u64,
    mut write: impl FnMut(Range<usize>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let piece = grain.min(FILE_BLOCK);
    // Wherever so many zeros begin, one block less of them is whole.
    let is_worth = |zeros: usize| zeros > 0 && zeros as u64 + piece >= grain;
    let first = usize::try_from(piece - offset % piece).unwrap_or(usize::MAX).min(bytes.len());
    let piece = usize::try_from(piece).unwrap_or(usize::MAX);
    let (mut data, mut end) = (0..0, first);
    for start in core::iter::once(0).chain((first..bytes.len()).step_by(piece)) {
        if !is_zero(&bytes[start..end]) {
            if data.is_empty() || is_worth(start - data.end) {
                write(data.clone())?;
                data.start = start;
            }
            data.end = end;
        }
        end = end.saturating_add(piece).min(bytes.len());
    }
    write(data)
}

impl Stores<'_> {
    /// Carries out a write of an input's bytes by way of a mapping, and tells whether that was possible.
    fn fill(&self, mapping: &Mapping, write: Write) -> bool {
        let Source::Input { file, at } = write.from else { return false };
        mapping.fill(write.dst, self.files.input(file), at, write.len)
    }

    /// Fills `bytes` from byte `at` of an input.
    fn read(&self, file: FileId, bytes: &mut [u8], at: u64) -> Result<(), FileError> {
        let input = self.files.input(file);
        match (input.read_exact_at(bytes, at), &self.conduct.salvaged) {
            // What is written into is not what is rescued.
            (Err(_), Some(salvaged)) if self.files.is_input(file) => {
                salvaged.read(file, input, bytes, at);
                Ok(())
            }
            (read, _) => read,
        }
    }
}

/// The part of `len` that fits into a buffer.
fn clip(len: u64) -> usize {
    usize::try_from(len).unwrap_or(BUFFER_LEN).min(BUFFER_LEN)
}
