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

/// After the bound, the signal comes again and again: one may arrive just before the thread enters the guest.
const REPEAT: Duration = Duration::from_millis(20);

/// A watchdog of the thread that makes it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    timer: Timer,
    bound: Duration,
    /// The thread's processor time when the count began.
    began: Duration,
}

impl Watchdog {
    /// A watchdog that allows `bound` of processor time, for the calling thread.
    pub(crate) fn new(bound: Duration) -> std::io::Result<Self> {
        // A handler must be there, or the signal would end the process. It has nothing to do.
        signal_hook::flag::register(SIGNAL as i32, Arc::new(AtomicBool::new(false)))?;
        let to_thread =
            SigevNotify::SigevThreadId { signal: SIGNAL, thread_id: gettid().as_raw(), si_value: 0 };
        let timer = Timer::new(CLOCK, SigEvent::new(to_thread))?;
        Ok(Self { timer, bound, began: Duration::ZERO })
    }

    /// The processor time that is allowed.
    pub(crate) const fn bound(&self) -> Duration {
        self.bound
    }

    /// Begins to count.
    pub(crate) fn start(&mut self) -> nix::Result<()> {
        self.began = processor_time()?;
        let bound = Expiration::IntervalDelayed(self.bound.into(), REPEAT.into());
        self.timer.set(bound, TimerSetTimeFlags::empty())
    }

    /// Whether the bound has been passed since [`start`](Self::start).
    pub(crate) fn has_barked(&self) -> nix::Result<bool> {
        Ok(processor_time()?.saturating_sub(self.began) >= self.bound)
    }

    /// Ends the count.
    pub(crate) fn stop(&mut self) -> nix::Result<()> {
        self.timer.set(Expiration::OneShot(Duration::ZERO.into()), TimerSetTimeFlags::empty())
    }
}

fn processor_time() -> nix::Result<Duration> {
    clock_gettime(CLOCK).map(Duration::from)
}
