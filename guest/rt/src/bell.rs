//! The doorbell, and the command's host behind it.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use fmt_core::{Codec, Error, ErrorKind, FileId, Source, Step, StepSink};
use guest_abi::boot::{BootPage, FileEntry, NAMED_DMG, ROLE_IN_PLACE, ROLE_OUTPUT};
use guest_abi::exchange::{
    COPY, CREATE, DATA_AT, DATA_LEN, DECODE, EXPECT, FAILED, FINISHED, GO_ON, Head, MAX_RECORDS, NAME_LEN,
    OPEN, PACK, PACK_ANSWER_LEN, PACKED_ZEROS, READ, RECORDS_AT, REPORT_AT, Record, SCAN, SET_LEN, TEXT_AT,
    TEXT_LEN, WRITE, ZERO, scan_answer_len,
};
use guest_ops::decode::codec_number;
use guest_ops::{Failure, Host, Pack, Packed, Scan};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{doorbell, exchange};

/// The host, reached through the exchange. Steps are gathered and go with the next ring.
#[derive(Debug)]
pub struct Bell {
    /// The files, by number: those of the boot page, then those that images named, and that outputs consist of.
    files: RefCell<Vec<FileEntry>>,
    /// How many records wait in the exchange.
    count: Cell<u32>,
    /// The last of them.
    last: Cell<Record>,
    /// How many bytes of the data window are taken.
    taken: Cell<u64>,
    operations: Cell<u64>,
    written: Cell<u64>,
}

impl Bell {
    pub(crate) fn new(boot: &BootPage) -> Self {
        let files = boot.files.get(..boot.header.file_count as usize).unwrap_or_default();
        Self {
            files: RefCell::new(files.to_vec()),
            count: Cell::new(0),
            last: Cell::new(Record::default()),
            taken: Cell::new(0),
            operations: Cell::new(0),
            written: Cell::new(0),
        }
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
        doorbell::stop()
    }

    /// Puts one more record into the exchange, or makes the last one longer where this one continues it.
    fn push(&self, record: Record) {
        let waiting = self.count.get();
        if let Some(longer) = joined(self.last.get(), record).filter(|_| waiting > 0) {
            self.place(waiting - 1, longer);
        } else {
            if waiting as usize == MAX_RECORDS {
                self.ring();
            }
            self.place(self.count.get(), record);
            self.count.set(self.count.get() + 1);
            self.operations.set(self.operations.get() + 1);
        }
        if matches!(record.op, WRITE | COPY | ZERO | DECODE) {
            // The host refuses a sum that does not fit; the guest's own must only not panic before it does.
            self.written.set(self.written.get().wrapping_add(record.len));
        }
    }

    fn place(&self, index: u32, record: Record) {
        exchange::put(RECORDS_AT + u64::from(index) * size_of::<Record>() as u64, &record);
        self.last.set(record);
    }

    /// Takes `len` bytes of the data window, which has as many, and returns where they are.
    fn take(&self, len: u64) -> u64 {
        if self.taken.get() + len > DATA_LEN {
            self.ring();
        }
        let at = self.taken.get();
        self.taken.set(at + len);
        at
    }

    fn ring(&self) {
        if self.count.get() > 0 {
            self.ring_with(GO_ON, &(), "");
        }
        self.taken.set(0);
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

    /// Asks for `answer.len()` bytes that the host puts into the data window, with everything that waits.
    fn ask(&self, record: Record, answer: &mut [u8]) {
        let at = self.take(answer.len() as u64);
        self.push(Record { dst: at, ..record });
        self.ring();
        exchange::get(DATA_AT + at, answer);
    }

    fn entry(&self, file: FileId) -> Option<FileEntry> {
        self.files.borrow().get(file.0 as usize).copied()
    }

    fn add(&self, entry: FileEntry) -> FileId {
        let mut files = self.files.borrow_mut();
        files.push(entry);
        FileId(files.len() as u32 - 1)
    }

    fn is_in_place(&self, file: FileId) -> bool {
        self.entry(file).is_some_and(|entry| entry.role == ROLE_IN_PLACE)
    }

    fn set_len(&self, file: FileId, len: u64) {
        if let Some(entry) = self.files.borrow_mut().get_mut(file.0 as usize)
            && entry.role == ROLE_IN_PLACE
        {
            entry.len = len;
        }
        self.push(Record { op: SET_LEN, file: file.0, len, ..Record::default() });
    }

    fn write(&self, file: u32, mut dst: u64, bytes: &[u8]) {
        for part in bytes.chunks(DATA_LEN as usize) {
            let len = part.len() as u64;
            let src = self.take(len);
            exchange::put(DATA_AT + src, part);
            self.push(Record { op: WRITE, file, dst, src, len, ..Record::default() });
            dst += len;
        }
    }
}

/// `last` and `next` as one record, if `next` continues `last`.
fn joined(last: Record, next: Record) -> Option<Record> {
    let follows = |from: u64, to: u64| from.checked_add(last.len) == Some(to);
    let same = last.op == next.op && last.file == next.file && last.src_file == next.src_file;
    let goes_on = match last.op {
        ZERO => follows(last.dst, next.dst),
        COPY | WRITE => follows(last.dst, next.dst) && follows(last.src, next.src),
        DECODE => {
            let wanted = Record { dst: next.dst, len: next.len, skip: next.skip, ..last };
            wanted == next && follows(last.dst, next.dst) && follows(last.skip.into(), next.skip.into())
        }
        _ => false,
    };
    let len = last.len.checked_add(next.len)?;
    (same && goes_on).then_some(Record { len, ..last })
}

/// Puts `head` where the host looks first, and rings.
pub(crate) fn ring_head(head: &Head) {
    exchange::put(0, head);
    doorbell::ring();
}

impl Host for Bell {
    fn file_len(&self, file: FileId) -> u64 {
        self.entry(file).map_or(0, |entry| entry.len)
    }

