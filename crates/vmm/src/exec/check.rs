//! What a guest may ask for.
//!
//! This is the wall on the host's side: everything here was written by a guest that an image may have taken over. What
//! passes is inside the files, the window, and the limits; nothing needs to be checked again.

use std::collections::BTreeMap;

use guest_abi::boot::FileEntry;
use guest_abi::exchange::{
    CODEC_DEFLATE, CODEC_ZLIB, CODEC_ZSTD, COPY, CREATE, DATA_LEN, DECODE, EXPECT, MAX_PACKED_LEN,
    MAX_UNIT_LEN, MIN_SCAN_UNIT, NAME_LEN, OPEN, PACK, PACK_ANSWER_LEN, READ, Record, SCAN, SET_LEN, WRITE,
    ZERO, pack_room, scan_answer_len,
};

use super::fault::{ExecError, OperationFault as Fault};
use super::operation::{Open, Operation, Pack, Packing, Part, Read, Scan, Source, Unit, Write};
use crate::files::{FileId, Role};

/// How much a guest may ask for, all in all. The host computes it from the user's request, not from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The greatest length of an output, in bytes.
    pub output_len: u64,
    /// How many bytes may be written to outputs.
    pub written: u64,
    /// How many bytes the guest may read, or have decompressed.
    pub read: u64,
    /// How many bytes of inputs may be compared with zero.
    pub scanned: u64,
    /// How many bytes may be compressed.
    pub packed: u64,
    /// How many operations there may be.
    pub operations: u64,
}

/// What a guest has asked for since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) operations: u64,
    /// Bytes into the data window, and into decoders.
    pub(super) read: u64,
    /// Bytes compared with zero.
    pub(super) scanned: u64,
    /// Bytes compressed.
    pub(super) packed: u64,
    /// Bytes into outputs.
    pub(super) written: u64,
    /// The outputs, and files in place, that have been given a length: the last one, in bytes.
    pub(super) output_lens: BTreeMap<FileId, u64>,
    /// It has asked for something that changes a file.
    pub(super) has_begun: bool,
    /// All outputs have been given a length, and there will be no others.
    pub(super) are_outputs_sized: bool,
    /// It has said that there may be something to decompress.
    pub(super) expects_units: bool,
}

/// Checks all records of a ring, for a command with files of these `roles`, after what the ledger says. Gives the
/// operations, and the new ledger.
pub(super) fn check(
    records: &[Record],
    roles: &[Role],
    limits: &Limits,
    ledger: &Ledger,
) -> Result<(Vec<Operation>, Ledger), ExecError> {
    let mut checker =
        Checker { roles: roles.iter().copied().map(Some).collect(), limits, ledger: ledger.clone() };
    let operations = records.iter().map(|record| checker.operation(record)).collect::<Result<_, _>>();
    match operations {
        Ok(operations) => Ok((operations, checker.ledger)),
        Err(fault) => Err(ExecError::Refused { number: checker.ledger.operations, fault }),
    }
}

struct Checker<'a> {
    /// As they will be when the operations so far have been carried out; `None` for what can be used from the next ring on.
    roles: Vec<Option<Role>>,
    limits: &'a Limits,
    ledger: Ledger,
}

