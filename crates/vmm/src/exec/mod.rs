//! Carries out what the guest asks for.
//!
//! The guest says what is to be moved, and never moves it itself. All records of a ring are checked before anything is
//! done about one of them; what passes is merged, and carried out on several threads.
//!
//! | module | what |
//! |---|---|
//! | `check` | records to operations: what a guest may ask for |
//! | `operation` | checked operations; joining and cutting them |
//! | `crew` | the threads |
//! | `mover` | how bytes get into an output |
//! | `progress` | how far it is, and interruption |
//! | `fault` | everything that can go wrong |

mod check;
mod crew;
mod fault;
mod mover;
mod operation;
mod pieces;
mod progress;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, AtomicU64};

use guest_abi::exchange::Record;
use vm_memory::VolatileSlice;

pub use self::check::Limits;
use self::check::{Ledger, check};
use self::crew::Crew;
pub use self::fault::{ExecError, OperationFault};
use self::operation::{Operation, merge};
pub use self::progress::Observer;
use self::progress::{Shift, Ticker};
use crate::files::Files;

/// Carries out the operations of one command, ring by ring.
///
/// After an error the command has failed, and the executor is good for nothing but
/// [`outputs_touched`](Files::outputs_touched).
pub struct Executor<'a> {
    files: Files,
    limits: Limits,
    ledger: Ledger,
    crew: Crew,
    interrupted: &'a AtomicBool,
    /// Bytes written to outputs. The ledger's count runs ahead of it.
    written: AtomicU64,
    ticker: Ticker<'a>,
}

impl<'a> Executor<'a> {
    /// An executor for a command with these `files`, which may do no more than `limits`. When `interrupted` becomes
    /// true, it stops after the buffers that it is just moving.
    pub fn new(
        files: Files,
        limits: Limits,
        interrupted: &'a AtomicBool,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            files,
            limits,
            ledger: Ledger::default(),
            crew: Crew::new(),
            interrupted,
            written: AtomicU64::new(0),
            ticker: Ticker::new(observer),
        }
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

    /// Carries out the operations of one ring. What the guest reads is put into `window`, its data window.
    ///
    /// Where the ranges that a ring writes overlap, it is not said which of them remains.
    ///
    /// # Errors
    ///
    /// When the guest asks for what it may not have, and then nothing has been done; when a file cannot be read or
    /// written; when the user interrupts.
    pub fn carry_out(&mut self, records: &[Record], window: &VolatileSlice<'_>) -> Result<(), ExecError> {
        let (operations, ledger) = check(records, &self.files.roles(), &self.limits, &self.ledger)?;
        self.ledger = ledger;
        self.ticker.plan(self.ledger.written);
        let shift = Shift::new(self.interrupted, &self.written);
        shift.go_on().map_err(|stopped| shift.error(stopped))?;

        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for operation in merge(operations) {
            match operation {
                Operation::SetLen { file, len } => self.files.make_output(file, len)?,
                Operation::Read(read) => reads.push(read),
                Operation::Write(write) => writes.push(write),
            }
        }

        let mut foreman = self.crew.foreman(&self.files, &shift);
        reads.iter().try_for_each(|&read| foreman.answer(read, window))?;
        self.crew.carry_out(&writes, &self.files, &shift, &mut self.ticker)
    }

    /// Ends the command: everything is on the medium when this returns.
    ///
    /// # Errors
    ///
    /// When there is an output that the guest has not made, or one that cannot be synced; when the user interrupted.
    pub fn finish(&mut self) -> Result<(), ExecError> {
        let shift = Shift::new(self.interrupted, &self.written);
        for output in self.files.outputs() {
            if !output.is_made() {
                return Err(ExecError::OutputNeverMade(output.path().to_owned()));
            }
        }
        for output in self.files.outputs() {
            shift.go_on().map_err(|stopped| shift.error(stopped))?;
            output.sync()?;
        }
        Ok(())
    }
}
