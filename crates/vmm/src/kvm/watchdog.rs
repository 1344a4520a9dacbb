//! A bound on the processor time that a guest takes between two doorbells.
//!
//! A timer on the thread's own processor time, which includes the guest's, sends the thread a signal; that makes KVM
//! return from the guest. So a busy machine does not end a guest that had no turn.

use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::sync::Arc;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;

/// The processor time of the thread that asks.
const CLOCK: ClockId = ClockId::CLOCK_THREAD_CPUTIME_ID;

/// The signal that the timer sends. Nothing waits for it; its arrival is all it does.
const SIGNAL: Signal = Signal::SIGVTALRM;

/// The signal comes again and again: one may arrive just before the thread enters the guest. And before the bound, too, for
/// the user may have had enough, and the signal that says so may have come to another thread.
const ROUND: Duration = Duration::from_millis(20);

/// What makes watchdogs.
#[derive(Debug)]
pub(crate) struct Kennel {
    bound: Duration,
}

impl Kennel {
    /// Its watchdogs allow `bound` of processor time.
    pub(crate) fn new(bound: Duration) -> std::io::Result<Self> {
        // A handler must be there, or the signal would end the process. It has nothing to do.
        signal_hook::flag::register(SIGNAL as i32, Arc::new(AtomicBool::new(false)))?;
        Ok(Self { bound })
    }

    /// A watchdog of the calling thread, which begins to count.
    pub(crate) fn watchdog(&self) -> nix::Result<Watchdog> {
        let thread_id = gettid().as_raw();
        let to_thread = SigevNotify::SigevThreadId { signal: SIGNAL, thread_id, si_value: 0 };
        let mut timer = Timer::new(CLOCK, SigEvent::new(to_thread))?;
        let began = processor_time()?;
        let round = self.bound.min(ROUND);
        timer.set(Expiration::IntervalDelayed(round.into(), round.into()), TimerSetTimeFlags::empty())?;
        Ok(Watchdog { _timer: timer, bound: self.bound, began })
    }
}

/// A watchdog of the thread that has got it. It counts as long as it is there.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _timer: Timer,
    bound: Duration,
    /// The thread's processor time when the count began.
    began: Duration,
}

impl Watchdog {
    /// The processor time that is allowed.
    pub(crate) const fn bound(&self) -> Duration {
        self.bound
    }

    /// Whether the bound has been passed.
    pub(crate) fn has_barked(&self) -> nix::Result<bool> {
        Ok(processor_time()?.saturating_sub(self.began) >= self.bound)
    }
}

fn processor_time() -> nix::Result<Duration> {
    clock_gettime(CLOCK).map(Duration::from)
}
