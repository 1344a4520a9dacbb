//! Carries out what the guest asks for.
//!
//! The guest says what is to be moved, and never moves it itself. All records of a ring are checked before anything is
//! done about one of them; what passes is merged, and carried out on several threads.
//!
//! | module | what |
//! |---|---|
//! | `check` | records to operations: what a guest may ask for |
//! | `operation` | checked operations; joining and cutting them |
//! | `batch` | compressed units, cut into what a decoder does at a time |
//! | `decoder` | the guests that decompress |
//! | `taken` | what the guest put into its data window, taken out |
//! | `scan` | where inputs are other than zero |
//! | `pack` | compression |
//! | `pieces` | what there is to do, cut into what one worker does at a time |
//! | `crew` | the threads |
//! | `mover` | how bytes get into an output |
//! | `progress` | how far it is, how fast it may go, and interruption |
//! | `conduct` | how a command is carried out, beside what it does |
//! | `fault` | everything that can go wrong |

mod batch;
mod check;
mod conduct;
mod crew;
mod decoder;
mod fault;
mod mover;
mod operation;
mod pack;
mod pieces;
mod progress;
mod scan;
mod taken;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, AtomicU64};

use guest_abi::exchange::Record;
use vm_memory::{Bytes, VolatileSlice};
use zerocopy::IntoBytes;

pub use self::check::Limits;
use self::check::{Ledger, check};
pub use self::conduct::{Conduct, Salvaged};
use self::crew::Crew;
pub use self::decoder::DecoderSource;
pub use self::fault::{ExecError, OperationFault};
use self::mover::Stores;
use self::operation::{Open, Operation, merge};
use self::pack::Packet;
use self::pieces::Work;
pub use self::progress::Observer;
use self::progress::{Pace, Shift, Ticker};
use self::scan::Answer;
use self::taken::Taken;
use crate::confine::ConfineError;
use crate::files::{FileId, Files};

/// Carries out the operations of one command, ring by ring.
///
/// After an error the command has failed, and the executor is good for nothing but
/// [`outputs_touched`](Files::outputs_touched).
pub struct Executor<'a> {
    files: Files,
    limits: Limits,
    conduct: Conduct,
    pace: Option<Pace>,
    gate: Gate,
    ledger: Ledger,
    crew: Crew<'a>,
    taken: Taken,
    interrupted: &'a AtomicBool,
    /// Bytes written to outputs. The ledger's count runs ahead of it.
    written: AtomicU64,
    ticker: Ticker<'a>,
}

impl<'a> Executor<'a> {
    /// An executor for a command with these `files`, which may do no more than `limits`. When `interrupted` becomes
    /// true, it stops after the buffers that it is just moving. When the last output has been made, or before the first
    /// change to a file in place, no file will be opened any more, and `confine` is called. Compressed data is decompressed
    /// by decoders from `decoders`.
    pub fn new(
        files: Files,
        limits: Limits,
        confine: fn() -> Result<(), ConfineError>,
        interrupted: &'a AtomicBool,
        observer: &'a mut dyn Observer,
        decoders: &'a dyn DecoderSource,
    ) -> Self {
        let conduct = Conduct::default();
        Self {
            files,
            limits,
            gate: Gate { confine, is_closed: false },
            ledger: Ledger::default(),
            crew: Crew::new(conduct.workers, decoders),
            pace: None,
            conduct,
            taken: Taken::default(),
            interrupted,
            written: AtomicU64::new(0),
            ticker: Ticker::new(observer),
        }
    }

    /// The executor, carrying the command out in this way instead of the default one.
    #[must_use]
    pub fn with_conduct(self, conduct: Conduct) -> Self {
        let (crew, pace) = (self.crew.of(conduct.workers), conduct.rate.map(Pace::new));
        Self { conduct, crew, pace, ..self }
    }

