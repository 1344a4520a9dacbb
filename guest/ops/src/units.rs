//! Compressed units, on their way from a plan to the host, which has them decompressed.

use core::cell::Cell;

use fmt_core::{Compressed, Error, ErrorKind, FileId, Source, Step, StepSink};
use guest_abi::exchange::{MAX_PACKED_LEN, MAX_UNIT_LEN};

use crate::{Failure, Host};

/// A sink that holds compressed units to what the host takes: they are not too large, and end with their file.
#[derive(Debug)]
pub struct Units<'h, H> {
    host: &'h H,
    /// The file of the unit that was not good.
    blamed: Cell<Option<FileId>>,
}

impl<'h, H: Host> Units<'h, H> {
    /// A sink before `host`.
    pub const fn new(host: &'h H) -> Self {
        Self { host, blamed: Cell::new(None) }
    }

    /// The failure, of the input that it is about.
    #[must_use]
    pub fn blame(&self, failure: Failure) -> Failure {
        self.blamed.get().map_or(failure, |input| failure.in_file(input))
    }

    /// The unit without what its image says it has behind the end of the file: some say so of their last one.
    fn clipped(&self, unit: Compressed) -> Result<Compressed, Error> {
        if unit.unit_len > MAX_UNIT_LEN || unit.len > MAX_PACKED_LEN {
            return Err(Error::new(ErrorKind::TooLarge, unit.offset, "a compressed cluster"));
        }
        let rest = self.host.file_len(unit.file).saturating_sub(unit.offset);
        let len = u32::try_from(rest).map_or(unit.len, |rest| rest.min(unit.len));
        if len == 0 {
            return Err(Error::new(ErrorKind::Corrupt, unit.offset, "a compressed cluster is not there"));
        }
        Ok(Compressed { len, ..unit })
    }

    fn fill(&self, file: FileId, dst: u64, len: u64, unit: Compressed, skip: u32) -> Result<(), Error> {
        let unit = self.clipped(unit)?;
        if u64::from(skip).saturating_add(len) > unit.unit_len.into() {
            let what = "a compressed cluster is shorter than what is in it";
            return Err(Error::new(ErrorKind::Corrupt, unit.offset, what));
        }
        self.host.step(Step::Fill { file, dst, len, source: Source::Compressed { unit, skip } })
    }
}

impl<H: Host> StepSink for Units<'_, H> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::Fill { file, dst, len, source: Source::Compressed { unit, skip } } => {
                let filled = self.fill(file, dst, len, unit, skip);
                filled.inspect_err(|_| self.blamed.set(Some(unit.file)))
            }
            other => self.host.step(other),
        }
    }

    fn max_len(&self, file: FileId) -> u64 {
        self.host.max_len(file)
    }
}
