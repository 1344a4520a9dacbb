//! A sandbox that is a virtual machine: one processor, 32 MiB of memory, no devices, no kernel.
//!
//! | module | what |
//! |---|---|
//! | `entry` | the state that the guest starts in |
//! | `paging` | what it finds mapped |
//! | `watchdog` | how long it may take |

#![allow(clippy::cast_possible_truncation, reason = "guests and their hosts have 64-bit addresses")]

mod entry;
mod paging;
mod watchdog;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use guest_abi::boot::{BELL_STORE, BootPage};
use guest_abi::layout::{BOOT_ADDR, DOORBELL_ADDR, EXCHANGE_ADDR, EXCHANGE_LEN, MEMORY_LEN};
use kvm_bindings::{CpuId, KVM_API_VERSION, kvm_cpuid_entry2, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};
use zerocopy::IntoBytes;

use self::paging::{PageTables, TABLES_ADDR};
use self::watchdog::Kennel;
use crate::image::GuestImage;
use crate::sandbox::{GuestFault, Sandbox};
use crate::space;

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// The device is not there.
    #[error("this machine offers no KVM: /dev/kvm does not exist")]
    Missing,
    /// The device may not be opened.
    #[error("this user may not use KVM: opening /dev/kvm is not permitted")]
    Forbidden,
    /// The device is there and does not work.
    #[error("KVM does not work: {doing}: {source}")]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Names what failed, of everything but opening the device.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, KvmError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, KvmError> {
        self.map_err(|error| KvmError::Unusable { doing, source: error.into() })
    }
}

/// A guest in a virtual machine.
#[derive(Debug)]
pub struct KvmSandbox {
    // In this order they are dropped: the machine goes before its memory.
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: GuestMemoryMmap,
    kennel: Kennel,
    interrupted: Arc<AtomicBool>,
}

impl KvmSandbox {
    /// Puts `image` and `boot` into a new machine of `kvm`, as [`open`] gives it.
    ///
    /// The guest gets `bound` of processor time between two doorbells. A signal that sets `interrupted` ends its run.
    ///
    /// # Errors
    ///
    /// When KVM does not work.
    pub fn new(
        kvm: &Kvm,
        image: &GuestImage<'_>,
        boot: &BootPage,
        bound: Duration,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, KvmError> {
        let mut boot = *boot;
        boot.header.bell = BELL_STORE;
        let vm = create_vm(kvm).doing("creating a machine")?;
        // Three pages that some processors' KVM wants for itself, far above the guest's.
        vm.set_tss_address(0xfffb_d000).doing("placing the task state")?;
        let memory = memory(image, &boot).doing("making its memory")?;
        give_memory(&vm, &memory)?;
        let vcpu = vm.create_vcpu(0).doing("creating a processor")?;
        set_up(&vcpu, image.entry)?;
        let kennel = Kennel::new(bound).doing("preparing for a timer")?;
        Ok(Self { vcpu, _vm: vm, memory, kennel, interrupted })
    }
}

impl Sandbox for KvmSandbox {
    fn run(&mut self) -> Result<(), GuestFault> {
        let timer = |error: nix::Error| GuestFault::Unexpected(format!("its timer failed: {error}"));
        let watchdog = self.kennel.watchdog().map_err(timer)?;
        loop {
            match self.vcpu.run() {
                Ok(exit) => return fault(&exit),
                Err(error) if error.errno() != nix::libc::EINTR => {
                    return Err(GuestFault::Unexpected(format!("running it failed: {error}")));
                }
                Err(_) if self.interrupted.load(Ordering::Relaxed) => return Err(GuestFault::Interrupted),
                Err(_) if watchdog.has_barked().map_err(timer)? => {
                    return Err(GuestFault::Watchdog(watchdog.bound()));
                }
                // Some other signal: the guest has time left.
                Err(_) => {}
            }
        }
    }

    fn exchange(&self) -> VolatileSlice<'_> {
        let slice =
            GuestMemoryBackend::get_slice(&self.memory, GuestAddress(EXCHANGE_ADDR), EXCHANGE_LEN as usize);
        slice.expect("the exchange lies in the memory, whose size is a constant")
    }
}

/// Opens the device that machines come from.
///
/// # Errors
///
/// When this machine, or this user, has none that works.
pub fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ENXIO => KvmError::Missing,
        nix::libc::EACCES | nix::libc::EPERM => KvmError::Forbidden,
        _ => KvmError::Unusable { doing: "opening /dev/kvm", source: error.into() },
    })?;
    let version = kvm.get_api_version();
    if version.cast_unsigned() != KVM_API_VERSION {
        let source = io::Error::other(format!("its interface has version {version}, not {KVM_API_VERSION}"));
        return Err(KvmError::Unusable { doing: "opening /dev/kvm", source });
    }
    Ok(kvm)
}

