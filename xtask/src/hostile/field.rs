//! The words in which `formats` says what an image consists of.

use super::image::{Endian, Image};

/// A format, as its specification describes it: never as instar's readers do.
pub(super) struct Format {
    /// As `-f` wants it.
    pub(super) name: &'static str,
    pub(super) endian: Endian,
    pub(super) structures: &'static [Structure],
    /// Where the text of an image is, if it has one.
    pub(super) text: fn(&Image) -> Option<Text>,
    pub(super) seals: fn(&Image) -> Vec<Seal>,
    pub(super) specimens: &'static [Specimen],
}

/// A real image.
pub(super) struct Specimen {
    pub(super) name: &'static str,
    /// What makes it, beside the file `disk.raw`: a shell script.
    pub(super) script: &'static str,
    /// What the script cannot do.
    pub(super) finish: fn(&Image),
    /// The file that is opened.
    pub(super) input: &'static str,
    /// The file that is changed.
    pub(super) target: &'static str,
    /// Whether `qemu-img` reads it only once it has been repaired.
    pub(super) repair: bool,
}

impl Specimen {
    /// An image of one file, that the script makes as `image`.
    pub(super) const fn new(name: &'static str, script: &'static str) -> Self {
        Self { name, script, finish: |_| {}, input: "image", target: "image", repair: false }
    }

    /// The same where another file than the one that is opened is changed.
    pub(super) const fn changing(self, target: &'static str) -> Self {
        Self { target, ..self }
    }
}

/// One kind of structure, and where an image has one.
pub(super) struct Structure {
    pub(super) name: &'static str,
    /// The first byte of each.
    pub(super) at: fn(&Image) -> Vec<u64>,
    /// Of each, in bytes.
    pub(super) len: u64,
    pub(super) fields: &'static [Field],
}

/// A number in a structure.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Its first byte, counted from that of the structure.
    pub(super) at: u64,
    /// Its length in bytes.
    pub(super) width: usize,
    pub(super) meaning: Meaning,
}

#[derive(Clone, Copy)]
pub(super) enum Meaning {
    /// A size, a count, a mark, a set of flags.
    Number,
    /// A place in the file, in units of so many bytes, beside these bits, which are flags.
    Place { unit: u64, flags: u64 },
}

/// The number `name` of `width` bytes at byte `at`.
pub(super) const fn number(name: &'static str, at: u64, width: usize) -> Field {
    Field { name, at, width, meaning: Meaning::Number }
}

/// The same for one that is a place, counted in `unit` bytes.
pub(super) const fn place(name: &'static str, at: u64, width: usize, unit: u64) -> Field {
    flagged_place(name, at, width, unit, 0)
}

/// The same for one that has `flags` beside the place.
pub(super) const fn flagged_place(name: &'static str, at: u64, width: usize, unit: u64, flags: u64) -> Field {
    Field { name, at, width, meaning: Meaning::Place { unit, flags } }
}

/// The place of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// Its first byte.
    pub(super) at: u64,
    /// In bytes; `None` where it ends with the file.
    pub(super) room: Option<usize>,
}

/// A checksum over a structure.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) at: u64,
    pub(super) len: usize,
    /// Where in the structure the checksum is. It counts as zero.
    pub(super) sum_at: u64,
    pub(super) sum: fn(&[u8]) -> u32,
}

impl Seal {
    /// Makes the checksum right.
    pub(super) fn apply(&self, image: &Image) -> std::io::Result<()> {
        let mut bytes = image.bytes(self.at, self.len);
        let sum_at = usize::try_from(self.sum_at).expect("it lies in the structure");
        bytes[sum_at..sum_at + 4].fill(0);
        image.put(self.at + self.sum_at, 4, (self.sum)(&bytes).into())
    }
}

/// Some entries of a table: the first ones, one in the middle, and the last ones.
pub(super) fn entries(at: u64, count: u64, size: u64) -> Vec<u64> {
    let mut chosen = vec![0, 1, 2, count / 2, count.saturating_sub(2), count.saturating_sub(1)];
    chosen.retain(|&number| number < count);
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().map(|number| at + number * size).collect()
}