impl Checker<'_> {
    fn operation(&mut self, record: &Record) -> Result<Operation, Fault> {
        self.ledger.operations = self.ledger.operations.saturating_add(1);
        if self.ledger.operations > self.limits.operations {
            return Err(Fault::TooManyOperations(self.limits.operations));
        }
        unused("reserved", record.reserved)?;
        if record.op == DECODE {
            return self.decode(record);
        }
        unused("skip", record.skip)?;
        if record.op == PACK {
            return self.pack(record);
        }
        unused("codec", record.codec)?;
        unused("packed_len", record.packed_len)?;
        if record.op == SCAN {
            return self.scan(record);
        }
        unused("unit_len", record.unit_len)?;
        match record.op {
            READ => self.read(record),
            SET_LEN => self.set_len(record),
            COPY => self.copy(record),
            ZERO => self.zero(record),
            WRITE => self.write_own(record),
            OPEN => self.open(record),
            EXPECT => self.expect(record),
            CREATE => self.create(record),
            op => Err(Fault::UnknownOperation(op)),
        }
    }

    fn read(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src, dst: window_at, len, .. } = record;
        unused("src_file", record.src_file)?;
        let file = within_file(self.readable(file)?, src, len)?;
        in_window(window_at, len)?;
        self.count_read(len)?;
        Ok(Operation::Read(Read { file, src, window_at, len }))
    }

    fn set_len(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, len, .. } = record;
        unused("src_file", record.src_file)?;
        unused("dst", record.dst)?;
        unused("src", record.src)?;
        let id = self.output(file)?;
        if len > self.limits.output_len {
            return Err(Fault::TooLong { file, len, allowed: self.limits.output_len });
        }
        if let Role::InPlace { len: needed } = self.role(file)? {
            self.refuse_unsized()?;
            if len < needed {
                return Err(Fault::TooShort { file, len, needed });
            }
        }
        self.ledger.has_begun = true;
        let keeps_all = self.current_len(file).is_ok_and(|before| before <= len);
        self.ledger.output_lens.insert(id, len);
        Ok(Operation::SetLen { file: id, len, keeps_all })
    }

    fn copy(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src_file, dst, src, len, .. } = record;
        if src_file == file && !self.is_moved(file, src, dst, len)? {
            return Err(Fault::OntoItself(file));
        }
        let from = within_file(self.copied(src_file)?, src, len)?;
        self.write(record, Source::Input { file: from, at: src })
    }

    fn zero(&mut self, record: &Record) -> Result<Operation, Fault> {
        unused("src_file", record.src_file)?;
        unused("src", record.src)?;
        self.write(record, Source::Zeros)
    }

    fn write_own(&mut self, record: &Record) -> Result<Operation, Fault> {
        unused("src_file", record.src_file)?;
        in_window(record.src, record.len)?;
        self.write(record, Source::Window { at: record.src })
    }

    /// Whether the file may be opened is not decided here: that depends on the name. But a guest knows all files that it
    /// reads before it writes, so that the host can give up opening any.
    fn open(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src: name_at, dst: window_at, len: name_len, .. } = record;
        unused("src_file", record.src_file)?;
        let from = self.image(file)?;
        if self.ledger.has_begun {
            return Err(Fault::NameTooLate);
        }
        in_window(name_at, some(name_len)?)?;
        if name_len > NAME_LEN {
            return Err(Fault::NameTooLong(name_len));
        }
        in_window(window_at, size_of::<FileEntry>() as u64)?;
        self.roles.push(None);
        Ok(Operation::Open(Open { from, name_at, name_len, window_at }))
    }

    /// Decoders may have to be started before the process is confined, which is when all outputs have been made.
    fn expect(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src_file, dst, src, len, .. } = record;
        unused("file", file)?;
        unused("src_file", src_file)?;
        unused("dst", dst)?;
        unused("src", src)?;
        unused("len", len)?;
        if self.ledger.has_begun {
            return Err(Fault::ExpectedTooLate);
        }
        self.ledger.expects_units = true;
        Ok(Operation::Expect)
    }

    /// All outputs have to be known before the first of them is given a length: they are made together.
    fn create(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src_file, dst, src, len, .. } = record;
        unused("src_file", src_file)?;
        unused("dst", dst)?;
        unused("src", src)?;
        unused("len", len)?;
        let of = self.output(file)?;
        if self.ledger.has_begun {
            return Err(Fault::CreatedTooLate);
        }
        match self.roles.get_mut(file as usize) {
            Some(Some(Role::Output { further })) if *further > 0 => *further -= 1,
            _ => return Err(Fault::NoFurther(file)),
        }
        self.roles.push(Some(Role::Output { further: 0 }));
        Ok(Operation::Create { of })
    }

    fn decode(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src_file, codec, dst, src, len, packed_len, unit_len, skip, .. } = record;
        if !self.ledger.expects_units {
            return Err(Fault::NotExpected);
        }
        if !matches!(codec, CODEC_DEFLATE | CODEC_ZLIB | CODEC_ZSTD) {
            return Err(Fault::UnknownCodec(codec));
        }
        if packed_len > MAX_PACKED_LEN || unit_len > MAX_UNIT_LEN {
            return Err(Fault::UnitTooLarge { packed_len, unit_len });
        }
        if !is_inside(skip.into(), some(len)?, unit_len.into()) {
            return Err(Fault::OutsideUnit { skip, len, unit_len });
        }
        self.image(src_file)?;
        let from = within_file(self.readable(src_file)?, src, packed_len.into())?;
        self.count_read(packed_len.into())?;
        let to = self.destination(file, dst, len)?;
        self.count_written(len)?;
        let unit = Unit { file: from, src, packed_len, codec, unit_len };
        let len = u32::try_from(len).map_err(|_| Fault::OutsideUnit { skip, len, unit_len })?;
        Ok(Operation::Decode(Part { unit, skip, to, dst, len }))
    }

    fn scan(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, unit_len: unit, src, dst: window_at, len, .. } = record;
        unused("src_file", record.src_file)?;
        let file = within_file(self.input(file)?, src, len)?;
        if unit == 0 || !unit.is_multiple_of(MIN_SCAN_UNIT) {
            return Err(Fault::ScanUnit(unit));
        }
        in_window(window_at, scan_answer_len(len, unit))?;
        let allowed = self.limits.scanned;
        self.ledger.scanned =
            within(self.ledger.scanned, len, allowed).ok_or(Fault::TooMuchScanned(allowed))?;
        Ok(Operation::Scan(Scan { file, src, len, unit: unit.into(), window_at }))
    }

    fn pack(&mut self, record: &Record) -> Result<Operation, Fault> {
        let &Record { file, src_file, codec, dst, src, len, packed_len: window_at, .. } = record;
        unused("unit_len", record.unit_len)?;
        let packing = match codec {
            CODEC_DEFLATE => Packing::Deflate,
            CODEC_ZLIB => Packing::Zlib,
            CODEC_ZSTD => Packing::Zstd,
            codec => return Err(Fault::UnknownCodec(codec)),
        };
        let from = within_file(self.input(src_file)?, src, len)?;
        if len > MAX_UNIT_LEN.into() {
            return Err(Fault::PackTooLong(len));
        }
        let Role::Stage { .. } = self.role(file)? else { return Err(Fault::NotTheStage(file)) };
        let to = self.destination(file, dst, pack_room(len))?;
        in_window(window_at.into(), PACK_ANSWER_LEN)?;
        let allowed = self.limits.packed;
        self.ledger.packed = within(self.ledger.packed, len, allowed).ok_or(Fault::TooMuchPacked(allowed))?;
        Ok(Operation::Pack(Pack { packing, from, src, len, to, dst, window_at: window_at.into() }))
    }

    fn write(&mut self, record: &Record, from: Source) -> Result<Operation, Fault> {
        let &Record { file, dst, len, .. } = record;
        let to = self.destination(file, dst, len)?;
        self.count_written(len)?;
        Ok(Operation::Write(Write { from, to, dst, len }))
    }

    fn count_read(&mut self, len: u64) -> Result<(), Fault> {
        let allowed = self.limits.read;
        self.ledger.read = within(self.ledger.read, len, allowed).ok_or(Fault::TooMuchRead(allowed))?;
        Ok(())
    }

    fn count_written(&mut self, len: u64) -> Result<(), Fault> {
        let allowed = self.limits.written;
        self.ledger.written =
            within(self.ledger.written, len, allowed).ok_or(Fault::TooMuchWritten(allowed))?;
        Ok(())
    }

    /// The output `file`, if there is room for `len` bytes at `offset`, and all outputs have been given a length by now: the
    /// process can be confined then.
    fn destination(&mut self, file: u32, offset: u64, len: u64) -> Result<FileId, Fault> {
        let (id, file_len) = match self.role(file)? {
            Role::Stage { len } => (FileId(file), len),
            _ => {
                let id = self.output(file)?;
                self.refuse_unsized()?;
                self.ledger.has_begun = true;
                (id, self.current_len(file)?)
            }
        };
        if !is_inside(offset, some(len)?, file_len) {
            return Err(Fault::OutsideOutput { file, offset, len, file_len });
        }
        Ok(id)
    }

    /// The input or the stage `file`, and its length.
    fn input(&self, file: u32) -> Result<(FileId, u64), Fault> {
        match self.role(file)? {
            Role::Input { len } | Role::Stage { len } => Ok((FileId(file), len)),
            Role::Output { .. } | Role::InPlace { .. } => Err(Fault::NotAnInput(file)),
        }
    }

    /// What the guest itself may read: an input, the stage, or a file in place; and its length.
    fn readable(&self, file: u32) -> Result<(FileId, u64), Fault> {
        match self.role(file)? {
            Role::InPlace { .. } => Ok((FileId(file), self.current_len(file)?)),
            _ => self.input(file),
        }
    }

    /// What may be copied as it is, and its length: beside what is an input, of a file in place what was there at the
    /// beginning.
    fn copied(&self, file: u32) -> Result<(FileId, u64), Fault> {
        match self.role(file)? {
            Role::InPlace { len } => Ok((FileId(file), len)),
            _ => self.input(file),
        }
    }

    /// Whether bytes of a file in place are copied to another place in it.
    fn is_moved(&self, file: u32, src: u64, dst: u64, len: u64) -> Result<bool, Fault> {
        Ok(matches!(self.role(file)?, Role::InPlace { .. }) && src.abs_diff(dst) >= len)
    }

    /// The image `file`, which may name others, and have compressed data.
    fn image(&self, file: u32) -> Result<FileId, Fault> {
        match self.role(file)? {
            Role::Input { .. } | Role::InPlace { .. } => Ok(FileId(file)),
            Role::Output { .. } | Role::Stage { .. } => Err(Fault::NotAnInput(file)),
        }
    }

    /// What may become longer: an output, or a file in place.
    fn output(&self, file: u32) -> Result<FileId, Fault> {
        match self.role(file)? {
            Role::Output { .. } | Role::InPlace { .. } => Ok(FileId(file)),
            Role::Input { .. } | Role::Stage { .. } => Err(Fault::NotAnOutput(file)),
        }
    }

    /// The length of the output or the file in place `file`.
    fn current_len(&self, file: u32) -> Result<u64, Fault> {
        match (self.ledger.output_lens.get(&FileId(file)), self.role(file)?) {
            (Some(&len), _) | (None, Role::InPlace { len }) => Ok(len),
            _ => Err(Fault::NotSized(file)),
        }
    }

    /// Refuses to change a file while there are outputs that have no length.
    fn refuse_unsized(&mut self) -> Result<(), Fault> {
        if self.ledger.are_outputs_sized {
            return Ok(());
        }
        let is_sized = |(id, role): (u32, &Option<Role>)| {
            !matches!(role, Some(Role::Output { .. })) || self.ledger.output_lens.contains_key(&FileId(id))
        };
        match (0..).zip(&self.roles).find(|&numbered| !is_sized(numbered)) {
            Some((id, _)) => Err(Fault::NotSized(id)),
            None => {
                self.ledger.are_outputs_sized = true;
                Ok(())
            }
        }
    }

    fn role(&self, file: u32) -> Result<Role, Fault> {
        self.roles.get(file as usize).copied().flatten().ok_or(Fault::NoSuchFile(file))
    }
}