    fn is_named_dmg(&self, file: FileId) -> bool {
        self.entry(file).is_some_and(|entry| entry.hints & NAMED_DMG != 0)
    }

    fn open(&self, from: FileId, name: &[u8]) -> Result<FileId, Error> {
        if name.is_empty() || name.len() as u64 > NAME_LEN {
            return Err(Error::new(ErrorKind::Corrupt, 0, "the name of another file is empty or too long"));
        }
        let mut answer = [0; size_of::<FileEntry>()];
        // Name and answer in one piece, so that no ring comes between them.
        let len = name.len() as u64;
        let src = self.take(len + answer.len() as u64);
        exchange::put(DATA_AT + src, name);
        let dst = src + len;
        self.push(Record { op: OPEN, file: from.0, src, dst, len, ..Record::default() });
        self.ring();
        exchange::get(DATA_AT + dst, &mut answer);

        Ok(self.add(FileEntry::read_from_bytes(&answer).unwrap_or_default()))
    }

    fn create(&self, of: FileId) -> FileId {
        self.push(Record { op: CREATE, file: of.0, ..Record::default() });
        self.add(FileEntry { role: ROLE_OUTPUT, hints: 0, len: u64::MAX })
    }

    fn expect_units(&self) {
        self.push(Record { op: EXPECT, ..Record::default() });
    }

    fn scan(&self, scans: &[Scan], unit: u32, answer: &mut Vec<u8>) -> Result<(), Error> {
        let len = scans.iter().map(|scan| scan_answer_len(scan.len, unit)).fold(0, u64::saturating_add);
        if len > DATA_LEN {
            return Err(Error::new(ErrorKind::TooLarge, 0, "what is to be told of zeros"));
        }
        // Room for all answers in one piece, which nothing is put into before they have been taken.
        let at = self.take(len);
        let mut dst = at;
        for &Scan { file, offset: src, len } in scans {
            self.push(Record { op: SCAN, file: file.0, unit_len: unit, dst, src, len, ..Record::default() });
            dst += scan_answer_len(len, unit);
        }
        self.ring();
        answer.resize(len as usize, 0);
        exchange::get(DATA_AT + at, answer);
        Ok(())
    }

    fn pack(&self, units: &[Pack], codec: Codec, stage: FileId, lens: &mut Vec<Packed>) -> Result<(), Error> {
        let len = units.len() as u64 * PACK_ANSWER_LEN;
        if len > DATA_LEN {
            return Err(Error::new(ErrorKind::TooLarge, 0, "what is to be compressed"));
        }
        let codec = codec_number(codec);
        let at = self.take(len);
        for (&Pack { file, offset: src, len, dst }, answer_at) in units.iter().zip((at as u32..).step_by(4)) {
            let (file, src_file, len) = (stage.0, file.0, len.into());
            let packed_len = answer_at;
            self.push(Record {
                op: PACK,
                file,
                src_file,
                codec,
                dst,
                src,
                len,
                packed_len,
                ..Record::default()
            });
        }
        self.ring();
        lens.clear();
        for answer_at in (at..at + len).step_by(4) {
            let mut answer = [0; 4];
            exchange::get(DATA_AT + answer_at, &mut answer);
            lens.push(match u32::from_le_bytes(answer) {
                PACKED_ZEROS => Packed::Zeros,
                0 => Packed::No,
                len => Packed::Len(len),
            });
        }
        Ok(())
    }

    fn settle(&self) {
        self.ring();
    }

    fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.file_len(file)) {
            return Err(Error::new(ErrorKind::Io, offset, "read past the end of the file"));
        }
        // What was said before is to be seen.
        if self.is_in_place(file) {
            self.ring();
        }
        let mut src = offset;
        for part in buf.chunks_mut(DATA_LEN as usize) {
            let len = part.len() as u64;
            self.ask(Record { op: READ, file: file.0, src, len, ..Record::default() }, part);
            src += len;
        }
        Ok(())
    }
}

impl StepSink for Bell {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let none = Record::default();
        match step {
            Step::SetLen { file, len } => self.set_len(file, len),
            Step::Write { file, dst, bytes } => self.write(file.0, dst, bytes),
            Step::Fill { file, dst, len, source } => match source {
                Source::Zero => self.push(Record { op: ZERO, file: file.0, dst, len, ..none }),
                Source::Data { file: src_file, offset: src } => {
                    let (file, src_file) = (file.0, src_file.0);
                    self.push(Record { op: COPY, file, src_file, dst, src, len, ..none });
                }
                Source::Compressed { unit, skip } => self.push(Record {
                    op: DECODE,
                    file: file.0,
                    src_file: unit.file.0,
                    codec: codec_number(unit.codec),
                    dst,
                    src: unit.offset,
                    len,
                    packed_len: unit.len,
                    unit_len: unit.unit_len,
                    skip,
                    reserved: 0,
                }),
                Source::Unallocated => {
                    return Err(Error::new(ErrorKind::Io, dst, "the host cannot make these bytes"));
                }
            },
        }
        Ok(())
    }

    fn max_len(&self, file: FileId) -> u64 {
        self.entry(file).filter(|entry| entry.role == ROLE_OUTPUT).map_or(u64::MAX, |entry| entry.len)
    }
}
