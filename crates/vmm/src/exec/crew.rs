//! Who carries out the writes: the calling thread if there is little to do, several threads if there is much.

use core::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::batch::Batches;
use super::decoder::{Decoder, DecoderSource};
use super::fault::ExecError;
use super::mover::{Buffers, Mover, Stores};
use super::operation::Part;
use super::pieces::{Piece, Pieces, Runs, Work};
use super::progress::{Shift, Stopped, Ticker};
use crate::error::Error;
use crate::files::{FileError, Files};

/// From how many bytes on there is much to do. Below, starting threads costs what they gain.
const MUCH: u64 = 64 << 20;

/// From how many bytes on there is much to decompress. Below, a second decoder costs what it gains.
const MUCH_TO_DECODE: u64 = 4 << 20;

/// Inputs that are shorter than this, all together, are not expected to have much to decompress.
const SHORT: u64 = 1 << 20;

/// The workers' memory and decoders, and what they know of the inputs, which are kept from ring to ring. The workers themselves
/// live only while there is much to do.
pub(super) struct Crew<'a> {
    workers: Vec<Worker>,
    runs: Runs,
    source: &'a dyn DecoderSource,
    /// There will be no other decoders than there are.
    is_equipped: bool,
}

/// What one worker has.
struct Worker {
    buffers: Buffers,
    /// Made when there is something to decompress.
    decoder: Option<Decoder>,
    /// As of a [`Mover`]. The first one does not: writing takes the least time where nobody else is.
    maps: bool,
}

impl<'a> Crew<'a> {
    /// A crew of so many workers.
    pub(super) fn new(workers: NonZeroUsize, source: &'a dyn DecoderSource) -> Self {
        let worker = |number| Worker { buffers: Buffers::new(), decoder: None, maps: number > 0 };
        let workers = (0..workers.get()).map(worker).collect();
        Self { workers, runs: Runs::default(), source, is_equipped: false }
    }

    /// A crew of so many instead.
    pub(super) fn of(self, workers: NonZeroUsize) -> Self {
        Self::new(workers, self.source)
    }

    /// The one on the calling thread.
    pub(super) fn foreman<'b>(&'b mut self, stores: Stores<'b>, shift: &'b Shift<'b>) -> Mover<'b> {
        Mover { buffers: &mut self.workers[0].buffers, stores, shift, maps: false }
    }

    /// There may be something to decompress, in inputs of `len` bytes. What cannot be started when this process has been
    /// confined is started now.
    pub(super) fn expect_parts(&mut self, len: u64) -> Result<(), Error> {
        if self.source.starts_when_confined() || self.is_equipped {
            return Ok(());
        }
        self.equip(if len < SHORT { 1 } else { self.workers.len() })?;
        self.is_equipped = true;
        Ok(())
    }

    /// Gives the first `count` workers decoders, if there can be more of them.
    fn equip(&mut self, count: usize) -> Result<(), Error> {
        if self.is_equipped {
            return Ok(());
        }
        for worker in self.workers[..count].iter_mut().filter(|worker| worker.decoder.is_none()) {
            worker.decoder = Some(Decoder::new(self.source.start()?));
        }
        Ok(())
    }

    /// Carries out all of `work`. The first failure ends it all.
    pub(super) fn carry_out(
        &mut self,
        work: &Work,
        stores: Stores<'_>,
        shift: &Shift<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), ExecError> {
        let has_much_to_decode = work.len_of_parts() >= MUCH_TO_DECODE;
        if !work.parts.is_empty() {
            self.equip(if has_much_to_decode { self.workers.len() } else { 1 })?;
        }
        if has_much_to_decode || work.len_of_others() >= MUCH || shift.is_paced() {
            return self.share_out(work, stores, shift, ticker);
        }
        let mut agenda = Agenda::new(work, stores.files, &mut self.runs);
        let outcome = self.workers[0].carry_out(|can_decode| agenda.next(can_decode), stores, shift);
        ticker.tick_if_due(shift.written());
        outcome.map_err(|stopped| shift.error(stopped))
    }

    fn share_out(
        &mut self,
        work: &Work,
        stores: Stores<'_>,
        shift: &Shift<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), ExecError> {
        let agenda = Mutex::new(Agenda::new(work, stores.files, &mut self.runs));
        let claim = |can_decode| agenda.lock().unwrap_or_else(PoisonError::into_inner).next(can_decode);
        thread::scope(|scope| {
            let (report, reports) = mpsc::channel();
            let mut started = Ok(());
            for worker in &mut self.workers {
                let (report, claim) = (report.clone(), &claim);
                let work = move || {
                    let outcome = worker.carry_out(claim, stores, shift);
                    report.send(outcome).expect("the calling thread listens until all workers are gone");
                };
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                    shift.end();
                    started = Err(ExecError::Thread(error));
                    break;
                }
            }
            drop(report);
            let outcome = await_all(&reports, shift, ticker);
            started.and(outcome.map_err(|stopped| shift.error(stopped)))
        })
    }
}

/// One thing to do.
enum Task<'a> {
    Move(Piece<'a>),
    Decode(&'a [Part]),
}

/// What is still to be done. What takes longest comes first, so that the workers finish together.
struct Agenda<'a> {
    batches: Batches<'a>,
    pieces: Pieces<'a>,
}

impl<'a> Agenda<'a> {
    fn new(work: &'a Work, files: &'a Files, runs: &'a mut Runs) -> Self {
        runs.forget_written(files);
        Self { batches: Batches::new(&work.parts), pieces: Pieces::new(work, files, runs) }
    }

    /// The next for a worker that may be able to decompress.
    fn next(&mut self, can_decode: bool) -> Option<Result<Task<'a>, FileError>> {
        let batch = if can_decode { self.batches.next() } else { None };
        match batch {
            Some(batch) => Some(Ok(Task::Decode(batch))),
            None => self.pieces.next().map(|piece| piece.map(Task::Move)),
        }
    }
}

impl Worker {
    /// Does what can be claimed, until there is no more.
    fn carry_out<'a>(
        &mut self,
        mut claim: impl FnMut(bool) -> Option<Result<Task<'a>, FileError>>,
        stores: Stores<'_>,
        shift: &Shift<'_>,
    ) -> Result<(), Stopped> {
        let mut mover = Mover { buffers: &mut self.buffers, stores, shift, maps: self.maps };
        while let Some(task) = claim(self.decoder.is_some()) {
            match (task?, &mut self.decoder) {
                (Task::Move(piece), _) => mover.carry_out(piece)?,
                (Task::Decode(parts), Some(decoder)) => decoder.carry_out(parts, &mut mover)?,
                (Task::Decode(_), None) => unreachable!("only who can decode claims that"),
            }
        }
        Ok(())
    }
}

/// Waits for the workers' reports, and returns the first that is not good.
fn await_all(
    reports: &Receiver<Result<(), Stopped>>,
    shift: &Shift<'_>,
    ticker: &mut Ticker<'_>,
) -> Result<(), Stopped> {
    let mut outcome = Ok(());
    loop {
        match reports.recv_timeout(ticker.due_in()) {
            Ok(report) => {
                if report.is_err() {
                    shift.end();
                }
                outcome = outcome.and(report);
            }
            Err(RecvTimeoutError::Timeout) => ticker.tick_if_due(shift.written()),
            Err(RecvTimeoutError::Disconnected) => return outcome,
        }
    }
}
