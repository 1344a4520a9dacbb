//! Disks that are written as the options say, and the same bytes as a raw file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fmt_core::{DiskPlan, Error, Extent, FileId, PackingPlan, Source};
use fmt_vmdk::{Options, VmdkPlan};

use crate::executor::{Executor, OUT};

pub(crate) fn data(start: u64, len: u64, offset: u64) -> Extent {
    Extent { start, len, source: Source::Data { file: FileId(0), offset } }
}

pub(crate) fn zero(start: u64, len: u64) -> Extent {
    Extent { start, len, source: Source::Zero }
}

/// What a disk is to hold.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) size: u64,
    /// In order. What they leave out is unallocated.
    pub(crate) extents: Vec<Extent>,
    /// What extents with [`Source::Data`] are taken from.
    pub(crate) data: Vec<u8>,
}

impl Scene {
    /// The disk as it is, in a file.
    pub(crate) fn write_raw(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.size).unwrap();
        for extent in &self.extents {
            if let Source::Data { .. } = extent.source {
                file.write_all_at(&self.bytes(extent), extent.start).unwrap();
            }
        }
    }

    /// The disk as a VMDK named `name` in the directory `dir`. Returns the lengths that the file was given.
    pub(crate) fn write(&self, dir: &Path, options: &Options<'_>) -> Result<Vec<u64>, Error> {
        let path = |name: &[u8]| dir.join(str::from_utf8(name).unwrap());
        let sink = Executor::new(&path(options.name), self.data.clone());
        let open = |file: fmt_vmdk::ExtentFile| Ok(sink.add(&path(&file.name(options.name))));
        let mut plan = VmdkPlan::begin_with(&sink, OUT, self.size, options, open)?;
        if plan.packs_all() {
            self.pack(&sink, &mut plan)?;
        } else {
            self.extents.iter().try_for_each(|&extent| plan.extent(extent))?;
        }
        plan.finish()?;
        Ok(sink.finish())
    }

    /// Units of zeros as they are, and what has other bytes compressed.
    fn pack(&self, sink: &Executor, plan: &mut VmdkPlan<'_, Executor>) -> Result<(), Error> {
        let unit = u64::from(plan.unit_len());
        let mut extents = self.extents.as_slice();
        for start in (0..self.size).step_by(usize::try_from(unit).unwrap()) {
            let range = start..(start + unit).min(self.size);
            while extents.first().is_some_and(|extent| extent.end() <= range.start) {
                extents = &extents[1..];
            }
            let here: Vec<_> = extents.iter().map_while(|extent| extent.clip(&range)).collect();
            match here.as_slice() {
                [] => {}
                [only] if only.source == Source::Zero && only.len == range.end - range.start => {
                    plan.extent(*only)?;
                }
                here => {
                    let mut bytes = vec![0; usize::try_from(unit).unwrap()];
                    for extent in here {
                        let at = usize::try_from(extent.start - start).unwrap();
                        let content = self.bytes(extent);
                        bytes[at..at + content.len()].copy_from_slice(&content);
                    }
                    let packed = miniz_oxide::deflate::compress_to_vec_zlib(&bytes, 6);
                    plan.packed(start, sink.stage(&packed), u32::try_from(packed.len()).unwrap())?;
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, extent: &Extent) -> Vec<u8> {
        let len = usize::try_from(extent.len).unwrap();
        match extent.source {
            Source::Data { offset, .. } => self.data[usize::try_from(offset).unwrap()..][..len].to_vec(),
            _ => vec![0; len],
        }
    }
}
