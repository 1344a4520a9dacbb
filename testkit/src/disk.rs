//! Raw disks described by their data, so that gigabytes of holes cost nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::outcome::Content;

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// A raw disk: data in ascending order, holes between.
pub struct Disk {
    size: u64,
    extents: Vec<Extent>,
}

struct Extent {
    at: u64,
    bytes: Vec<u8>,
}

impl Disk {
    /// A disk of `size` bytes without data.
    pub fn hole(size: u64) -> Self {
        Self { size, extents: Vec::new() }
    }

    /// A disk that is all pattern.
    pub fn solid(tag: &str, size: u64) -> Self {
        Self::hole(size).with(0, tag, size)
    }

    /// The disk with `len` bytes of the pattern `tag` behind everything it has so far.
    pub fn with(mut self, at: u64, tag: &str, len: u64) -> Self {
        assert!(self.extents.last().is_none_or(|last| last.end() <= at), "extents ascend");
        assert!(at + len <= self.size, "data lies within the disk");
        self.extents.push(Extent { at, bytes: pattern(tag, len) });
        self
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the disk to a new file, holes as holes.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::create_new(path)?;
        file.set_len(self.size)?;
        for extent in &self.extents {
            file.write_all_at(&extent.bytes, extent.at)?;
        }
        Ok(())
    }

    /// Each piece of data and where it lies, in ascending order.
    pub fn extents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.extents.iter().map(|extent| (extent.at, extent.bytes.as_slice()))
    }

    /// The whole content, holes included, without a file.
    pub fn content(&self) -> Content {
        let mut hash = Sha256::new();
        let mut at = 0;
        for extent in &self.extents {
            hash_zeros(&mut hash, extent.at - at);
            hash.update(&extent.bytes);
            at = extent.end();
        }
        hash_zeros(&mut hash, self.size - at);
        Content { size: self.size, sha256: hex(&hash.finalize()) }
    }
}

impl Extent {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

/// `len` bytes that differ with `tag` and with their position, and do not compress: the hashes of "TAG:0", "TAG:1", …
///
/// The recorded baselines were made with exactly these bytes.
fn pattern(tag: &str, len: u64) -> Vec<u8> {
    let len = usize::try_from(len).expect("patterns fit in memory");
    let hashes = (0_u64..).map(|i| Sha256::digest(format!("{tag}:{i}")));
    hashes.flatten().take(len).collect()
}

fn hash_zeros(hash: &mut Sha256, mut len: u64) {
    static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
    while len > 0 {
        let step = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        hash.update(&ZEROS[..step]);
        len -= step as u64;
    }
}

/// `bytes` in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
