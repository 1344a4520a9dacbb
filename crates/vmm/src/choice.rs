//! Which sandbox the guests of a command run in.

use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::sync::{Arc, Once, OnceLock};

use guest_abi::boot::BootPage;
use kvm_ioctls::Kvm;

use crate::error::Error;
use crate::image::GuestImage;
use crate::kvm::{self, KvmError, KvmSandbox};
use crate::process::ProcessSandbox;
use crate::sandbox::Sandbox;

/// What a user wants guests to run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A virtual machine where KVM works, otherwise a process.
    #[default]
    Auto,
    /// A virtual machine.
    Kvm,
    /// A process.
    Process,
}

impl Choice {
    /// What two people want together. `Auto` wants nothing; of two that differ, the virtual machine is the stronger
    /// sandbox, and neither can be had without it by the other's choice.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Auto, choice) | (choice, Self::Auto) => choice,
            (Self::Process, Self::Process) => Self::Process,
            _ => Self::Kvm,
        }
    }
}

/// Starts guests, in the sandbox of a user's choice.
#[derive(Debug)]
pub struct Sandboxes {
    choice: Choice,
    /// Told once, and why, when `Auto` comes to be a process.
    tell: fn(&KvmError),
    told: Once,
    /// Where the first machine came from. It stays open, so that more can come when nothing can be opened any more.
    kvm: OnceLock<Kvm>,
}

impl Sandboxes {
    /// Guests run as `choice` says. Where `Auto` finds no KVM, `tell` is called, once, before the first guest starts.
    #[must_use]
    pub const fn new(choice: Choice, tell: fn(&KvmError)) -> Self {
        Self { choice, tell, told: Once::new(), kvm: OnceLock::new() }
    }

    /// A guest, ready to be run. It has the bounds of [`KvmSandbox::new`] and
    /// [`ProcessSandbox::new`].
    ///
    /// # Errors
    ///
    /// When there is no such sandbox. No guest ever runs without one.
    pub fn start(
        &self,
        image: &GuestImage<'_>,
        boot: &BootPage,
        bound: Duration,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Box<dyn Sandbox>, Error> {
        let kvm = || self.start_machine(image, boot, bound, interrupted);
        let process = || ProcessSandbox::new(image, boot, bound, Arc::clone(interrupted));
        match self.choice {
            Choice::Kvm => Ok(Box::new(kvm()?)),
            Choice::Process => Ok(Box::new(process()?)),
            Choice::Auto => match kvm() {
                Ok(machine) => Ok(Box::new(machine)),
                Err(error) if self.starts_when_confined() => Err(error.into()),
                Err(error) => {
                    self.told.call_once(|| (self.tell)(&error));
                    Ok(Box::new(process()?))
                }
            },
        }
    }

    /// Whether more guests can be started when this process has been [confined](crate::confine::enter): if they run in
    /// machines, and one has been started before. A process that is confined starts no others.
    #[must_use]
    pub fn starts_when_confined(&self) -> bool {
        self.kvm.get().is_some()
    }

    fn start_machine(
        &self,
        image: &GuestImage<'_>,
        boot: &BootPage,
        bound: Duration,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<KvmSandbox, KvmError> {
        let start = |kvm: &Kvm| KvmSandbox::new(kvm, image, boot, bound, Arc::clone(interrupted));
        if let Some(kvm) = self.kvm.get() {
            return start(kvm);
        }
        let kvm = kvm::open()?;
        let machine = start(&kvm)?;
        self.kvm.get_or_init(|| kvm);
        Ok(machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_less_than_they_want() {
        use Choice::{Auto, Kvm, Process};
        let all = [Auto, Kvm, Process];
        for choice in all {
            assert_eq!(choice.and(Auto), choice);
            assert_eq!(choice.and(Kvm), Kvm);
            assert_eq!(choice.and(choice), choice);
            for other in all {
                assert_eq!(choice.and(other), other.and(choice));
            }
        }
    }
}
