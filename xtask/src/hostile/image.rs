//! An image as a file of numbers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endian {
    Big,
    Little,
}

/// An image that can be looked into and changed. What lies beyond its end reads as zeros.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    endian: Endian,
}

impl Image {
    pub(super) fn open(path: &Path, endian: Endian) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        Ok(Self { file: file.with_context(|| path.display().to_string())?, endian })
    }

    /// In bytes.
    pub(super) fn len(&self) -> u64 {
        self.file.metadata().expect("an open file has a length").len()
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// The number of `width` bytes, at most 16, at byte `at`.
    pub(super) fn number(&self, at: u64, width: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes[..width].copy_from_slice(&self.bytes(at, width));
        match self.endian {
            Endian::Big => u128::from_be_bytes(bytes) >> (128 - 8 * width),
            Endian::Little => u128::from_le_bytes(bytes),
        }
    }

    pub(super) fn put(&self, at: u64, width: usize, value: u128) -> io::Result<()> {
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        self.put_bytes(
            at,
            match self.endian {
                Endian::Big => &big[16 - width..],
                Endian::Little => &little[..width],
            },
        )
    }

    pub(super) fn u16(&self, at: u64) -> u64 {
        u64::try_from(self.number(at, 2)).expect("two bytes")
    }

    pub(super) fn u32(&self, at: u64) -> u64 {
        u64::try_from(self.number(at, 4)).expect("four bytes")
    }

    pub(super) fn u64(&self, at: u64) -> u64 {
        u64::try_from(self.number(at, 8)).expect("eight bytes")
    }

    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut found = 0;
        while let Ok(count @ 1..) = self.file.read_at(&mut bytes[found..], at + found as u64) {
            found += count;
        }
        bytes
    }

    pub(super) fn put_bytes(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }
}
