//! How a command is carried out, beside what it does.

use core::num::{NonZeroU64, NonZeroUsize};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use crate::files::Input;

/// How a command is carried out. The default is what `dd` does.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// How many threads there are where there is much to do.
    pub workers: NonZeroUsize,
    /// How many bytes are written in a second, at most.
    pub rate: Option<NonZeroU64>,
    /// Given, what of a disk's data cannot be read is taken for zeros, and counted here.
    pub salvaged: Option<Arc<Salvaged>>,
    /// Whether everything is on the medium when the command has ended.
    pub sync: bool,
}

/// File systems let one write at a time to a file, so that the second worker's gain is to read, and to be ready, while the
/// first one writes; there is nothing left for a third.
const WORKERS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

impl Default for Conduct {
    fn default() -> Self {
        Self { workers: WORKERS, rate: None, salvaged: None, sync: true }
    }
}

/// What could not be read.
#[derive(Debug, Default)]
pub struct Salvaged {
    bytes: AtomicU64,
}

/// What is given up at a time where something cannot be read, in bytes.
const SECTOR: usize = 512;

impl Salvaged {
    /// How many bytes were taken for zeros. Those that were to be read several times count as often.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Fills `buf` with what can be read from `offset` on, sector by sector.
    pub(super) fn read(&self, input: &Input, buf: &mut [u8], offset: u64) {
        for (part, at) in buf.chunks_mut(SECTOR).zip((offset..).step_by(SECTOR)) {
            if input.read_exact_at(part, at).is_err() {
                part.fill(0);
                self.bytes.fetch_add(part.len() as u64, Relaxed);
            }
        }
    }
}
