//! Outputs that are files, and find fault with steps that break a plan's promises.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fmt_core::{Error, FileId, ReadAt, Source, Step, StepSink};

use super::decompress;

/// The file that is written.
pub(crate) const OUTPUT: FileId = FileId(2);
/// Its external data file.
pub(crate) const OUTPUT_DATA: FileId = FileId(3);

/// Where compressed clusters wait for being written.
const STAGE: FileId = FileId(9);

/// What lies in a block device before an image is written to it, so that nothing is left to chance.
const STALE: u8 = 0xa5;

pub(crate) struct Sink<'i> {
    /// What [`Source::Data`] and [`Source::Compressed`] are taken from.
    input: &'i [u8],
    /// Whether the files are full of stale bytes, as block devices are: then their lengths do not shrink either.
    device: bool,
    outputs: BTreeMap<FileId, RefCell<Output>>,
    stage: RefCell<Vec<u8>>,
}

struct Output {
    file: File,
    len: Option<u64>,
    /// How often it was given a length.
    resized: u32,
    /// What has been written: starts and ends.
    written: BTreeMap<u64, u64>,
}

impl<'i> Sink<'i> {
    pub(crate) fn create(path: &Path, input: &'i [u8], device: bool) -> Self {
        Self {
            input,
            device,
            outputs: BTreeMap::from([(OUTPUT, Output::create(path))]),
            stage: RefCell::default(),
        }
    }

    /// The same with an external data file.
    pub(crate) fn with_data(mut self, path: &Path) -> Self {
        self.outputs.insert(OUTPUT_DATA, Output::create(path));
        self
    }

    /// Keeps bytes, and tells where they can be taken from.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Source {
        let mut stage = self.stage.borrow_mut();
        let offset = stage.len() as u64;
        stage.extend_from_slice(bytes);
        Source::Data { file: STAGE, offset }
    }

    /// Gives the files their lengths, and returns that of the image.
    pub(crate) fn close(self) -> u64 {
        for output in self.outputs.values().map(RefCell::borrow) {
            if let (Some(len), false) = (output.len, self.device) {
                output.file.set_len(len).unwrap();
            }
        }
        self.outputs[&OUTPUT].borrow().len.unwrap()
    }

    /// How many bytes of the image were written.
    pub(crate) fn written(&self) -> u64 {
        self.outputs[&OUTPUT].borrow().written.iter().map(|(start, end)| end - start).sum()
    }

    /// How often the image was given a length.
    pub(crate) fn resized(&self) -> u32 {
        self.outputs[&OUTPUT].borrow().resized
    }
}

impl Output {
    fn create(path: &Path) -> RefCell<Self> {
        let file = File::create(path).unwrap();
        RefCell::new(Self { file, len: None, resized: 0, written: BTreeMap::new() })
    }

    fn put(&mut self, dst: u64, bytes: &[u8]) {
        let end = dst + bytes.len() as u64;
        assert!(!bytes.is_empty() && end <= self.len.expect("a length comes first"), "{dst}..{end}");
        let before = self.written.range(..end).next_back().map_or(0, |(_, &end)| end);
        assert!(before <= dst, "{dst}..{end} was written before");
        self.written.insert(dst, end);
        self.file.write_all_at(bytes, dst).unwrap();
    }

    fn set_len(&mut self, len: u64, device: bool) {
        // The bound of a large disk is more than a file system takes.
        if device && self.len.is_none_or(|before| before < len) {
            let before = self.len.unwrap_or(0);
            let stale = vec![STALE; usize::try_from(len - before).unwrap()];
            self.file.write_all_at(&stale, before).unwrap();
        }
        assert_ne!(self.len, Some(len), "it has this length");
        self.len = Some(len);
        self.resized += 1;
    }

    fn last(&self) -> u64 {
        self.written.last_key_value().map_or(0, |(_, &end)| end)
    }
}

impl StepSink for Sink<'_> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::SetLen { file, len } => {
                let mut output = self.outputs[&file].borrow_mut();
                // The last cluster of an external data file need not be whole.
                assert!(output.last() <= len || file == OUTPUT_DATA);
                output.set_len(len, self.device);
            }
            Step::Write { file, dst, bytes } => self.outputs[&file].borrow_mut().put(dst, bytes),
            Step::Fill { file, dst, len, source } => {
                let mut bytes = vec![0; usize::try_from(len).unwrap()];
                match source {
                    Source::Zero => {}
                    Source::Data { file: STAGE, offset } => {
                        self.stage.borrow().as_slice().read_exact_at(offset, &mut bytes)?;
                    }
                    Source::Data { offset, .. } => self.input.read_exact_at(offset, &mut bytes)?,
                    Source::Compressed { unit, skip } => {
                        let whole = decompress(self.input, unit).unwrap();
                        bytes = whole[skip as usize..][..bytes.len()].to_vec();
                    }
                    Source::Unallocated => panic!("nothing to fill with"),
                }
                self.outputs[&file].borrow_mut().put(dst, &bytes);
            }
        }
        Ok(())
    }
}
