//! What a guest runs in: a thing that runs it up to the next doorbell, and shows the exchange.

use core::time::Duration;

use vm_memory::VolatileSlice;

/// A guest, stopped between two rings. It may be run now by one thread and now by another.
pub trait Sandbox: Send {
    /// Lets the guest run until it rings the doorbell.
    ///
    /// # Errors
    ///
    /// Everything else that ends a run. The guest cannot be resumed then.
    fn run(&mut self) -> Result<(), GuestFault>;

    /// The memory that both sides write: [`guest_abi::exchange`].
    fn exchange(&self) -> VolatileSlice<'_>;
}

/// A guest that did what no guest of ours does: it was taken over by an image, or there is a mistake in it. Nothing
/// of what it said is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestFault {
    /// It executed an instruction, or touched memory, that it must not.
    #[error("it raised an exception (a privileged instruction, or memory that is not its own)")]
    Exception,
    /// It used an input or output port that is not the doorbell.
    #[error("it used port {0:#x}")]
    Port(u16),
    /// It reached a place of its physical memory where there is none.
    #[error("it touched physical address {0:#x}")]
    Memory(u64),
    /// It halted.
    #[error("it halted")]
    Halted,
    /// It asked the operating system for something.
    #[error("it made a system call")]
    SystemCall,
    /// It used more processor time than it gets between two doorbells.
    #[error("it did not answer within {0:?} of processor time")]
    Watchdog(Duration),
    /// It neither used processor time nor rang the doorbell.
    #[error("it fell asleep: it has done nothing for {0:?}")]
    Asleep(Duration),
    /// A signal that it had not caused ended it: somebody sent it, or there was no memory left.
    #[error("it was killed by signal {0}")]
    Killed(i32),
    /// A signal ended its run: the user does not want to wait. Not the guest's fault.
    #[error("interrupted")]
    Interrupted,
    /// The sandbox ended the run in a way that there is no other name for.
    #[error("its sandbox stopped: {0}")]
    Unexpected(String),
    /// It found a mistake of its own. The text is the guest's.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// What it put into the exchange has no meaning.
    #[error("it said something that makes no sense: {0}")]
    Nonsense(&'static str),
    /// It says that it asked for something else than what was heard.
    #[error("it claims {claimed} {what}, but asked for {counted}")]
    Lie {
        /// What was counted.
        what: &'static str,
        /// How much the guest says.
        claimed: u64,
        /// How much it was.
        counted: u64,
    },
}
