//! The doorbell, and the command's host behind it.

use core::cell::Cell;

use fmt_core::{Error, ErrorKind, FileId, Step, StepSink};
use guest_abi::boot::{BootPage, FileEntry, NAMED_DMG};
use guest_abi::exchange::{
    COPY, DATA_AT, DATA_LEN, FAILED, FINISHED, GO_ON, Head, MAX_RECORDS, READ, RECORDS_AT, REPORT_AT, Record,
    SET_LEN, TEXT_AT, TEXT_LEN, ZERO,
};
use guest_ops::{Failure, Host};
use zerocopy::{Immutable, IntoBytes};

use crate::exchange;

/// The host, reached through the exchange. Steps are gathered and go with the next ring.
#[derive(Debug)]
pub struct Bell {
    boot: &'static BootPage,
    /// How many records wait in the exchange.
    count: Cell<u32>,
    operations: Cell<u64>,
    written: Cell<u64>,
}

impl Bell {
    pub(crate) const fn new(boot: &'static BootPage) -> Self {
        Self { boot, count: Cell::new(0), operations: Cell::new(0), written: Cell::new(0) }
    }

    /// Tells the host how the command ended, and stops.
    pub(crate) fn end<Report: IntoBytes + Immutable>(&self, outcome: Result<Report, Failure>) -> ! {
        match outcome {
            Ok(report) => self.ring_with(FINISHED, &report, ""),
            Err(failure) => {
                // What waits belongs to a plan that is not to be.
                self.count.set(0);
                let (record, text) = failure.to_record();
                self.ring_with(FAILED, &record, text);
            }
        }
        exchange::stop()
    }

    fn push(&self, record: Record, written: u64) {
        if self.count.get() as usize == MAX_RECORDS {
            self.ring();
        }
        let at = RECORDS_AT + u64::from(self.count.get()) * size_of::<Record>() as u64;
        exchange::put(at, &record);
        self.count.set(self.count.get() + 1);
        self.operations.set(self.operations.get() + 1);
        // The host refuses a sum that does not fit; the guest's own must only not panic before it does.
        self.written.set(self.written.get().wrapping_add(written));
    }

    fn ring(&self) {
        self.ring_with(GO_ON, &(), "");
    }

    fn ring_with<Report: IntoBytes + Immutable>(&self, state: u32, report: &Report, text: &str) {
        let text = text.as_bytes();
        let text = text.get(..TEXT_LEN).unwrap_or(text);
        exchange::put(REPORT_AT, report);
        exchange::put(TEXT_AT, text);
        ring_head(&Head {
            state,
            count: self.count.take(),
            text_len: text.len() as u32,
            report_len: size_of::<Report>() as u32,
            total_operations: self.operations.get(),
            total_written: self.written.get(),
        });
    }

    fn entry(&self, file: FileId) -> Option<&FileEntry> {
        let files = self.boot.files.get(..self.boot.header.file_count as usize)?;
        files.get(file.0 as usize)
    }
}

/// Puts `head` where the host looks first, and rings.
pub(crate) fn ring_head(head: &Head) {
    exchange::put(0, head);
    exchange::ring();
}

impl Host for Bell {
    fn file_len(&self, file: FileId) -> u64 {
        self.entry(file).map_or(0, |entry| entry.len)
    }

    fn is_named_dmg(&self, file: FileId) -> bool {
        self.entry(file).is_some_and(|entry| entry.hints & NAMED_DMG != 0)
    }

    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.file_len(file)) {
            return Err(Error::new(ErrorKind::Io, offset, "read past the end of the file"));
        }
        let mut src = offset;
        for part in buf.chunks_mut(DATA_LEN as usize) {
            let len = part.len() as u64;
            self.push(Record { op: READ, file: file.0, src, len, ..Record::default() }, 0);
            self.ring();
            exchange::get(DATA_AT, part);
            src += len;
        }
        Ok(())
    }
}

impl StepSink for Bell {
    fn step(&self, step: Step) -> Result<(), Error> {
        let none = Record::default();
        match step {
            Step::SetLen { file, len } => self.push(Record { op: SET_LEN, file: file.0, len, ..none }, 0),
            Step::Copy { src_file, src, file, dst, len } => {
                let (file, src_file) = (file.0, src_file.0);
                self.push(Record { op: COPY, file, src_file, dst, src, len, ..none }, len);
            }
            Step::Zero { file, dst, len } => {
                self.push(Record { op: ZERO, file: file.0, dst, len, ..none }, len);
            }
        }
        Ok(())
    }
}
