//! The state that a guest starts in: 64-bit mode, ring 3, and no way out of it.
//!
//! There is no descriptor table behind the selectors, no interrupt table, and no code of any other ring: whatever would
//! enter the kernel that other guests have ends the machine instead.

use guest_abi::layout::{STACK_ADDR, STACK_LEN};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

use super::paging::TABLES_ADDR;

/// PG, AM, WP, NE, ET, MP, PE: protected mode with paging, and floating point without emulation or lazy switching.
pub(crate) const CR0: u64 = 0x8005_0033;

/// PAE, OSFXSR, OSXMMEXCPT: long mode's tables, and SSE.
pub(crate) const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;

/// LME, LMA, NXE: long mode and pages that cannot be executed. Not SCE: there is no `syscall`.
pub(crate) const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;

/// The bit that is always set. Interrupts are off, and IOPL 0 leaves ring 3 not a single port.
pub(crate) const RFLAGS: u64 = 0x2;

/// The stack as it is at the beginning of a function: 8 below a multiple of 16.
pub(crate) const RSP: u64 = STACK_ADDR + STACK_LEN - 8;

/// The code segment: 64-bit, execute and read, accessed, ring 3.
pub(crate) const CODE: kvm_segment = kvm_segment { selector: 0x33, type_: 11, l: 1, db: 0, ..DATA };

/// All other segments: read and write, accessed, ring 3.
pub(crate) const DATA: kvm_segment = kvm_segment {
    base: 0,
    limit: 0xffff_ffff,
    selector: 0x2b,
    type_: 3,
    present: 1,
    dpl: 3,
    db: 1,
    s: 1,
    l: 0,
    g: 1,
    avl: 0,
    unusable: 0,
    padding: 0,
};

/// Turns the control state of a processor after reset, as KVM gives it, into a guest's. The task register and the local
/// descriptor table register stay as they are: nothing in ring 3 can use them.
pub(crate) fn set_control_state(sregs: &mut kvm_sregs) {
    sregs.cs = CODE;
    for segment in [&mut sregs.ss, &mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs] {
        *segment = DATA;
    }
    for table in [&mut sregs.gdt, &mut sregs.idt] {
        table.base = 0;
        table.limit = 0;
    }
    sregs.cr0 = CR0;
    sregs.cr3 = TABLES_ADDR;
    sregs.cr4 = CR4;
    sregs.efer = EFER;
}

/// The registers of a guest whose first instruction is at `entry`.
pub(crate) fn registers(entry: u64) -> kvm_regs {
    kvm_regs { rip: entry, rsp: RSP, rflags: RFLAGS, ..kvm_regs::default() }
}

/// A run on one machine cannot prove the entry state right: this one's processor, and its KVM, may forgive what
/// another's does not. So it is held against the manuals' lists of what a processor checks when it enters a guest.
#[cfg(test)]
mod tests {
    use super::*;

    /// The state as KVM hands it to the processor, with the task register and the rest as after reset.
    fn control_state() -> kvm_sregs {
        let mut sregs = kvm_sregs {
            tr: kvm_segment { type_: 11, present: 1, limit: 0xffff, ..kvm_segment::default() },
            ldt: kvm_segment { type_: 2, present: 1, limit: 0xffff, ..kvm_segment::default() },
            ..kvm_sregs::default()
        };
        sregs.gdt.limit = 0xffff;
        sregs.idt.limit = 0xffff;
        set_control_state(&mut sregs);
        sregs
    }

    const fn bit(value: u64, bit: u32) -> bool {
        value >> bit & 1 == 1
    }

    const fn is_canonical(addr: u64) -> bool {
        let top = addr >> 47;
        top == 0 || top == 0x1_ffff
    }

    /// Intel SDM volume 3, "VM Entries", "Checks on Guest Control Registers, Debug Registers, and MSRs".
    #[test]
    fn intel_control_registers() {
        let sregs = control_state();
        assert!(bit(sregs.cr0, 0) && bit(sregs.cr0, 5) && bit(sregs.cr0, 31), "PE, NE and PG are fixed to 1");
        assert!(!bit(sregs.cr0, 29) && !bit(sregs.cr0, 30), "caching is on: NW needs CD");
        assert_eq!(sregs.cr0 >> 32, 0);
        assert!(bit(sregs.cr4, 5), "an IA-32e mode guest has PAE");
        assert!(!bit(sregs.cr4, 17), "PCIDE would need process-context identifiers in CR3");
        assert!(!bit(sregs.cr4, 23), "CET needs WP, and is not used");
        assert_eq!(sregs.cr3 & !0x000f_ffff_ffff_f000, 0, "no bits beyond the physical address width");
        assert!(bit(sregs.efer, 8) && bit(sregs.efer, 10), "LMA and LME are as the entry control says");
        assert_eq!(bit(sregs.efer, 8), bit(sregs.cr0, 31) && bit(sregs.efer, 10), "LMA = PG and LME");
        assert_eq!(sregs.efer & !0xd01, 0, "reserved bits of EFER");
    }

