//! What to do to the output files.

use crate::{Codec, Error, Extent, FileId, Source};

/// One thing to do to an output file.
///
/// Steps touch disjoint ranges inside the file's length, so whoever carries them out may do so in any order and side by
/// side; only a [`SetLen`](Self::SetLen) that makes the file shorter comes after all that was said before it. A writer that
/// goes on with a file that is there reads it, too: a read sees all steps before it, and what they touched may be touched
/// again then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<'a> {
    /// Give the file its length in bytes. The first step of every file that is made; the steps after it wait for it. A
    /// writer that finds out at the end how long the file is begins with a bound, or makes the file longer as it goes, and
    /// ends with the length.
    SetLen {
        /// The output file.
        file: FileId,
        /// Its length in bytes.
        len: u64,
    },
    /// Write what the writer itself made: headers and tables.
    Write {
        /// The output file.
        file: FileId,
        /// The byte offset of the first byte to write.
        dst: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Write what the disk holds. Zeros are written too: their blocks are allocated, not left as a hole.
    Fill {
        /// The output file.
        file: FileId,
        /// The byte offset of the first byte to write.
        dst: u64,
        /// How many bytes.
        len: u64,
        /// Where they come from: anything but [`Source::Unallocated`].
        source: Source,
    },
}

/// Whoever takes the steps of a plan: it carries them out, prints them, or counts them.
pub trait StepSink {
    /// Takes the next step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the step cannot be taken.
    fn step(&self, step: Step<'_>) -> Result<(), Error>;

    /// The length in bytes that the output `file` cannot exceed, as far as that is known: a plan that does not know yet how
    /// long the file becomes asks for no more before it needs more.
    fn max_len(&self, _file: FileId) -> u64 {
        u64::MAX
    }
}

/// A disk being written: what every format's writer is, once it has begun.
pub trait DiskPlan {
    /// Writes one extent. Extents come in ascending order, do not overlap, and lie within the disk.
    ///
    /// What no extent covers, and what is [`Source::Unallocated`], is not allocated. On a disk that was there before, it
    /// stays as it was.
    ///
    /// # Errors
    ///
    /// Those of the sink, and [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    fn extent(&mut self, extent: Extent) -> Result<(), Error>;

    /// Writes what is left: a file that is made is an image only after this.
    ///
    /// # Errors
    ///
    /// As [`extent`](Self::extent).
    fn finish(self) -> Result<(), Error>;
}

/// A plan that can store blocks compressed, side by side with those that it stores as they are.
///
/// It does not compress: whoever does so gives to [`extent`](DiskPlan::extent) what did not become smaller, unless the
/// plan [packs all](Self::packs_all).
pub trait PackingPlan: DiskPlan {
    /// How many bytes of the disk are compressed as a whole.
    fn unit_len(&self) -> u32;

    /// How they are to be compressed.
    fn codec(&self) -> Codec;

    /// Whether every unit has to come compressed, even if it did not become smaller. Only units of zeros, whole ones, may
    /// then come to [`extent`](DiskPlan::extent).
    fn packs_all(&self) -> bool {
        false
    }

    /// Writes the unit that begins at byte `start` of the disk, a multiple of [`unit_len`](Self::unit_len): at `source`
    /// lie, as they are, the `len` bytes that it was compressed to, fewer than it has unless the plan
    /// [packs all](Self::packs_all). A unit that the disk's end cuts short is compressed with zeros behind its end. Units
    /// and extents come in one ascending order.
    ///
    /// # Errors
    ///
    /// As [`extent`](DiskPlan::extent);
    /// [`ErrorKind::UnsupportedFeature`](crate::ErrorKind::UnsupportedFeature) where the image's other options rule
    /// compression out.
    fn packed(&mut self, start: u64, source: Source, len: u32) -> Result<(), Error>;
}
