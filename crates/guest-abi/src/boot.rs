//! What the guest is told when it starts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::PAGE_SIZE;

/// How many files a command can begin with.
pub const MAX_FILES: usize = 64;

/// How many bytes a request may have.
pub const MAX_REQUEST_LEN: usize =
    PAGE_SIZE as usize - size_of::<Header>() - MAX_FILES * size_of::<FileEntry>();

/// The boot page, as the guest finds it at [`BOOT_ADDR`](crate::layout::BOOT_ADDR).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootPage {
    /// What else is in the page.
    pub header: Header,
    /// The files: the first [`Header::file_count`] entries.
    pub files: [FileEntry; MAX_FILES],
    /// The command's request: the first [`Header::request_len`] bytes.
    pub request: [u8; MAX_REQUEST_LEN],
}

/// The head of the boot page.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// How many files there are. A file's number is its place in [`BootPage::files`].
    pub file_count: u32,
    /// The length of the request in bytes.
    pub request_len: u32,
    /// How the guest rings: [`BELL_STORE`] or [`BELL_PIPE`].
    pub bell: u32,
    /// 0.
    pub reserved: u32,
}

/// In a virtual machine: a write to [`DOORBELL_ADDR`](crate::layout::DOORBELL_ADDR).
pub const BELL_STORE: u32 = 1;

/// In a process: one byte to [`RING_FD`](crate::loader::RING_FD), then one from
/// [`ANSWER_FD`](crate::loader::ANSWER_FD).
pub const BELL_PIPE: u32 = 2;

/// One file that takes part in the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileEntry {
    /// What may be done with it: [`ROLE_INPUT`], [`ROLE_OUTPUT`], [`ROLE_STAGE`] or [`ROLE_IN_PLACE`].
    pub role: u32,
    /// What the host knows about it from the user: [`NAMED_DMG`] or 0.
    pub hints: u32,
    /// Its length in bytes as it was opened; of an output, the length that it cannot exceed, and [`u64::MAX`] where none is
    /// known.
    pub len: u64,
}

/// The file is read.
pub const ROLE_INPUT: u32 = 1;

/// The file is made, or emptied, by the first operation on it, and written.
pub const ROLE_OUTPUT: u32 = 2;

/// Memory that is written and read as a file. It has its length, and keeps it.
pub const ROLE_STAGE: u32 = 3;

/// The file is there, and is read and written. What is read is what the rings before have made of it. It may become longer,
/// and never shorter than it was.
pub const ROLE_IN_PLACE: u32 = 4;

/// The user's name for the file ends in `.dmg`, which is what `qemu-img` knows Apple's images by.
pub const NAMED_DMG: u32 = 1;

const _: () = assert!(size_of::<BootPage>() == PAGE_SIZE as usize);