    /// The files, as they are now.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// How many operations the guest has asked for.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.ledger.operations
    }

    /// How many bytes the guest has asked to be written to outputs.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.ledger.written
    }

    /// Carries out the operations of one ring. What the guest writes is taken from `window`, its data window, before
    /// anything else; what it reads is put there. A file that an image names is opened, and can be read from the next
    /// ring on.
    ///
    /// Where the ranges that a ring writes overlap, it is not said which of them remains. But an output is sized before
    /// what is written then, and what makes it shorter comes after what was written before. What is read is as the rings
    /// before have left it.
    ///
    /// # Errors
    ///
    /// When the guest asks for what it may not have, and then nothing has been done; when an image may not name a file
    /// that it names; when a file cannot be read, decompressed or written; when the user interrupts.
    pub fn carry_out(&mut self, records: &[Record], window: &VolatileSlice<'_>) -> Result<(), ExecError> {
        let (operations, ledger) = check(records, &self.files.roles(), &self.limits, &self.ledger)?;
        self.ledger = ledger;
        self.ticker.plan(self.ledger.written);
        let shift = Shift::new(self.interrupted, &self.written, self.pace.as_ref());
        shift.go_on().map_err(|stopped| shift.error(stopped))?;
        self.taken.take(&operations, window)?;

        let mut work = Work::default();
        for operation in merge(operations) {
            if operation.target().is_some_and(|file| self.files.touch_in_place(file)) {
                self.gate.close()?;
            }
            let stores = Stores { files: &self.files, taken: &self.taken, conduct: &self.conduct };
            match operation {
                Operation::Read(read) => self.crew.foreman(stores, &shift).answer(read, window)?,
                Operation::Open(open) => answer_open(open, &mut self.files, &self.taken, window)?,
                Operation::Write(write) => work.writes.push(write),
                Operation::Decode(part) => work.parts.push(part),
                Operation::Scan(scan) => work.scans.push(Answer::new(scan)),
                Operation::Pack(pack) => work.packets.push(Packet::new(pack)),
                Operation::Create { of } => drop(self.files.add_further(of)?),
                Operation::Expect => self.crew.expect_parts(self.files.inputs_len())?,
                Operation::SetLen { file, len, keeps_all } => {
                    // What was to be written before lies in the file whether it is longer already or not.
                    if !keeps_all {
                        self.crew.carry_out(&work.take_writes(), stores, &shift, &mut self.ticker)?;
                    }
                    size_output(file, len, &mut self.files, &mut self.gate)?;
                }
            }
        }
        let stores = Stores { files: &self.files, taken: &self.taken, conduct: &self.conduct };
        self.crew.carry_out(&work, stores, &shift, &mut self.ticker)?;
        work.scans.iter().try_for_each(|answer| answer.tell(window))?;
        work.packets.iter().try_for_each(|packet| packet.tell(window))
    }

    /// Ends the command: everything is on the medium when this returns, where that is [wanted](Conduct::sync).
    ///
    /// # Errors
    ///
    /// When there is an output that the guest has not made, or one that cannot be synced; when the user interrupted.
    pub fn finish(&mut self) -> Result<(), ExecError> {
        let shift = Shift::new(self.interrupted, &self.written, self.pace.as_ref());
        for output in self.files.outputs() {
            // Without this one, none has been made.
            if output.len().is_none() {
                return Err(ExecError::OutputNeverMade(output.path().to_owned()));
            }
        }
        for output in self.files.outputs().filter(|_| self.conduct.sync) {
            shift.go_on().map_err(|stopped| shift.error(stopped))?;
            output.sync()?;
        }
        Ok(())
    }
}

/// What this process gives up when all files are open, to be called once.
struct Gate {
    confine: fn() -> Result<(), ConfineError>,
    is_closed: bool,
}

impl Gate {
    /// From now on, no file is opened.
    fn close(&mut self) -> Result<(), ConfineError> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        (self.confine)()
    }
}

/// Gives the output `file` its length. With the last one that is made, all files are open.
fn size_output(file: FileId, len: u64, files: &mut Files, gate: &mut Gate) -> Result<(), ExecError> {
    files.size_output(file, len)?;
    if !gate.is_closed && files.are_outputs_made() {
        gate.close()?;
    }
    Ok(())
}

/// Opens a file that an image names, and tells the guest what it is.
fn answer_open(
    open: Open,
    files: &mut Files,
    taken: &Taken,
    window: &VolatileSlice<'_>,
) -> Result<(), ExecError> {
    let id = files.open_named(open.from, taken.bytes(open.name_at, open.name_len))?;
    let at = usize::try_from(open.window_at).unwrap_or(usize::MAX);
    window.write_slice(files.entry(id).as_bytes(), at).map_err(ExecError::Window)
}
