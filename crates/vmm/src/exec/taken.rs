//! What the guest put into its data window, taken out.

use core::ops::Range;

use guest_abi::exchange::DATA_LEN;
use vm_memory::{Bytes, VolatileSlice};

use super::fault::ExecError;
use super::operation::{Operation, Source};

/// A copy of what one ring's operations take from the data window.
///
/// It is made before any of them is carried out, and never again: answers go into the same window, and the guest may
/// have processors that go on writing to it.
#[derive(Default)]
pub(super) struct Taken {
    /// Each byte at its place in the window. Allocated when the first guest writes something of its own.
    bytes: Vec<u8>,
}

impl Taken {
    /// Takes what `operations` need.
    pub(super) fn take(
        &mut self,
        operations: &[Operation],
        window: &VolatileSlice<'_>,
    ) -> Result<(), ExecError> {
        let ranges = operations.iter().filter_map(own_range);
        // One range around them all: a guest fills its window from one end to the other.
        let Some(around) = ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)) else {
            return Ok(());
        };
        self.bytes.resize(place(DATA_LEN), 0);
        let start = place(around.start);
        window.read_slice(&mut self.bytes[start..place(around.end)], start).map_err(ExecError::Window)
    }

    /// `len` bytes that were at `at`.
    pub(super) fn bytes(&self, at: u64, len: u64) -> &[u8] {
        &self.bytes[place(at)..place(at + len)]
    }
}

/// What an operation takes from the window.
fn own_range(operation: &Operation) -> Option<Range<u64>> {
    match *operation {
        Operation::Write(write) => match write.from {
            Source::Window { at } => Some(at..at + write.len),
            Source::Zeros | Source::Input { .. } => None,
        },
        Operation::Open(open) => Some(open.name_at..open.name_at + open.name_len),
        Operation::Read(_)
        | Operation::SetLen { .. }
        | Operation::Decode(_)
        | Operation::Expect
        | Operation::Create { .. }
        | Operation::Scan(_)
        | Operation::Pack(_) => None,
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("it is inside the window: that has been checked")
}
