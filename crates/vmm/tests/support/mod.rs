//! Tiny guests, in machine code, and the files that they must not harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_abi::exchange::{Head, RECORDS_AT, REPORT_AT, Record};
use guest_abi::layout::{DOORBELL_ADDR, EXCHANGE_ADDR, IMAGE_ADDR};
use tempfile::TempDir;
use vmm::image::{Access, Segment};
use vmm::{Failed, Files, GuestImage, Job, Limits, Observer};
use zerocopy::{Immutable, IntoBytes};

/// The length in bytes of the input that every guest is given as file 0. File 1 is an output that is there already.
pub(crate) const INPUT_LEN: u64 = 8192;

/// What guests may ask for here.
pub(crate) const LIMITS: Limits = Limits { output_len: 16384, written: 16384, read: 4096, operations: 8 };

/// The processor time that a guest gets between two doorbells.
pub(crate) const GUEST_TIME: Duration = Duration::from_millis(200);

const PRECIOUS: &[u8] = b"what was in the output before";

/// A guest's code, written down instruction by instruction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    /// Begins with nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Some instructions.
    pub(crate) fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Puts `value` at byte `offset` of the exchange.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(self, offset: u64, value: &T) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let words = bytes.chunks_exact(4).zip((EXCHANGE_ADDR + offset..).step_by(4));
        words.fold(self, |code, (word, addr)| code.store(addr, word.try_into().unwrap()))
    }

    /// `mov dword ptr [addr], word`
    pub(crate) fn store(self, addr: u64, word: [u8; 4]) -> Self {
        let addr = u32::try_from(addr).unwrap().to_le_bytes();
        self.then(&[0xc7, 0x04, 0x25]).then(&addr).then(&word)
    }

    /// `mov eax, dword ptr [addr]`
    pub(crate) fn load(self, addr: u64) -> Self {
        let addr = u32::try_from(addr).unwrap().to_le_bytes();
        self.then(&[0x8b, 0x04, 0x25]).then(&addr)
    }

    /// Rings the doorbell.
    pub(crate) fn ring(self) -> Self {
        self.store(DOORBELL_ADDR, [0; 4])
    }

    /// Rings the doorbell with `head` and `records`.
    pub(crate) fn say(self, head: Head, records: &[Record]) -> Self {
        self.put(RECORDS_AT, records).put(0, &head).ring()
    }

    /// Asks for `records`, and means to go on. The totals are as they should be if nothing was asked before.
    pub(crate) fn ask(self, records: &[Record]) -> Self {
        self.say(head(guest_abi::exchange::GO_ON, records), records)
    }

    /// Ends with `report`, after `records`.
    pub(crate) fn finish(self, report: &[u8], records: &[Record]) -> Self {
        let report_len = u32::try_from(report.len()).unwrap();
        let head = Head { report_len, ..head(guest_abi::exchange::FINISHED, records) };
        self.put(REPORT_AT, report).say(head, records)
    }

    /// The instructions so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An honest head for `records`.
pub(crate) fn head(state: u32, records: &[Record]) -> Head {
    use guest_abi::exchange::{COPY, WRITE, ZERO};
    let written =
        records.iter().filter(|record| matches!(record.op, COPY | ZERO | WRITE)).map(|record| record.len);
    Head {
        state,
        count: u32::try_from(records.len()).unwrap(),
        total_operations: records.len() as u64,
        total_written: written.fold(0, u64::wrapping_add),
        ..Head::default()
    }
}

/// A directory with an input, and an output that is there already.
pub(crate) struct Scene {
    dir: TempDir,
    input: Vec<u8>,
    /// The names of the other files.
    others: Vec<String>,
}

impl Scene {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input: Vec<u8> = (0..INPUT_LEN).map(|at| (at % 251) as u8).collect();
        fs::write(dir.path().join("input"), &input).unwrap();
        fs::write(dir.path().join("output"), PRECIOUS).unwrap();
        Self { dir, input, others: Vec::new() }
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.dir.path().join("input")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("output")
    }

    /// Runs a guest of this code on the files. Its report has eight bytes.
    pub(crate) fn run(&self, code: &Code) -> Result<u64, Failed> {
        self.run_with(&segments(code))
    }

    /// Runs a guest of these segments.
    pub(crate) fn run_with(&self, segments: &[Segment<'_>]) -> Result<u64, Failed> {
        self.run_within(segments, LIMITS)
    }

    /// Runs a guest of these segments, which may do no more than `limits`.
    pub(crate) fn run_within(&self, segments: &[Segment<'_>], limits: Limits) -> Result<u64, Failed> {
        let mut files = Files::new();
        files.add_input(&self.input()).unwrap();
        files.add_output(&self.output()).unwrap();
        let image = GuestImage { entry: IMAGE_ADDR, segments: segments.to_vec() };
        let interrupted = Arc::new(AtomicBool::new(false));
        let job = Job {
            image: &image,
            request: &[],
            limits,
            guest_time: GUEST_TIME,
            confine: || Ok(()),
            interrupted,
        };
        job.run(files, &mut Silent)
    }

    /// Another file beside these, which an image might name.
    pub(crate) fn add(&mut self, name: &str) {
        fs::write(self.dir.path().join(name), name).unwrap();
        self.others.push(name.to_owned());
    }

    /// Asserts that nothing was harmed: the input is as it was, the output too, and there is nothing else.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self) {
        assert!(fs::read(self.input()).unwrap() == self.input, "the input was changed");
        assert_eq!(fs::read(self.output()).unwrap(), PRECIOUS, "the output was touched");
        let mut expected = self.others.clone();
        expected.extend(["input".to_owned(), "output".to_owned()]);
        expected.sort();
        assert_eq!(names(self.dir.path()), expected);
    }
}

/// The code, and constants that the guest cannot write, on the page after the next.
pub(crate) fn segments(code: &Code) -> [Segment<'_>; 2] {
    let segment = |addr, bytes: &'static [u8], access| Segment { addr, len: 4096, bytes, access };
    [
        Segment { bytes: code.bytes(), len: 8192, ..segment(IMAGE_ADDR, &[], Access::ReadExecute) },
        segment(CONSTANTS_ADDR, &[0x0f, 0x0b], Access::Read),
    ]
}

/// Where the constants of [`segments`] are. They would be an instruction, if they could be executed.
pub(crate) const CONSTANTS_ADDR: u64 = IMAGE_ADDR + 0x3000;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

/// Watches, and says nothing.
struct Silent;

impl Observer for Silent {
    fn tick(&mut self, _written: u64, _planned: u64) {}
}

/// Whether KVM is there: it must be where `CI` is set. Without it, the test says that it was skipped.
pub(crate) fn has_kvm() -> bool {
    let found = Path::new("/dev/kvm").exists();
    assert!(found || std::env::var_os("CI").is_none(), "/dev/kvm is required in CI");
    if !found {
        eprintln!("SKIPPED: there is no /dev/kvm, so no guest was run");
    }
    found
}
