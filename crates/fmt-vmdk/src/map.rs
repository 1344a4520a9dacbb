//! Where a VMDK's bytes are.

use alloc::vec::Vec;

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, ReadAt, Source};

use crate::descriptor::{CreateType, Descriptor, Identity};
use crate::extent_line::{ExtentKind, ExtentLine};
use crate::grains::{Grains, Tables};
use crate::header::{self, Head, Packing, SparseExtent};
use crate::limits::MAX_DISK_LEN;

/// Where the embedded descriptor is looked for, whatever the header says, as in `qemu-img`.
pub(crate) const EMBEDDED_AT: u64 = 512;

/// A VMDK: one sparse file, or all the files that a descriptor names.
///
/// What the disk leaves to its parent is [`Source::Unallocated`]: ask the parent for it that
/// [`identity`](Self::identity) names, or take zeros where it names none.
#[derive(Debug)]
pub struct VmdkMap<S> {
    create_type: CreateType,
    identity: Identity,
    /// In the order of the disk, without gaps.
    parts: Vec<Part<S>>,
    size: u64,
    /// The windows, and the number of the part that they look at.
    tables: Tables,
    tables_of: usize,
}

/// One of the extents that a VMDK consists of.
#[derive(Debug)]
pub struct Part<S> {
    start: u64,
    len: u64,
    kind: Option<ExtentKind>,
    place: Place,
    source: S,
    file: FileId,
}

#[derive(Debug)]
enum Place {
    /// As it is, from this byte of the file on.
    Flat(u64),
    Sparse(SparseExtent),
}

impl<S> Part<S> {
    /// The first byte on the disk.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no collection")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// What the descriptor says of it; nothing where the disk is one sparse file.
    #[must_use]
    pub const fn kind(&self) -> Option<ExtentKind> {
        self.kind
    }

    /// The file that holds it.
    #[must_use]
    pub const fn file(&self) -> FileId {
        self.file
    }

    /// The header, where it is a sparse extent.
    #[must_use]
    pub const fn sparse(&self) -> Option<&SparseExtent> {
        match &self.place {
            Place::Flat(_) => None,
            Place::Sparse(extent) => Some(extent),
        }
    }
}

impl<S: ReadAt> VmdkMap<S> {
    /// The disk that `source`, which is `file`, holds alone: monolithicSparse or streamOptimized.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with); [`ErrorKind::UnsupportedFeature`] for a descriptor that names other files.
    pub fn open(source: S, file: FileId) -> Result<Self, Error> {
        let refuse = Error::new(ErrorKind::UnsupportedFeature, 0, "a VMDK that consists of several files");
        Self::open_with(source, file, |_| Err(refuse))
    }

    /// The disk that `source`, which is `file`, holds or describes.
    ///
    /// `open` is asked for each file that a descriptor names, in the disk's order, and answers with the file or refuses.
    /// The names are an image author's requests: nothing but `open` decides about them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotThisFormat`] for what is no VMDK, [`ErrorKind::UnsupportedFeature`] for what exists and is not
    /// read, [`ErrorKind::TooLarge`] for what is beyond [`limits`](crate::limits), [`ErrorKind::Corrupt`] for what
    /// contradicts itself or can be read in more than one way; those of `open`, and those of reading.
    pub fn open_with(
        source: S,
        file: FileId,
        open: impl FnMut(&ExtentLine) -> Result<(S, FileId), Error>,
    ) -> Result<Self, Error> {
        match header::read(&source)? {
            Head::Sparse(extent) => {
                let identity = Identity::read(&source, EMBEDDED_AT)?;
                let create_type = match extent.packing {
                    Packing::Plain => CreateType::MonolithicSparse,
                    Packing::Zlib | Packing::MarkedZlib => CreateType::StreamOptimized,
                };
                let place = Place::Sparse(extent);
                let part = Part { start: 0, len: extent.len, kind: None, place, source, file };
                Ok(Self::new(create_type, identity, alloc::vec![part], extent.len))
            }
            Head::Descriptor(at) => {
                let descriptor = Descriptor::read(&source, at)?;
                let identity = Identity::read(&source, if at == 0 { 0 } else { EMBEDDED_AT })?;
                let (parts, size) = parts(descriptor.extents, open)?;
                Ok(Self::new(descriptor.create_type, identity, parts, size))
            }
        }
    }

    const fn new(create_type: CreateType, identity: Identity, parts: Vec<Part<S>>, size: u64) -> Self {
        Self { create_type, identity, parts, size, tables: Tables::new(), tables_of: 0 }
    }

    /// What kind of disk it is.
    #[must_use]
    pub const fn create_type(&self) -> CreateType {
        self.create_type
    }

    /// Who the disk is, and who its parent.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The extents that the disk consists of, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part<S>] {
        &self.parts
    }
}

/// The parts that extent lines describe, and the size of the disk that they make.
fn parts<S: ReadAt>(
    lines: Vec<ExtentLine>,
    mut open: impl FnMut(&ExtentLine) -> Result<(S, FileId), Error>,
) -> Result<(Vec<Part<S>>, u64), Error> {
    let mut parts = Vec::with_capacity(lines.len());
    let mut start = 0_u64;
    for line in lines {
        let (source, file) = open(&line)?;
        let (place, len) = match line.kind {
            ExtentKind::Flat(offset) => (Place::Flat(offset), line.len),
            ExtentKind::Vmfs => (Place::Flat(0), line.len),
            ExtentKind::Sparse | ExtentKind::VmfsSparse => {
                let extent = header::read_part(&source)?;
                (Place::Sparse(extent), extent.len)
            }
        };
        parts.push(Part { start, len, kind: Some(line.kind), place, source, file });
        let end = start.checked_add(len).filter(|&end| end <= MAX_DISK_LEN);
        start = end.ok_or(Error::new(ErrorKind::TooLarge, 0, "the disk"))?;
    }
    Ok((parts, start))
}

impl<S: ReadAt> DiskMap for VmdkMap<S> {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let outside = Error::new(ErrorKind::TooLarge, at, "a place beyond the end of the disk");
        let number = self.parts.partition_point(|part| part.start.saturating_add(part.len) <= at);
        let part = self.parts.get(number).ok_or(outside)?;
        let within = at.saturating_sub(part.start);
        let extent = match &part.place {
            Place::Flat(offset) => part.flat(*offset, within)?,
            Place::Sparse(extent) => {
                if self.tables_of != number {
                    self.tables = Tables::new();
                    self.tables_of = number;
                }
                let Part { source, file, .. } = part;
                Grains { extent, source, file: *file, tables: &mut self.tables }.extent_at(within)?
            }
        };
        Ok(Extent { start: extent.start.saturating_add(part.start), ..extent })
    }
}

impl<S: ReadAt> Part<S> {
    /// The extent around byte `at` of a part that lies as it is at byte `offset` of its file. What the file is too short
    /// for reads as zeros; a part that begins behind the file's end cannot be read.
    fn flat(&self, offset: u64, at: u64) -> Result<Extent, Error> {
        let inside = self.source.file_len().checked_sub(offset).filter(|&len| len > 0);
        let beyond = Error::new(ErrorKind::Corrupt, offset, "a flat extent lies beyond the end of its file");
        let data_len = self.len.min(inside.ok_or(beyond)?);
        Ok(if at < data_len {
            Extent { start: 0, len: data_len, source: Source::Data { file: self.file, offset } }
        } else {
            Extent { start: data_len, len: self.len.saturating_sub(data_len), source: Source::Zero }
        })
    }
}
