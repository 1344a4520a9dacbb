//! Who carries out the writes: the calling thread if there is little to do, several threads if there is much.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::fault::ExecError;
use super::mover::{Buffers, Mover, Stores};
use super::operation::Write;
use super::pieces::Pieces;
use super::progress::{Shift, Stopped, Ticker};

/// How many workers there are where there is much to do. File systems let one write at a time to a file, so that the
/// second one's gain is to read, and to be ready, while the first one writes; there is nothing left for a third.
const WORKERS: usize = 2;

/// From how many bytes on there is much to do. Below, starting threads costs what they gain.
const MUCH: u64 = 64 << 20;

/// The workers' memory, which is kept from ring to ring. The workers themselves live only while there is much to do.
pub(super) struct Crew {
    buffers: [Buffers; WORKERS],
}

impl Crew {
    pub(super) fn new() -> Self {
        Self { buffers: [(); WORKERS].map(|()| Buffers::new()) }
    }

    /// The one on the calling thread.
    pub(super) fn foreman<'a>(&'a mut self, stores: Stores<'a>, shift: &'a Shift<'a>) -> Mover<'a> {
        Mover { buffers: &mut self.buffers[0], stores, shift }
    }

    /// Carries out all `writes`, in any order. The first failure ends them all.
    pub(super) fn carry_out(
        &mut self,
        writes: &[Write],
        stores: Stores<'_>,
        shift: &Shift<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), ExecError> {
        let len: u64 = writes.iter().map(|write| write.len).sum();
        if len < MUCH {
            let mut mover = self.foreman(stores, shift);
            let outcome = Pieces::new(writes, stores.files).try_for_each(|piece| mover.carry_out(piece?));
            ticker.tick_if_due(shift.written());
            return outcome.map_err(|stopped| shift.error(stopped));
        }
        self.share_out(writes, stores, shift, ticker)
    }

    fn share_out(
        &mut self,
        writes: &[Write],
        stores: Stores<'_>,
        shift: &Shift<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), ExecError> {
        let pieces = Mutex::new(Pieces::new(writes, stores.files));
        let claim = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            let (report, reports) = mpsc::channel();
            let mut started = Ok(());
            for buffers in &mut self.buffers {
                let (report, claim) = (report.clone(), &claim);
                let mut mover = Mover { buffers, stores, shift };
                let work = move || {
                    let outcome = core::iter::from_fn(claim).try_for_each(|piece| mover.carry_out(piece?));
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
