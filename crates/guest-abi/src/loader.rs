//! What the host tells the loader: the program that turns a fresh process into a guest's address space, and then into the
//! guest.
//!
//! The host lays out a file of [`MEMORY_LEN`](crate::layout::MEMORY_LEN) bytes, with everything in it that the guest
//! starts with, each piece at the offset that is its address. At offset 0, where no guest has anything, is the [`Plan`].
//! The loader begins with three descriptors and leaves the guest two.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::PAGE_SIZE;

/// The pipe that the host's answers come from. The guest reads one byte to wait for the host.
pub const ANSWER_FD: u32 = 0;

/// The pipe that rings go to. The guest writes one byte to wake the host.
pub const RING_FD: u32 = 1;

/// The file with the guest's memory. The loader closes it.
pub const MEMORY_FD: u32 = 2;

/// Where the loader is linked, above everything that a guest has. Its linker script says the same.
pub const LOADER_ADDR: u64 = 0x300_0000;

/// How many regions an address space can have.
pub const MAX_REGIONS: usize = 64;

/// What the loader is to make.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Plan {
    /// The address of the guest's first instruction.
    pub entry: u64,
    /// How many of the regions there are.
    pub region_count: u64,
    /// The regions, none of which shares a page with another.
    pub regions: [Region; MAX_REGIONS],
}

/// A piece of the guest's address space. Fields of no meaning end the loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Region {
    /// Its address, a multiple of the page size.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u64,
    /// [`RIGHT_READ`], and perhaps [`RIGHT_WRITE`] or [`RIGHT_EXECUTE`].
    pub rights: u32,
    /// [`BACKED_COPY`], [`BACKED_SHARED`] or [`BACKED_ZEROS`].
    pub backing: u32,
}

/// The region can be read.
pub const RIGHT_READ: u32 = 1;
/// It can be written.
pub const RIGHT_WRITE: u32 = 2;
/// It can be executed.
pub const RIGHT_EXECUTE: u32 = 4;

/// The region begins as the file is; what the guest writes stays with the guest.
pub const BACKED_COPY: u32 = 1;
/// The region is the file: the host sees what the guest writes, and the guest what the host does.
pub const BACKED_SHARED: u32 = 2;
/// The region begins with zeros.
pub const BACKED_ZEROS: u32 = 3;

/// What the loader writes to [`RING_FD`] when it cannot go on. When it can, it rings as a guest does, with one byte:
/// everything is done then, and the answer starts the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Refusal {
    /// The number of the system call that failed.
    pub call: u32,
    /// Its error.
    pub errno: u32,
}

const _: () = assert!(size_of::<Plan>() <= PAGE_SIZE as usize);
