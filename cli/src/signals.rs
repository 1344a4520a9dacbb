//! The signals that ask for something: to end early, or to say how far it is.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;

/// What signals have asked for so far.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupted: Arc<AtomicBool>,
    /// The signal that interrupted, or 0.
    reason: Arc<AtomicUsize>,
    status: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = Self { interrupted: Arc::default(), reason: Arc::default(), status: Arc::default() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the second time, the flag is set already, and the signal does what it usually does.
            flag::register_conditional_default(signal, Arc::clone(&signals.interrupted))?;
            flag::register_usize(signal, Arc::clone(&signals.reason), signal.unsigned_abs() as usize)?;
            flag::register(signal, Arc::clone(&signals.interrupted))?;
        }
        flag::register(SIGUSR1, Arc::clone(&signals.status))?;
        // A handler, whatever it does, turns the death by a file size limit into an error with a name.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(signals)
    }

    /// Set when the command is to end.
    pub(crate) fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Set when somebody wants to know how far it is.
    pub(crate) fn status(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.status)
    }

    /// Ends the process by the signal that interrupted it, if one did, so that a shell knows. By then everything has
    /// been said.
    pub(crate) fn die_of_interruption(&self) {
        let signal = self.reason.load(Ordering::Relaxed);
        if let Ok(signal @ 1..) = i32::try_from(signal) {
            // It fails for signals that have no default action, which these have.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}
