//! How bytes get into an output: the one place that knows.

use vm_memory::{Bytes, VolatileSlice};

use super::fault::ExecError;
use super::operation::{Read, Source, Write};
use super::progress::{Shift, Stopped};
use super::taken::Taken;
use crate::files::{FileError, Files};

/// What is read and written at a time, in bytes: it stays in the processor's cache on its way.
pub(super) const BUFFER_LEN: usize = 256 << 10;

/// The memory of one worker.
pub(super) struct Buffers {
    data: Vec<u8>,
    /// Never written to, so that the system backs it with one page.
    zeros: Vec<u8>,
}

/// Where bytes come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) files: &'a Files,
    pub(super) taken: &'a Taken,
}

/// Carries out writes.
pub(super) struct Mover<'a> {
    pub(super) buffers: &'a mut Buffers,
    pub(super) stores: Stores<'a>,
    pub(super) shift: &'a Shift<'a>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { data: vec![0; BUFFER_LEN], zeros: vec![0; BUFFER_LEN] }
    }
}

impl Mover<'_> {
    /// Carries out one piece.
    pub(super) fn carry_out(&mut self, piece: Write) -> Result<(), Stopped> {
        for chunk in piece.in_steps(BUFFER_LEN as u64) {
            self.shift.go_on()?;
            self.put(chunk)?;
            self.shift.wrote(chunk.len);
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

    /// Carries out one write of at most a buffer.
    fn put(&mut self, chunk: Write) -> Result<(), FileError> {
        let Stores { files, taken } = self.stores;
        let bytes = match chunk.from {
            Source::Zeros => &self.buffers.zeros[..clip(chunk.len)],
            Source::Input { file, at } => {
                let bytes = &mut self.buffers.data[..clip(chunk.len)];
                files.input(file).read_exact_at(bytes, at)?;
                bytes
            }
            Source::Window { at } => taken.bytes(at, chunk.len),
        };
        files.output(chunk.to).write_all_at(bytes, chunk.dst)
    }
}

/// The part of `len` that fits into a buffer.
fn clip(len: u64) -> usize {
    usize::try_from(len).unwrap_or(BUFFER_LEN).min(BUFFER_LEN)
}