    /// Intel SDM volume 3, "Checks on Guest Segment Registers", for a guest that is not in virtual-8086 mode.
    #[test]
    fn intel_segment_registers() {
        let sregs = control_state();
        let (cs, ss) = (&sregs.cs, &sregs.ss);
        assert_eq!(sregs.tr.selector & 4, 0, "TR is in the global table");
        assert_eq!(ss.selector & 3, cs.selector & 3, "SS.RPL = CS.RPL");
        assert!(matches!(cs.type_, 9 | 11 | 13 | 15), "CS is accessed code");
        assert!(matches!(ss.type_, 3 | 7), "SS is writable data");
        assert_eq!(cs.dpl, ss.dpl, "non-conforming code has the DPL of SS");
        assert_eq!(u16::from(ss.dpl), ss.selector & 3, "SS.DPL = SS.RPL");
        assert!(cs.l == 1 && cs.db == 0, "64-bit code has L and not D");
        for segment in [&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs] {
            assert_eq!(segment.type_ & 1, 1, "data segments are accessed");
            assert!(
                segment.type_ & 8 == 0 || segment.type_ & 2 != 0,
                "code that is loaded as data is readable"
            );
            assert!(u16::from(segment.dpl) >= segment.selector & 3, "DPL is not below RPL");
        }
        for segment in [cs, ss, &sregs.ds, &sregs.es, &sregs.fs, &sregs.gs] {
            assert!(segment.s == 1 && segment.present == 1 && segment.unusable == 0);
            assert!(is_canonical(segment.base) && segment.base >> 32 == 0);
            assert!(segment.limit & 0xfff == 0xfff || segment.g == 0, "granularity of the low limit");
            assert!(segment.limit >> 20 == 0 || segment.g == 1, "granularity of the high limit");
        }
        let tr = &sregs.tr;
        assert_eq!(tr.type_, 11, "TR is a busy 64-bit TSS in IA-32e mode");
        assert!(tr.s == 0 && tr.present == 1 && tr.unusable == 0 && tr.g == 0);
        let ldt = &sregs.ldt;
        assert!(
            ldt.unusable == 1 || (ldt.type_ == 2 && ldt.s == 0 && ldt.present == 1 && ldt.selector & 4 == 0)
        );
    }

    /// Intel SDM volume 3, "Checks on Guest Descriptor-Table Registers" and "Checks on Guest RIP, RSP, and RFLAGS".
    #[test]
    fn intel_tables_and_registers() {
        let sregs = control_state();
        assert!(is_canonical(sregs.gdt.base) && is_canonical(sregs.idt.base));
        assert_eq!((sregs.gdt.limit, sregs.idt.limit), (0, 0), "no descriptor, no handler");
        let regs = registers(guest_abi::layout::IMAGE_ADDR);
        assert!(is_canonical(regs.rip));
        assert!(bit(regs.rflags, 1), "bit 1 is 1");
        assert_eq!(regs.rflags & (1 << 3 | 1 << 5 | 1 << 15), 0, "reserved bits");
        assert_eq!(regs.rflags >> 22, 0, "reserved bits");
        assert!(!bit(regs.rflags, 17), "no virtual-8086 mode in IA-32e mode");
        assert!(!bit(regs.rflags, 9), "interrupts are off");
        assert!(!bit(regs.rflags, 10), "the direction flag is clear, as the calling convention has it");
    }

    /// AMD APM volume 2, "VMRUN Instruction", "Canonicalization and Consistency Checks".
    #[test]
    fn amd_consistency() {
        let sregs = control_state();
        assert!(bit(sregs.cr0, 30) || !bit(sregs.cr0, 29), "CD clear and NW set is illegal");
        assert_eq!(sregs.cr0 >> 32, 0);
        assert_eq!(sregs.cr3 & 0xfff, 0, "must be zero without PCIDs, but for PWT and PCD");
        assert_eq!(sregs.cr4 >> 11, 0, "nothing beyond what every long mode processor has");
        assert_eq!(sregs.efer & !0x7d01, 0, "reserved bits of EFER");
        let long_mode = bit(sregs.efer, 8) && bit(sregs.cr0, 31);
        assert!(long_mode && bit(sregs.cr4, 5), "long mode needs PAE");
        assert!(long_mode && bit(sregs.cr0, 0), "long mode needs protected mode");
        assert!(!(long_mode && bit(sregs.cr4, 5) && sregs.cs.l == 1 && sregs.cs.db == 1), "CS.L and CS.D");
    }

    /// AMD64 ABI, "The Stack Frame"; and what keeps the guest where it is.
    #[test]
    fn the_guest_starts_as_a_function_in_ring_3() {
        let sregs = control_state();
        let regs = registers(0);
        assert_eq!(regs.rsp % 16, 8);
        assert_eq!((sregs.cs.dpl, sregs.ss.dpl), (3, 3));
        assert_eq!(regs.rflags >> 12 & 3, 0, "ring 3 may use no ports");
        assert!(!bit(sregs.efer, 0), "no syscall");
        assert!(bit(sregs.cr0, 16), "read-only pages are read-only");
        assert!(bit(sregs.cr4, 9) && bit(sregs.cr4, 10), "SSE");
        assert!(!bit(sregs.cr0, 2) && !bit(sregs.cr0, 3), "no emulation, no lazy switching");
    }
}
