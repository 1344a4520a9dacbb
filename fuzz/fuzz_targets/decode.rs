//! Decompression of any bytes.
//!
//! An input is two [`Unit`]s, then the bytes that both are taken from.

#![no_main]

use fmt_core::testing::{INPUT, OUTPUT};
use fmt_core::{Codec, Compressed, Error, Source, Step, StepSink};
use guest_ops::decode::Decoder;
use guest_ops::testing::{Input, MemoryHost};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

/// A compressed piece of the input, little-endian.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Unit {
    offset: u16,
    len: u16,
    unit_len: u32,
    skip: u32,
    wanted: u32,
    codec: u32,
    unused: u32,
}

impl Unit {
    /// The step that writes it.
    fn step(&self, dst: u64) -> Step<'static> {
        let codec = [Codec::Deflate, Codec::Zlib, Codec::Zstd][self.codec as usize % 3];
        let (offset, len) = (self.offset.into(), self.len.into());
        let unit = Compressed { file: INPUT, offset, len, unit_len: self.unit_len, codec };
        let source = Source::Compressed { unit, skip: self.skip };
        Step::Fill { file: OUTPUT, dst, len: u64::from(self.wanted).max(1), source }
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(([first, second], bytes)) = <[Unit; 2]>::read_from_prefix(input) else { return };
    let (both, alone) = (host(bytes), host(bytes));
    let decoder = Decoder::new(&both);
    let _ = decoder.step(first.step(0));
    let steps = both.steps().len();
    let after_another = decoder.step(second.step(1 << 32));
    assert_eq!(
        after_another,
        Decoder::new(&alone).step(second.step(1 << 32)),
        "it depends on what came before"
    );
    assert_eq!(both.steps()[steps..], alone.steps()[1..], "it depends on what came before");
    check_written(&alone, after_another, &second);
});

/// What could be decompressed has been written, all of it and nothing else.
fn check_written(host: &MemoryHost, outcome: Result<(), Error>, unit: &Unit) {
    let written = host.output(OUTPUT).expect("it has a length").written();
    assert_eq!(written, if outcome.is_ok() { u64::from(unit.wanted).max(1) } else { 0 });
}

fn host(bytes: &[u8]) -> MemoryHost {
    let host = MemoryHost::new().with_input(Input::new(bytes)).with_output(u64::MAX);
    host.step(Step::SetLen { file: OUTPUT, len: u64::MAX }).expect("a host in memory takes every step");
    host
}
