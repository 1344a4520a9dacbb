//! Where everything lies in the guest's address space, in bytes.
//!
//! ```text
//! 0x00_0000  nothing: a null pointer ends the guest
//! 0x10_0000  boot page                    read
//! 0x40_0000  the guest binary             code: read, execute; constants: read; variables: read, write
//! 0x60_0000  stack, growing down to here  read, write
//! 0x80_0000  heap                         read, write
//! 0x180_0000 exchange                     read, write
//! 0x200_0000 doorbell                     write; there is no memory. In a virtual machine only
//! 0x300_0000 loader                       read, execute. In a process only
//! ```
//!
//! Between any two of them lie unmapped pages.

/// The size of a page.
pub const PAGE_SIZE: u64 = 4096;

/// Where the boot page lies: [`BootPage`](crate::boot::BootPage).
pub const BOOT_ADDR: u64 = 0x10_0000;

/// Where guest binaries are linked. Their linker script says the same.
pub const IMAGE_ADDR: u64 = 0x40_0000;

/// The most that a guest binary may take when it is loaded, all segments in whole pages.
pub const IMAGE_MAX_LEN: u64 = 384 << 10;

/// The lowest address of the stack.
pub const STACK_ADDR: u64 = 0x60_0000;

/// The size of the stack.
pub const STACK_LEN: u64 = 64 << 10;

/// Where the heap begins.
pub const HEAP_ADDR: u64 = 0x80_0000;

/// The size of the heap, with room for an unmapped page behind it.
pub const HEAP_LEN: u64 = (16 << 20) - PAGE_SIZE;

/// Where the exchange begins.
pub const EXCHANGE_ADDR: u64 = 0x180_0000;

/// The size of the exchange, with room for an unmapped page behind it. Most guests touch little of it.
pub const EXCHANGE_LEN: u64 = (8 << 20) - PAGE_SIZE;

/// How much memory there is, from address 0. Most of it is never touched.
pub const MEMORY_LEN: u64 = 0x200_0000;

/// Where the doorbell of a virtual machine is: the guest rings it by writing any four bytes to this address.
pub const DOORBELL_ADDR: u64 = 0x200_0000;
