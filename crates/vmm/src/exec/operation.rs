//! Operations that have been checked.

use core::ops::Range;

use crate::files::FileId;

/// One checked operation. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// An input's bytes into the data window.
    Read(Read),
    /// An output comes into being, or changes its length. What it has already been given stays where it `keeps_all`.
    SetLen { file: FileId, len: u64, keeps_all: bool },
    /// Bytes into an output.
    Write(Write),
    /// Decompressed bytes into an output.
    Decode(Part),
    /// One more input.
    Open(Open),
    /// One more output, which belongs to this one.
    Create { of: FileId },
    /// There may be something to decompress.
    Expect,
    /// Where an input is other than zero.
    Scan(Scan),
    /// Bytes into the stage, compressed.
    Pack(Pack),
}

/// Bytes of an input on their way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) file: FileId,
    pub(super) src: u64,
    pub(super) window_at: u64,
    pub(super) len: u64,
}

/// A file that an image names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// The image.
    pub(super) from: FileId,
    /// Where the name is in the window, and where the answer goes.
    pub(super) name_at: u64,
    pub(super) name_len: u64,
    pub(super) window_at: u64,
}

/// Bytes of an input that are to be compared with zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) file: FileId,
    pub(super) src: u64,
    pub(super) len: u64,
    /// How many bytes each bit of the answer is about.
    pub(super) unit: u64,
    /// Where the answer goes in the window.
    pub(super) window_at: u64,
}

/// Bytes that are to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) packing: Packing,
    pub(super) from: FileId,
    pub(super) src: u64,
    pub(super) len: u64,
    pub(super) to: FileId,
    pub(super) dst: u64,
    /// Where the answer goes in the window.
    pub(super) window_at: u64,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Deflate,
    Zlib,
    Zstd,
}

/// Bytes on their way into an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) from: Source,
    pub(super) to: FileId,
    pub(super) dst: u64,
    pub(super) len: u64,
}

/// A piece of an input that is decompressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) file: FileId,
    pub(super) src: u64,
    pub(super) packed_len: u32,
    /// One of the `CODEC_` constants of [`guest_abi::exchange`].
    pub(super) codec: u32,
    pub(super) unit_len: u32,
}

/// A part of what a unit becomes, on its way into an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) unit: Unit,
    /// How much of the unit comes before it.
    pub(super) skip: u32,
    pub(super) to: FileId,
    pub(super) dst: u64,
    pub(super) len: u32,
}

/// Where an output's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Zeros,
    Input {
        file: FileId,
        at: u64,
    },
    /// The guest itself: what was in its data window when it rang.
    Window {
        at: u64,
    },
}

impl Operation {
    /// The file that it changes, if any.
    pub(super) fn target(&self) -> Option<FileId> {
        match *self {
            Self::SetLen { file, .. } => Some(file),
            Self::Write(write) => Some(write.to),
            Self::Decode(part) => Some(part.to),
            Self::Pack(pack) => Some(pack.to),
            Self::Read(_) | Self::Open(_) | Self::Create { .. } | Self::Expect | Self::Scan(_) => None,
        }
    }

    /// This operation and the `next` one as one, if `next` continues this one.
    fn joined(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Read(read), Self::Read(next)) => read.joined(next).map(Self::Read),
            (Self::Write(write), Self::Write(next)) => write.joined(next).map(Self::Write),
            (Self::Decode(part), Self::Decode(next)) => part.joined(next).map(Self::Decode),
            _ => None,
        }
    }
}

impl Read {
    fn joined(self, next: Self) -> Option<Self> {
        let goes_on = next.file == self.file
            && follows(self.src, self.len, next.src)
            && follows(self.window_at, self.len, next.window_at);
        goes_on.then_some(())?;
        Some(Self { len: self.len.checked_add(next.len)?, ..self })
    }
}

impl Write {
    /// In parts that end where `dst` is a multiple of `step`, which keeps them apart in the page cache.
    pub(super) fn in_steps(self, step: u64) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        core::iter::from_fn(move || {
            let (part, behind) = rest.take()?.first_step(step);
            rest = behind;
            Some(part)
        })
    }

    /// The first of these parts, and what is behind it, if anything.
    pub(super) fn first_step(self, step: u64) -> (Self, Option<Self>) {
        self.split_at(step - self.dst % step)
    }

    /// The bytes of it that are in `range`.
    pub(super) fn part(self, range: &Range<usize>) -> Self {
        let from = self.from.advanced(range.start as u64).expect(INSIDE);
        Self { from, dst: self.dst + range.start as u64, len: range.len() as u64, ..self }
    }

    /// The first `len` bytes, and what is behind them, if anything.
    pub(super) fn split_at(self, len: u64) -> (Self, Option<Self>) {
        if len >= self.len {
            return (self, None);
        }
        let from = self.from.advanced(len).expect(INSIDE);
        (Self { len, ..self }, Some(Self { from, dst: self.dst + len, len: self.len - len, ..self }))
    }

    fn joined(self, next: Self) -> Option<Self> {
        let goes_on = next.to == self.to
            && follows(self.dst, self.len, next.dst)
            && self.from.advanced(self.len) == Some(next.from);
        goes_on.then_some(())?;
        Some(Self { len: self.len.checked_add(next.len)?, ..self })
    }
}

impl Part {
    /// Where it ends in what its unit becomes.
    pub(super) fn end(self) -> u32 {
        self.skip + self.len
    }

    fn joined(self, next: Self) -> Option<Self> {
        let goes_on = next.unit == self.unit
            && next.to == self.to
            && follows(self.dst, self.len.into(), next.dst)
            && next.skip == self.end();
        goes_on.then_some(Self { len: self.len + next.len, ..self })
    }
}

impl Source {
    /// What comes `len` bytes later.
    fn advanced(self, len: u64) -> Option<Self> {
        match self {
            Self::Zeros => Some(Self::Zeros),
            Self::Input { file, at } => Some(Self::Input { file, at: at.checked_add(len)? }),
            Self::Window { at } => Some(Self::Window { at: at.checked_add(len)? }),
        }
    }
}

const INSIDE: &str = "a checked range ends inside a file";

fn follows(start: u64, len: u64, next: u64) -> bool {
    start.checked_add(len) == Some(next)
}

/// Joins neighbours that continue each other, so that a guest that plans block by block still moves big pieces.
pub(super) fn merge(operations: Vec<Operation>) -> Vec<Operation> {
    let mut merged: Vec<Operation> = Vec::with_capacity(operations.len());
    for next in operations {
        match merged.last_mut() {
            Some(last) => match last.joined(next) {
                Some(joined) => *last = joined,
                None => merged.push(next),
            },
            None => merged.push(next),
        }
    }
    merged
}
