//! Tests of the executor, from the outside: records in, files out.

mod data;
mod decoding;
mod failures;
mod faults;
mod mapping;
mod merging;
mod names;
mod packing;
mod random;
mod scanning;
mod several;
mod sparse;

use core::sync::atomic::AtomicBool;
use std::fs;
use std::path::PathBuf;

use guest_abi::exchange::{
    CODEC_DEFLATE, COPY, CREATE, DATA_LEN, EXPECT, OPEN, PACK, READ, Record, SCAN, SET_LEN, WRITE, ZERO,
};
use tempfile::TempDir;
use vm_memory::VolatileSlice;

use super::*;
use crate::error::Error;
use crate::files::{OutputOptions, Reserve};
use crate::sandbox::Sandbox;

const NO_LIMITS: Limits = Limits {
    output_len: u64::MAX,
    written: u64::MAX,
    read: u64::MAX,
    scanned: u64::MAX,
    packed: u64::MAX,
    operations: u64::MAX,
};

fn read(file: u32, src: u64, dst: u64, len: u64) -> Record {
    Record { op: READ, file, src, dst, len, ..Record::default() }
}

fn set_len(file: u32, len: u64) -> Record {
    Record { op: SET_LEN, file, len, ..Record::default() }
}

fn copy(src_file: u32, src: u64, file: u32, dst: u64, len: u64) -> Record {
    Record { op: COPY, file, src_file, dst, src, len, ..Record::default() }
}

fn zero(file: u32, dst: u64, len: u64) -> Record {
    Record { op: ZERO, file, dst, len, ..Record::default() }
}

fn write(src: u64, file: u32, dst: u64, len: u64) -> Record {
    Record { op: WRITE, file, dst, src, len, ..Record::default() }
}

fn open(file: u32, src: u64, len: u64, dst: u64) -> Record {
    Record { op: OPEN, file, dst, src, len, ..Record::default() }
}

fn create(file: u32) -> Record {
    Record { op: CREATE, file, ..Record::default() }
}

const EXPECTED: Record = Record { op: EXPECT, ..Record::EMPTY };

/// Nobody who decompresses.
struct NoDecoders;

impl DecoderSource for NoDecoders {
    fn start(&self) -> Result<Box<dyn Sandbox>, Error> {
        panic!("a decoder is started");
    }

    fn starts_when_confined(&self) -> bool {
        true
    }
}

fn scan(file: u32, src: u64, len: u64, unit: u32, dst: u64) -> Record {
    Record { op: SCAN, file, unit_len: unit, src, dst, len, ..Record::default() }
}

fn pack(src_file: u32, src: u64, len: u64, file: u32, dst: u64, answer_at: u32) -> Record {
    let (codec, packed_len) = (CODEC_DEFLATE, answer_at);
    Record { op: PACK, file, src_file, codec, packed_len, dst, src, len, ..Record::default() }
}

/// An observer that is not interested.
struct Nobody;

impl Observer for Nobody {
    fn tick(&mut self, _written: u64, _planned: u64) {}
}

/// The files of one test.
struct Fixture {
    dir: TempDir,
    files: Files,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), files: Files::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn input(mut self, name: &str, content: &[u8]) -> Self {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        self.files.add_input(&path).unwrap();
        self
    }

    fn output(mut self, name: &str) -> Self {
        let path = self.path(name);
        self.files.add_output(&path).unwrap();
        self
    }

    fn output_with(mut self, name: &str, options: OutputOptions) -> Self {
        let path = self.path(name);
        self.files.add_output_with(&path, options).unwrap();
        self
    }

    /// The last output consists of `most` files more, which are called like it, with their numbers behind.
    fn series(mut self, most: u32) -> Self {
        let last = u32::try_from(self.files.boot_entries().len() - 1).unwrap();
        self.files
            .add_series(FileId(last), most, |name, number| [name, format!("-{number}").as_bytes()].concat());
        self
    }

    fn in_place(mut self, name: &str, content: &[u8]) -> Self {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        self.files.add_in_place(&path).unwrap();
        self
    }

    fn stage(mut self, len: u64) -> Self {
        self.files.add_stage(len).unwrap();
        self
    }

    fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Lets `play` play the guest.
    fn run<T>(&mut self, limits: Limits, play: impl FnOnce(&mut Executor<'_>, &mut Window) -> T) -> T {
        self.run_as(Conduct::default(), &NoDecoders, limits, play)
    }

    /// The same, with somebody who decompresses.
    fn run_with<T>(
        &mut self,
        decoders: &dyn DecoderSource,
        limits: Limits,
        play: impl FnOnce(&mut Executor<'_>, &mut Window) -> T,
    ) -> T {
        self.run_as(Conduct::default(), decoders, limits, play)
    }

    /// The same, of a command that is carried out in another way.
    fn run_as<T>(
        &mut self,
        conduct: Conduct,
        decoders: &dyn DecoderSource,
        limits: Limits,
        play: impl FnOnce(&mut Executor<'_>, &mut Window) -> T,
    ) -> T {
        self.run_confined(conduct, decoders, limits, || Ok(()), play)
    }

    /// The same, of a process that confines itself in this way.
    fn run_confined<T>(
        &mut self,
        conduct: Conduct,
        decoders: &dyn DecoderSource,
        limits: Limits,
        confine: fn() -> Result<(), ConfineError>,
        play: impl FnOnce(&mut Executor<'_>, &mut Window) -> T,
    ) -> T {
        let interrupted = AtomicBool::new(false);
        let files = core::mem::take(&mut self.files);
        let mut nobody = Nobody;
        let executor = Executor::new(files, limits, confine, &interrupted, &mut nobody, decoders);
        let mut executor = executor.with_conduct(conduct);
        play(&mut executor, &mut Window::new())
    }

    /// Plays a guest that rings once.
    fn ring(&mut self, records: &[Record]) -> Result<(), ExecError> {
        self.run(NO_LIMITS, |executor, window| {
            executor.carry_out(records, &window.slice())?;
            executor.finish()
        })
    }
}

/// The guest's data window.
struct Window(Vec<u8>);

impl Window {
    fn new() -> Self {
        Self(vec![0; usize::try_from(DATA_LEN).unwrap()])
    }

    fn slice(&mut self) -> VolatileSlice<'_> {
        VolatileSlice::from(self.0.as_mut_slice())
    }
}

/// Bytes that are different everywhere, so that none can be taken for its neighbour.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// The splitmix64 generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