fn unused(field: &'static str, value: impl Into<u64>) -> Result<(), Fault> {
    match value.into() {
        0 => Ok(()),
        value => Err(Fault::UnusedField { field, value }),
    }
}

/// A guest that has nothing to move says nothing: an empty range is a mistake, wherever it lies.
fn some(len: u64) -> Result<u64, Fault> {
    if len == 0 { Err(Fault::Empty) } else { Ok(len) }
}

/// The file, if it has `len` bytes at `offset`.
fn within_file((id, file_len): (FileId, u64), offset: u64, len: u64) -> Result<FileId, Fault> {
    if is_inside(offset, some(len)?, file_len) {
        Ok(id)
    } else {
        Err(Fault::OutsideInput { file: id.0, offset, len, file_len })
    }
}

/// Whether the range lies in the guest's data window.
fn in_window(offset: u64, len: u64) -> Result<(), Fault> {
    if is_inside(offset, len, DATA_LEN) { Ok(()) } else { Err(Fault::OutsideWindow { offset, len }) }
}

fn is_inside(offset: u64, len: u64, whole: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= whole)
}

/// The sum, if it is allowed.
fn within(so_far: u64, more: u64, allowed: u64) -> Option<u64> {
    so_far.checked_add(more).filter(|&sum| sum <= allowed)
}
