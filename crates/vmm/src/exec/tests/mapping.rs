//! What a worker does that maps files in memory.

use core::num::NonZeroU32;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::super::mover::{Buffers, Mover, Stores};
use super::super::operation::{Source, Write};
use super::super::pieces::{PIECE_LEN, Piece};
use super::*;
use crate::exec::Salvaged;
use crate::files::FileError;

const LEN: usize = 4 << 20;

/// Two files: an input, and an output that is in memory.
struct Pair {
    fixture: Fixture,
    /// The output, beside the executor.
    memory: File,
}

impl Pair {
    fn new(content: &[u8], options: OutputOptions) -> Self {
        let memory = File::from(memfd_create(c"out", MFdFlags::MFD_CLOEXEC).unwrap());
        let mut fixture = Fixture::new().input("in", content);
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        fixture.files.add_output_with(path.as_ref(), options).unwrap();
        fixture.files.size_output(FileId(1), LEN as u64).unwrap();
        Self { fixture, memory }
    }

    fn dense(content: &[u8]) -> Self {
        Self::new(content, OutputOptions::default())
    }

    fn content(&self) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(self.memory.metadata().unwrap().len()).unwrap()];
        self.memory.read_exact_at(&mut content, 0).unwrap();
        content
    }

    /// Copies as a worker does that maps.
    fn copy(&self, src: u64, dst: u64, len: u64, conduct: &Conduct) -> Result<(), ExecError> {
        let (interrupted, written) = (AtomicBool::new(false), AtomicU64::new(0));
        let shift = Shift::new(&interrupted, &written, None);
        let stores = Stores { files: &self.fixture.files, taken: &Taken::default(), conduct };
        let mut mover = Mover { buffers: &mut Buffers::new(), stores, shift: &shift, maps: true };
        let write = Write { from: Source::Input { file: FileId(0), at: src }, to: FileId(1), dst, len };
        let copied = mover.carry_out(Piece::Write(write)).map_err(|stopped| shift.error(stopped));
        assert!(copied.is_err() || shift.written() == len);
        copied
    }

    /// How many calls have written to files, of this thread.
    fn calls() -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let calls = io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
        calls.parse().unwrap()
    }
}

#[test]
fn bytes_arrive_without_being_written() {
    let content = pattern(LEN, 1);
    let pair = Pair::dense(&content);
    let before = Pair::calls();
    for (src, dst, len) in [(0, 0, LEN as u64), (1, 0, 1 << 20), (5, 4097, 3 << 20), (77, 4095, 2 << 20)] {
        pair.copy(src, dst, len, &Conduct::default()).unwrap();
        let [src, dst, len] = [src, dst, len].map(|at| usize::try_from(at).unwrap());
        assert!(pair.content()[dst..][..len] == content[src..][..len], "{len} bytes from {src} to {dst}");
    }
    assert_eq!(Pair::calls(), before);
    pair.copy(0, 0, 4096, &Conduct::default()).unwrap();
    assert_eq!(Pair::calls(), before + 1);
}

#[test]
fn what_is_beside_stays() {
    let pair = Pair::dense(&pattern(LEN, 2));
    pair.memory.write_all_at(&[7; LEN], 0).unwrap();
    pair.copy(0, 1000, 1 << 20, &Conduct::default()).unwrap();
    let content = pair.content();
    assert!(content[..1000].iter().chain(&content[1000 + (1 << 20)..]).all(|byte| *byte == 7));
}

#[test]
fn zeros_are_left_out() {
    let mut content = pattern(LEN, 3);
    content[1 << 20..3 << 20].fill(0);
    let options = OutputOptions { holes: NonZeroU32::new(4096), ..OutputOptions::default() };
    let pair = Pair::new(&content, options);
    let before = Pair::calls();
    pair.copy(0, 0, LEN as u64, &Conduct::default()).unwrap();
    assert_eq!(Pair::calls(), before);
    assert!(pair.content() == content);
    assert_eq!(pair.memory.metadata().unwrap().blocks() * 512, LEN as u64 / 2);
}

/// Somebody has made the file shorter: there is nothing any more where the mapping is. To write makes it long again.
#[test]
fn what_cannot_be_mapped_is_written() {
    let content = pattern(LEN, 4);
    let pair = Pair::dense(&content);
    for len in [0, 1 << 20, LEN as u64 - 4096] {
        pair.memory.set_len(len).unwrap();
        pair.copy(0, 0, LEN as u64, &Conduct::default()).unwrap();
        assert!(pair.content() == content, "{len} bytes");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_told_of() {
    let content = pattern(LEN, 5);
    let pair = Pair::dense(&content);
    let input = File::options().write(true).open(pair.fixture.path("in")).unwrap();
    input.set_len(3 << 20).unwrap();
    let failed = pair.copy(0, 0, LEN as u64, &Conduct::default());
    assert!(matches!(failed, Err(ExecError::File(FileError { offset: Some(0x30_0000), .. }))), "{failed:?}");

    let salvaged = Arc::new(Salvaged::default());
    let conduct = Conduct { salvaged: Some(Arc::clone(&salvaged)), ..Conduct::default() };
    pair.copy(0, 0, LEN as u64, &conduct).unwrap();
    assert_eq!(salvaged.bytes(), 1 << 20);
    assert!(pair.content()[..3 << 20] == content[..3 << 20]);
    assert!(pair.content()[3 << 20..].iter().all(|byte| *byte == 0));
}

/// Workers that write and workers that map share pages.
#[test]
fn several_workers_write_to_one_file() {
    let content = pattern(usize::try_from(20 * PIECE_LEN).unwrap(), 6);
    let pair = Pair::dense(&content);
    let Pair { mut fixture, memory } = pair;
    let len = content.len() as u64;
    let conduct = Conduct { workers: 4.try_into().unwrap(), ..Conduct::default() };
    fixture.run_as(conduct, &NoDecoders, NO_LIMITS, |executor, window| {
        let records = [set_len(1, len + 1), copy(0, 0, 1, 1, len)];
        executor.carry_out(&records, &window.slice()).unwrap();
    });
    let mut copied = vec![0; content.len()];
    memory.read_exact_at(&mut copied, 1).unwrap();
    assert!(copied == content);
}
