//! An output that is a file, and finds fault with steps that break a plan's promises.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fmt_core::{Error, FileId, ReadAt, Source, Step, StepSink};

use super::decompress;

/// The file that is written.
pub(crate) const OUTPUT: FileId = FileId(2);

/// What lies in a block device before an image is written to it, so that nothing is left to chance.
const STALE: u8 = 0xa5;

pub(crate) struct Sink<'i> {
    /// What [`Source::Data`] and [`Source::Compressed`] are taken from.
    input: &'i [u8],
    file: File,
    /// Whether the file is full of stale bytes, as a block device is: then its length does not shrink either.
    device: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    len: Option<u64>,
    /// What has been written: starts and ends.
    written: BTreeMap<u64, u64>,
}

impl<'i> Sink<'i> {
    pub(crate) fn create(path: &Path, input: &'i [u8], device: bool) -> Self {
        Self { input, file: File::create(path).unwrap(), device, state: RefCell::default() }
    }

    /// Gives the file its length, and returns it.
    pub(crate) fn close(self) -> u64 {
        let len = self.state.borrow().len.unwrap();
        if !self.device {
            self.file.set_len(len).unwrap();
        }
        len
    }

    /// How many bytes were written.
    pub(crate) fn written(&self) -> u64 {
        self.state.borrow().written.iter().map(|(start, end)| end - start).sum()
    }

    fn put(&self, dst: u64, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let end = dst + bytes.len() as u64;
        assert!(!bytes.is_empty() && end <= state.len.expect("a length comes first"), "{dst}..{end}");
        let before = state.written.range(..end).next_back().map_or(0, |(_, &end)| end);
        assert!(before <= dst, "{dst}..{end} was written before");
        state.written.insert(dst, end);
        self.file.write_all_at(bytes, dst).unwrap();
    }
}

impl StepSink for Sink<'_> {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        match step {
            Step::SetLen { file: OUTPUT, len } => {
                let mut state = self.state.borrow_mut();
                // The bound of a large sparse disk is more than a file system takes.
                if self.device && state.len.is_none() {
                    self.file.write_all_at(&vec![STALE; usize::try_from(len).unwrap() + 12345], 0).unwrap();
                }
                let last = state.written.last_key_value().map_or(0, |(_, &end)| end);
                assert!(last <= len && state.len.is_none_or(|bound| len < bound));
                state.len = Some(len);
            }
            Step::Write { file: OUTPUT, dst, bytes } => self.put(dst, bytes),
            Step::Fill { file: OUTPUT, dst, len, source } => {
                let mut bytes = vec![0; usize::try_from(len).unwrap()];
                match source {
                    Source::Zero => {}
                    Source::Data { offset, .. } => self.input.read_exact_at(offset, &mut bytes)?,
                    Source::Compressed { unit, skip } => {
                        let whole = decompress(self.input, unit).unwrap();
                        bytes = whole[skip as usize..][..bytes.len()].to_vec();
                    }
                    Source::Unallocated => panic!("nothing to fill with"),
                }
                self.put(dst, &bytes);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}
