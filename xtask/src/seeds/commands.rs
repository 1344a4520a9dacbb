//! Requests and files for the targets that carry out whole commands.

mod convert;
mod dd;
mod update;

use std::path::Path;

use anyhow::Result;
use testkit::differencing::{self, Block, Format};

use super::images::{Image, pieces, write_into_log};
use super::put;

pub(super) fn make() -> Result<()> {
    for seed in dd::SEEDS {
        put("dd_operation", seed.name, &[seed.request(), files(seed.files)?].concat())?;
    }
    for seed in convert::SEEDS {
        put("convert_operation", seed.name, &[seed.request(), files(seed.files)?].concat())?;
    }
    for seed in update::SEEDS {
        let files = [files(seed.made.files)?, files(seed.files)?];
        put("update_operation", seed.name, &[seed.request(), files.concat()].concat())?;
    }
    Ok(())
}

/// A file of a command.
struct File {
    /// By this, images name it.
    name: &'static str,
    content: Content,
    /// How many bytes of zeros follow.
    hole: u64,
}

enum Content {
    Bytes(&'static [u8]),
    /// So many bytes that tell where they are.
    Pattern(usize),
    Image(Image),
    /// A VHDX, and a write that only its log knows.
    Logged(Image, &'static str),
    /// An image that stands on the file `1`.
    Child(Format),
    /// That file.
    Parent(Format),
}

const fn bytes(name: &'static str, bytes: &'static [u8]) -> File {
    File { name, content: Content::Bytes(bytes), hole: 0 }
}

const fn pattern(name: &'static str, len: usize) -> File {
    File { name, content: Content::Pattern(len), hole: 0 }
}

/// An image of `qemu-img`.
const fn image(
    format: &'static str,
    name: &'static str,
    options: &'static str,
    size: &'static str,
    writes: &'static [&'static str],
) -> File {
    File { name, content: Content::Image(Image::new(format, name, options, size, writes)), hole: 0 }
}

/// The files as inputs have them. Those that are named must be there when those are made that name them: so they are made
/// from the last one on.
fn files(files: &[File]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let mut made = Vec::new();
    for file in files.iter().rev() {
        made.push(file.input(&file.content.make(dir.path(), file.name)?));
    }
    Ok(made.into_iter().rev().flatten().collect())
}

impl File {
    fn input(&self, bytes: &[u8]) -> Vec<u8> {
        let pieces = pieces(bytes);
        let len = (bytes.len() as u64).saturating_add(self.hole);
        let head = [&padded::<16>(self.name)[..], &len.to_le_bytes(), &(pieces.len() as u64).to_le_bytes()];
        [head.concat(), pieces.concat()].concat()
    }
}

impl Content {
    fn make(&self, dir: &Path, name: &str) -> Result<Vec<u8>> {
        let bytes = match *self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Pattern(len) => (0..=250).cycle().take(len).collect(),
            Self::Image(image) => return image.make(dir),
            Self::Logged(image, write) => {
                image.make(dir)?;
                return write_into_log(dir, image.file, write);
            }
            Self::Child(format) => child(format).bytes(format),
            Self::Parent(format) => parent(format).bytes(format),
        };
        std::fs::write(dir.join(name), &bytes)?;
        Ok(bytes)
    }
}

/// What the child stands on, in blocks of the format: those of a VHDX are too long for data here.
fn parent(format: Format) -> differencing::Image {
    let block = match format {
        Format::Vhd => Block::Sectors(vec![1..2, 3..5]),
        Format::Vhdx => Block::Zeros(2),
    };
    differencing::Image { id: [b'p'; 16], parent: None, tag: b'p', blocks: vec![block, Block::Absent] }
}

fn child(format: Format) -> differencing::Image {
    let block = match format {
        Format::Vhd => Block::Sectors(vec![0..1, 4..6]),
        Format::Vhdx => Block::Zeros(3),
    };
    let parent = differencing::Parent {
        id: parent(format).id,
        relative: Some("1".encode_utf16().collect()),
        ..differencing::Parent::default()
    };
    differencing::Image {
        id: [b'c'; 16],
        parent: Some(parent),
        tag: b'c',
        blocks: vec![Block::Absent, block],
    }
}

/// A text with zero bytes behind it.
fn padded<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut padded = [0; LEN];
    padded[..text.len()].copy_from_slice(text.as_bytes());
    padded
}
