//! The note by which the host knows the guest.

use guest_abi::{ABI_VERSION, NOTE_NAME, NOTE_TYPE};

/// An ELF note, as the ELF specification lays it out ("Note Section").
#[repr(C)]
struct Note {
    name_len: u32,
    desc_len: u32,
    kind: u32,
    /// With its terminating zero, padded to a multiple of four.
    name: [u8; 8],
    desc: u32,
}

// SAFETY: the linker script keeps the section, in memory that is never written, and gives it a note segment.
#[unsafe(link_section = ".note.instar")]
#[used]
static NOTE: Note = Note {
    name_len: NOTE_NAME.len() as u32 + 1,
    desc_len: 4,
    kind: NOTE_TYPE,
    name: *b"instar\0\0",
    desc: ABI_VERSION,
};
