//! Bytes of a file in memory, mapped.

use std::fs::File;
use std::sync::Arc;

use guest_abi::layout::PAGE_SIZE;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::input::Input;

/// A part of an output that can be filled without waiting for other writers to it.
///
/// It is only ever read into, by the system. What cannot be had then, because the file system is full or somebody has
/// made the file shorter, is an error of that call; a process that touches such a page itself is killed.
pub(crate) struct Mapping {
    region: MmapRegion<()>,
    /// Where it begins in the file.
    start: u64,
}

impl Mapping {
    /// The `len` bytes of `file` from `offset` on, if they can be mapped.
    pub(super) fn new(file: &Arc<File>, offset: u64, len: u64) -> Option<Self> {
        let start = offset - offset % PAGE_SIZE;
        let len = usize::try_from(len.checked_add(offset - start)?).ok()?;
        let region = MmapRegion::from_file(FileOffset::from_arc(Arc::clone(file), start), len).ok()?;
        Some(Self { region, start })
    }

    /// Copies `len` bytes of `input` from `src` on to `offset` of the file, and tells whether that was possible. If not, nothing
    /// can be relied on to have been copied, and writing to the file says what is wrong.
    pub(crate) fn fill(&self, offset: u64, input: &Input, src: u64, len: u64) -> bool {
        let place = |number: u64| usize::try_from(number).ok();
        let within = offset.checked_sub(self.start).and_then(place);
        let bytes = within.zip(place(len)).and_then(|(at, len)| self.region.get_slice(at, len).ok());
        bytes.is_some_and(|bytes| input.read_exact_into(&bytes, src).is_ok())
    }
}
