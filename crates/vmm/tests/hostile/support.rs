//! Tiny guests, in machine code, and the files that they must not harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "lengths of a few bytes")]

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_abi::exchange::{
    CODEC_DEFLATE, COPY, DECODE, EXPECT, Head, RECORDS_AT, REPORT_AT, Record, SET_LEN, WRITE, ZERO,
};
use guest_abi::layout::{DOORBELL_ADDR, EXCHANGE_ADDR, IMAGE_ADDR};
use tempfile::TempDir;
use vmm::image::{Access, Segment};
use vmm::{Choice, Conduct, Failed, Files, GuestImage, Job, Limits, Observer, Sandboxes};
use zerocopy::{Immutable, IntoBytes};

/// The length in bytes of the input that every guest is given as file 0. File 1 is an output that is there already.
pub(crate) const INPUT_LEN: u64 = 8192;

/// What guests may ask for here.
pub(crate) const LIMITS: Limits =
    Limits { output_len: 16384, written: 16384, read: 4096, scanned: 4096, packed: 4096, operations: 8 };

/// The length in bytes of the unit that decoders are given.
pub(crate) const UNIT_LEN: u32 = 4096;

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

    /// Rings the doorbell: `mov eax, RING_ADDR; call rax`. What is there is the sandbox's own: see [`ring`].
    pub(crate) fn ring(self) -> Self {
        let addr = u32::try_from(RING_ADDR).unwrap().to_le_bytes();
        self.then(&[0xb8]).then(&addr).then(&[0xff, 0xd0])
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
    let written = records
        .iter()
        .filter(|record| matches!(record.op, COPY | ZERO | WRITE | DECODE))
        .map(|record| record.len);
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
    sandbox: Choice,
    dir: TempDir,
    input: Vec<u8>,
    /// The names of the other files.
    others: Vec<String>,
}

impl Scene {
    /// Makes one, for guests in `sandbox`.
    pub(crate) fn new(sandbox: Choice) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input: Vec<u8> = (0..INPUT_LEN).map(|at| (at % 251) as u8).collect();
        fs::write(dir.path().join("input"), &input).unwrap();
        fs::write(dir.path().join("output"), PRECIOUS).unwrap();
        Self { sandbox, dir, input, others: Vec::new() }
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.dir.path().join("input")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("output")
    }

    /// Runs a guest of this code on the files. Its report has eight bytes.
    pub(crate) fn run(&self, code: &Code) -> Result<u64, Failed> {
        self.run_within(code, LIMITS)
    }

    /// Runs a guest of this code, which may do no more than `limits`. A decoder would fail at once.
    pub(crate) fn run_within(&self, code: &Code, limits: Limits) -> Result<u64, Failed> {
        self.run_with(code, &Code::new(), limits)
    }

    /// Runs a guest that has file 0 decompressed, as one unit of [`UNIT_LEN`] bytes, into file 1, by a decoder of this code.
    pub(crate) fn decode(&self, decoder: &Code) -> Result<u64, Failed> {
        let decode = Record {
            op: DECODE,
            file: 1,
            codec: CODEC_DEFLATE,
            packed_len: u32::try_from(INPUT_LEN).unwrap(),
            unit_len: UNIT_LEN,
            len: UNIT_LEN.into(),
            ..Record::default()
        };
        let expect = Record { op: EXPECT, ..Record::default() };
        let set_len = Record { op: SET_LEN, file: 1, len: UNIT_LEN.into(), ..Record::default() };
        let guest = Code::new().finish(&[0; 8], &[expect, set_len, decode]);
        self.run_with(&guest, decoder, Limits { read: INPUT_LEN, ..LIMITS })
    }

    fn run_with(&self, code: &Code, decoder: &Code, limits: Limits) -> Result<u64, Failed> {
        let mut files = Files::new();
        files.add_input(&self.input()).unwrap();
        files.add_output(&self.output()).unwrap();
        let (code, decoder) = (padded(code, self.sandbox), padded(decoder, self.sandbox));
        let job = Job {
            image: &image(&code),
            decoder: &image(&decoder),
            request: &[],
            sandboxes: &Sandboxes::new(self.sandbox, |error| panic!("{error}")),
            limits,
            conduct: Conduct::default(),
            guest_time: GUEST_TIME,
            confine: || Ok(()),
            interrupted: Arc::default(),
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

/// A guest of this code, which is [`padded`], with constants that it cannot write, on the page after the next.
pub(crate) fn image(code: &[u8]) -> GuestImage<'_> {
    let code = Segment { addr: IMAGE_ADDR, len: CODE_LEN, bytes: code, access: Access::ReadExecute };
    let constants = Segment { addr: CONSTANTS_ADDR, len: 4096, bytes: &[0x0f, 0x0b], access: Access::Read };
    GuestImage { entry: IMAGE_ADDR, segments: vec![code, constants] }
}

/// The code, filled up with zeros, and behind it the doorbell of `sandbox`.
pub(crate) fn padded(code: &Code, sandbox: Choice) -> Vec<u8> {
    let mut bytes = code.0.clone();
    assert!(IMAGE_ADDR + bytes.len() as u64 <= RING_ADDR, "the code is too long");
    bytes.resize((RING_ADDR - IMAGE_ADDR) as usize, 0);
    bytes.extend(ring(sandbox));
    bytes
}

/// A function that rings the doorbell of `sandbox`.
fn ring(sandbox: Choice) -> Vec<u8> {
    match sandbox {
        Choice::Process => [
            &PUSH_BYTE[..],
            // mov edx, 1; mov edi, RING_FD; mov eax, 1 (write); syscall
            &[0xba, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05],
            // xor edi, edi (ANSWER_FD); xor eax, eax (read); syscall; pop rax; ret
            &[0x31, 0xff, 0x31, 0xc0, 0x0f, 0x05, 0x58, 0xc3],
        ]
        .concat(),
        _ => Code::new().store(DOORBELL_ADDR, [0; 4]).then(&[0xc3]).0,
    }
}

/// A byte on the stack, and where it is: `push 0; mov rsi, rsp`
pub(crate) const PUSH_BYTE: [u8; 5] = [0x6a, 0, 0x48, 0x89, 0xe6];

/// The length of a guest's code in bytes.
const CODE_LEN: u64 = 8192;

/// Where a guest finds [`ring`].
const RING_ADDR: u64 = IMAGE_ADDR + CODE_LEN - 64;

/// Where the constants of an [`image`] are. They would be an instruction, if they could be executed.
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

/// Runs a test in every sandbox. KVM must be there where `CI` is set; otherwise the test says that it was skipped.
pub(crate) fn everywhere(test: impl Fn(Choice)) {
    if Path::new("/dev/kvm").exists() {
        test(Choice::Kvm);
    } else {
        assert!(std::env::var_os("CI").is_none(), "/dev/kvm is required in CI");
        eprintln!("SKIPPED: there is no /dev/kvm, so no guest was run in a virtual machine");
    }
    test(Choice::Process);
}
