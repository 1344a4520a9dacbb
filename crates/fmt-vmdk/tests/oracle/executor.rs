//! Plans, carried out.

use core::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fmt_core::{Error, FileId, Source, Step, StepSink};

/// The first output.
pub(crate) const OUT: FileId = FileId(1);

/// Carries steps out, and checks that they keep a plan's promises.
#[derive(Debug)]
pub(crate) struct Executor {
    data: Vec<u8>,
    /// What was compressed so far.
    staged: RefCell<Vec<u8>>,
    outputs: RefCell<Vec<Output>>,
}

#[derive(Debug)]
struct Output {
    file: File,
    /// Whether it is a device: it keeps its length and its old bytes.
    device: bool,
    written: Vec<(u64, u64)>,
    lens: Vec<u64>,
}

/// The file that compressed grains are in.
const STAGE: FileId = FileId(u32::MAX);

impl Executor {
    /// Writes into a new file. `data` is what extents with [`Source::Data`] are taken from.
    pub(crate) fn new(path: &Path, data: Vec<u8>) -> Self {
        let this = Self { data, staged: RefCell::default(), outputs: RefCell::default() };
        assert_eq!(this.add(path), OUT);
        this
    }

    /// Writes into something like a block device, full of old bytes.
    pub(crate) fn device(path: &Path, data: Vec<u8>, len: usize) -> Self {
        let mut this = Self::new(path, data);
        let output = &mut this.outputs.get_mut()[0];
        output.device = true;
        output.file.write_all_at(&vec![0xa5; len], 0).unwrap();
        this
    }

    /// Another new file.
    pub(crate) fn add(&self, path: &Path) -> FileId {
        let file = File::create_new(path).unwrap();
        let mut outputs = self.outputs.borrow_mut();
        outputs.push(Output { file, device: false, written: Vec::new(), lens: Vec::new() });
        FileId(u32::try_from(outputs.len()).unwrap())
    }

    /// Keeps `bytes` for a step that is to come.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Source {
        let mut staged = self.staged.borrow_mut();
        let offset = staged.len() as u64;
        staged.extend_from_slice(bytes);
        Source::Data { file: STAGE, offset }
    }

    /// The lengths that the first file was given, in order. Every step lay inside, and no two touched the same byte.
    pub(crate) fn finish(self) -> Vec<u64> {
        let mut outputs = self.outputs.into_inner();
        for Output { written, lens, .. } in &mut outputs {
            written.sort_unstable();
            for pair in written.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "written twice: {pair:?}");
            }
            let end = written.last().map_or(0, |&(_, end)| end);
            assert!(end <= *lens.last().unwrap(), "written beyond the end");
            assert!(lens.windows(2).all(|pair| pair[0] != pair[1]), "the same length twice");
        }
        outputs.swap_remove(0).lens
    }

    /// Whether no step has been taken.
    pub(crate) fn is_untouched(&self) -> bool {
        self.outputs.borrow().iter().all(|output| output.lens.is_empty() && output.written.is_empty())
    }
}

impl StepSink for Executor {
    fn step(&self, step: Step<'_>) -> Result<(), Error> {
        let (Step::SetLen { file, .. } | Step::Write { file, .. } | Step::Fill { file, .. }) = step;
        let mut outputs = self.outputs.borrow_mut();
        let output = &mut outputs[file.0 as usize - 1];
        let (dst, len) = match step {
            Step::SetLen { len, .. } => {
                output.lens.push(len);
                if !output.device {
                    output.file.set_len(len).unwrap();
                }
                return Ok(());
            }
            Step::Write { dst, bytes, .. } => {
                output.file.write_all_at(bytes, dst).unwrap();
                (dst, bytes.len() as u64)
            }
            Step::Fill { dst, len, source, .. } => {
                let place = |offset: u64| {
                    let start = usize::try_from(offset).unwrap();
                    start..start + usize::try_from(len).unwrap()
                };
                let put = |bytes: &[u8]| output.file.write_all_at(bytes, dst).unwrap();
                match source {
                    Source::Data { file: STAGE, offset } => put(&self.staged.borrow()[place(offset)]),
                    Source::Data { offset, .. } => put(&self.data[place(offset)]),
                    Source::Zero if output.device => put(&vec![0; usize::try_from(len).unwrap()]),
                    // A new file has zeros already.
                    Source::Zero => {}
                    other => panic!("{other:?}"),
                }
                (dst, len)
            }
        };
        assert!(len > 0, "an empty step");
        assert!(dst + len <= *output.lens.last().unwrap(), "a step beyond the file's length");
        output.written.push((dst, dst + len));
        Ok(())
    }
}