/// Creates a machine, whatever signals come meanwhile: none of them is a reason to do without one.
fn create_vm(kvm: &Kvm) -> Result<VmFd, kvm_ioctls::Error> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == nix::libc::EINTR => {}
            created => return created,
        }
    }
}

/// The machine's memory, with everything in it that the guest starts with.
fn memory(image: &GuestImage<'_>, boot: &BootPage) -> io::Result<GuestMemoryMmap> {
    let memory =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_LEN as usize)]).map_err(io::Error::other)?;
    let tables = PageTables::new(&space::regions(image));
    let mut pieces = vec![(TABLES_ADDR, tables.bytes()), (BOOT_ADDR, boot.as_bytes())];
    pieces.extend(image.segments.iter().map(|segment| (segment.addr, segment.bytes)));
    for (addr, bytes) in pieces {
        memory.write_slice(bytes, GuestAddress(addr)).map_err(io::Error::other)?;
    }
    Ok(memory)
}

fn give_memory(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), KvmError> {
    let host = GuestMemoryBackend::get_host_address(memory, GuestAddress(0)).map_err(io::Error::other);
    let slot = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_LEN,
        userspace_addr: host.doing("finding its memory")? as u64,
    };
    #[expect(unsafe_code, reason = "the one call that hands memory to the kernel")]
    // SAFETY: `set_user_memory_region` asks that the range be memory of this process that stays mapped for as long as
    // the machine may use it, and that nothing here relies on what the guest can change. The range is the whole of
    // `memory`, one mapping of `MEMORY_LEN` bytes that `KvmSandbox` owns and drops after the machine's last descriptor;
    // it is accessed only through vm-memory's volatile slices, which make no references.
    unsafe { vm.set_user_memory_region(slot) }.doing("giving it memory")
}

fn set_up(vcpu: &VcpuFd, entry: u64) -> Result<(), KvmError> {
    vcpu.set_cpuid2(&features()).doing("describing its processor")?;
    let mut sregs = vcpu.get_sregs().doing("reading its control registers")?;
    entry::set_control_state(&mut sregs);
    vcpu.set_sregs(&sregs).doing("setting its control registers")?;
    vcpu.set_regs(&entry::registers(entry)).doing("setting its registers")
}

/// What the processor is said to have: no more than the entry state uses, which every 64-bit processor has. A fixed
/// answer is the same on every host, and asking KVM for a longer one takes as long as all the rest.
fn features() -> CpuId {
    let leaf = |function, eax, ecx, edx| kvm_cpuid_entry2 { function, eax, ecx, edx, ..Default::default() };
    // Leaf 1, EDX: FPU, TSC, MSR, PAE, CX8, CMOV, FXSR, SSE, SSE2. Intel SDM volume 2, "CPUID".
    let basic = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 15 | 1 << 24 | 1 << 25 | 1 << 26;
    // Leaf 0x8000_0001, EDX: execute-disable, 64-bit mode.
    let extended = 1 << 20 | 1 << 29;
    let leaves = [
        leaf(0, 1, 0, 0),
        leaf(1, 0, 0, basic),
        leaf(0x8000_0000, 0x8000_0008, 0, 0),
        leaf(0x8000_0001, 0, 0, extended),
        // Physical addresses of 36 bits, linear ones of 48.
        leaf(0x8000_0008, 48 << 8 | 36, 0, 0),
    ];
    CpuId::from_entries(&leaves).expect("five entries are fewer than the limit")
}

/// Whether an exit is a ring of the doorbell; everything else is a fault.
fn fault(exit: &VcpuExit<'_>) -> Result<(), GuestFault> {
    Err(match *exit {
        VcpuExit::MmioWrite(DOORBELL_ADDR, _) => return Ok(()),
        VcpuExit::IoOut(port, _) | VcpuExit::IoIn(port, _) => GuestFault::Port(port),
        VcpuExit::MmioRead(addr, _) | VcpuExit::MmioWrite(addr, _) => GuestFault::Memory(addr),
        VcpuExit::Hlt => GuestFault::Halted,
        VcpuExit::Shutdown => GuestFault::Exception,
        ref other => GuestFault::Unexpected(format!("{other:?}")),
    })
}
