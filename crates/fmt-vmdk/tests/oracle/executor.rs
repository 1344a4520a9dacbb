//! Plans, carried out.

use core::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fmt_core::{Error, Source, Step, StepSink};

/// Carries steps out, and checks that they keep a plan's promises.
#[derive(Debug)]
pub(crate) struct Executor {
    file: File,
    data: Vec<u8>,
    /// Whether the output is a device: it keeps its length and its old bytes.
    device: bool,
    written: RefCell<Vec<(u64, u64)>>,
    lens: RefCell<Vec<u64>>,
}

impl Executor {
    /// Writes into a new file. `data` is what extents with [`Source::Data`] are taken from.
    pub(crate) fn new(path: &Path, data: Vec<u8>) -> Self {
        let file = File::create_new(path).unwrap();
        Self { file, data, device: false, written: RefCell::default(), lens: RefCell::default() }
    }

    /// Writes into something like a block device, full of old bytes.
    pub(crate) fn device(path: &Path, data: Vec<u8>, len: usize) -> Self {
        let this = Self { device: true, ..Self::new(path, data) };
        this.file.write_all_at(&vec![0xa5; len], 0).unwrap();
        this
    }

    /// The lengths that the file was given, in order. Every step lay inside, and no two touched the same byte.
    pub(crate) fn finish(self) -> Vec<u64> {
        let mut written = self.written.into_inner();
        written.sort_unstable();
        for pair in written.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "written twice: {pair:?}");
        }
        let lens = self.lens.into_inner();
        assert!(written.last().unwrap().1 <= *lens.last().unwrap(), "written beyond the end");
        lens
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    fn put(&self, dst: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, dst).unwrap();
    }
}

impl StepSink for Executor {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let (dst, len) = match step {
            Step::SetLen { len, .. } => {
                self.lens.borrow_mut().push(len);
                if !self.device {
                    self.file.set_len(len).unwrap();
                }
                return Ok(());
            }
            Step::Write { dst, bytes, .. } => {
                self.put(dst, bytes);
                (dst, bytes.len() as u64)
            }
            Step::Fill { dst, len, source, .. } => {
                match source {
                    Source::Data { offset, .. } => {
                        let data = &self.data[usize::try_from(offset).unwrap()..];
                        self.put(dst, &data[..usize::try_from(len).unwrap()]);
                    }
                    // A new file has zeros already.
                    Source::Zero if self.device => self.put(dst, &vec![0; usize::try_from(len).unwrap()]),
                    Source::Zero => {}
                    other => panic!("{other:?}"),
                }
                (dst, len)
            }
        };
        assert!(dst + len <= self.lens.borrow()[0], "a step beyond the file's length");
        self.written.borrow_mut().push((dst, dst + len));
        Ok(())
    }
}
