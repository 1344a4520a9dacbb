//! How far it is, whether it goes on, and who is told.

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use super::fault::ExecError;
use crate::error::Error;
use crate::files::FileError;
use crate::sandbox::GuestFault;

/// Is told how far a command is, about ten times a second, on the thread that runs the executor.
pub trait Observer {
    /// `written` of the `planned` bytes have been written to outputs. More may be planned later.
    fn tick(&mut self, written: u64, planned: u64);
}

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(100);

/// Tells the observer when it is time.
pub(super) struct Ticker<'a> {
    observer: &'a mut dyn Observer,
    planned: u64,
    last: Instant,
}

impl<'a> Ticker<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        Self { observer, planned: 0, last: Instant::now() }
    }

    /// From now on, `planned` bytes are what is to be written.
    pub(super) fn plan(&mut self, planned: u64) {
        self.planned = planned;
    }

    /// The time until the next tick.
    pub(super) fn due_in(&self) -> Duration {
        TICK.saturating_sub(self.last.elapsed())
    }

    pub(super) fn tick_if_due(&mut self, written: u64) {
        if self.due_in().is_zero() {
            self.observer.tick(written, self.planned);
            self.last = Instant::now();
        }
    }
}

/// A bound on how fast a command writes.
pub(super) struct Pace {
    /// In bytes per second.
    rate: NonZeroU64,
    since: Instant,
    /// Bytes written.
    moved: AtomicU64,
}

impl Pace {
    /// No more than `rate` bytes per second, from now on.
    pub(super) fn new(rate: NonZeroU64) -> Self {
        Self { rate, since: Instant::now(), moved: AtomicU64::new(0) }
    }

    /// Takes note of `len` bytes, and tells when they may have been written.
    fn due(&self, len: u64) -> Instant {
        let moved = self.moved.fetch_add(len, Relaxed).saturating_add(len);
        let micros = u128::from(moved) * 1_000_000 / u128::from(self.rate.get());
        let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        // No clock goes beyond what this is about.
        self.since.checked_add(due).unwrap_or(self.since)
    }
}

/// What everybody who works on one ring shares. The atomics order nothing else, so that relaxed is enough.
pub(super) struct Shift<'a> {
    /// The user wants an end.
    interrupted: &'a AtomicBool,
    /// Bytes written to outputs since the command began.
    written: &'a AtomicU64,
    pace: Option<&'a Pace>,
    /// Somebody has failed.
    over: AtomicBool,
}

/// Why a worker stopped before its work was done.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It failed itself.
    Failed(ExecError),
    /// The user interrupted, or another one failed.
    Told,
}

impl<'a> Shift<'a> {
    pub(super) fn new(interrupted: &'a AtomicBool, written: &'a AtomicU64, pace: Option<&'a Pace>) -> Self {
        Self { interrupted, written, pace, over: AtomicBool::new(false) }
    }

    /// Whether there is a bound on how fast it goes.
    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// Waits until `len` bytes may have been written, if there is a bound on how fast that goes.
    pub(super) fn keep_pace(&self, len: u64) -> Result<(), Stopped> {
        let Some(pace) = self.pace else { return Ok(()) };
        let due = pace.due(len);
        loop {
            self.go_on()?;
            match due.checked_duration_since(Instant::now()) {
                // Nobody unparks it. Unlike sleeping, this waits as threads wait for each other, which a confined process may.
                Some(left) if !left.is_zero() => thread::park_timeout(left.min(TICK)),
                _ => return Ok(()),
            }
        }
    }

    /// To be asked before every buffer.
    pub(super) fn go_on(&self) -> Result<(), Stopped> {
        let stop = self.interrupted.load(Relaxed) || self.over.load(Relaxed);
        if stop { Err(Stopped::Told) } else { Ok(()) }
    }

    pub(super) fn wrote(&self, len: u64) {
        self.written.fetch_add(len, Relaxed);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Lets everybody stop.
    pub(super) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// What the first stop means to the caller: if nobody had failed before, it was the user.
    pub(super) fn error(&self, stopped: Stopped) -> ExecError {
        match stopped {
            Stopped::Failed(error) => error,
            Stopped::Told => ExecError::Interrupted { written: self.written() },
        }
    }
}

impl From<FileError> for Stopped {
    fn from(error: FileError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<GuestFault> for Stopped {
    fn from(fault: GuestFault) -> Self {
        match fault {
            GuestFault::Interrupted => Self::Told,
            fault => Error::from(fault).into(),
        }
    }
}
