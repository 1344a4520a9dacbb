//! Compressed data: what a guest may have decompressed, what comes of it, and decoders that have gone bad.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::os::unix::fs::MetadataExt;

use guest_abi::decode::{BROKEN, LENS_AT, PLAIN_AT};
use guest_abi::exchange::{
    CODEC_DEFLATE, CODEC_ZLIB, DECODE, GO_ON, Head, MAX_PACKED_LEN, MAX_UNIT_LEN, PANICKED,
};
use guest_abi::layout::EXCHANGE_LEN;
use guest_ops::decode::Decoder;
use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};

use vm_memory::{MmapRegion, VolatileMemory};

use super::super::check::{Ledger, check};
use super::*;
use crate::error::ImageFailure;
use crate::exec::OperationFault as Fault;
use crate::files::Role;
use crate::sandbox::GuestFault;

/// What an honest decoder does before it rings: it may be changed by one that is not.
type Tamper = fn(&mut [u8]);

/// Decoders in this process.
struct Decoders {
    tamper: Tamper,
    starts_when_confined: bool,
    started: AtomicUsize,
}

impl Decoders {
    fn honest() -> Self {
        Self::with(|_| {})
    }

    fn with(tamper: Tamper) -> Self {
        Self { tamper, starts_when_confined: true, started: AtomicUsize::new(0) }
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }
}

impl DecoderSource for Decoders {
    fn start(&self) -> Result<Box<dyn Sandbox>, Error> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let exchange = MmapRegion::new(usize::try_from(EXCHANGE_LEN).unwrap()).unwrap();
        Ok(Box::new(Native { exchange, decoder: Decoder::default(), tamper: self.tamper }))
    }

    fn starts_when_confined(&self) -> bool {
        self.starts_when_confined
    }
}

/// A decoder without a wall around it.
struct Native {
    exchange: MmapRegion,
    decoder: Decoder,
    tamper: Tamper,
}

impl Sandbox for Native {
    fn run(&mut self) -> Result<(), GuestFault> {
        let mut exchange = vec![0; self.exchange.len()];
        self.exchange().copy_to(&mut exchange);
        let count = self.decoder.batch(&mut exchange);
        put_head(&mut exchange, Head { state: GO_ON, count, ..Head::default() });
        (self.tamper)(&mut exchange);
        self.exchange().copy_from(&exchange);
        Ok(())
    }

    fn exchange(&self) -> VolatileSlice<'_> {
        self.exchange.as_volatile_slice()
    }
}

fn put_head(exchange: &mut [u8], head: Head) {
    exchange[..size_of::<Head>()].copy_from_slice(head.as_bytes());
}

/// An image of compressed units, one behind the other, and what they become.
struct Packed {
    file: Vec<u8>,
    plain: Vec<u8>,
    units: Vec<Record>,
}

impl Packed {
    /// `count` units of `unit_len` bytes, from file 0 to the same place of file 1.
    fn new(count: usize, unit_len: usize) -> Self {
        let mut packed = Self { file: Vec::new(), plain: Vec::new(), units: Vec::new() };
        for n in 0..count {
            let plain = pattern(unit_len / 2, n as u64).repeat(2);
            let bytes = compress_to_vec(&plain, 1);
            packed.units.push(Record {
                op: DECODE,
                file: 1,
                codec: CODEC_DEFLATE,
                dst: packed.plain.len() as u64,
                src: packed.file.len() as u64,
                len: unit_len as u64,
                packed_len: u32::try_from(bytes.len()).unwrap(),
                unit_len: u32::try_from(unit_len).unwrap(),
                ..Record::default()
            });
            packed.file.extend(bytes);
            packed.plain.extend(plain);
        }
        packed
    }

    /// The ring that has all of it decompressed.
    fn ring(&self) -> Vec<Record> {
        let mut ring = vec![EXPECTED, set_len(1, self.plain.len() as u64)];
        ring.extend(&self.units);
        ring
    }

    fn fixture(&self) -> Fixture {
        Fixture::new().input("in", &self.file).output("out")
    }
}

fn carry_out(fixture: &mut Fixture, decoders: &Decoders, ring: &[Record]) -> Result<(), ExecError> {
    fixture.run_with(decoders, NO_LIMITS, |executor, window| executor.carry_out(ring, &window.slice()))
}

#[test]
fn units_become_what_they_were() {
    // A few; more than one batch; more than a worker's; the largest; and some that are smaller than a sector.
    for (count, unit_len) in [(3, 1 << 16), (40, 1 << 16), (100, 1 << 16), (5, 2 << 20), (1500, 200)] {
        let packed = Packed::new(count, unit_len);
        let (mut fixture, decoders) = (packed.fixture(), Decoders::honest());
        carry_out(&mut fixture, &decoders, &packed.ring()).unwrap();
        assert!(fixture.content("out") == packed.plain, "{count} units of {unit_len}");
        let much = count * unit_len >= 4 << 20;
        assert_eq!(decoders.started(), if much { 2 } else { 1 });
    }
}

#[test]
fn units_lie_between_other_data_and_in_any_order() {
    let packed = Packed::new(120, 1 << 16);
    let mut ring = packed.ring();
    ring[2..].reverse();
    let end = packed.plain.len() as u64;
    ring[1].len = end + 100;
    ring.insert(30, zero(1, end, 50));
    ring.insert(60, copy(0, 7, 1, end + 50, 50));
    let mut fixture = packed.fixture();
    carry_out(&mut fixture, &Decoders::honest(), &ring).unwrap();
    let expected = [&packed.plain[..], &[0; 50], &packed.file[7..57]].concat();
    assert!(fixture.content("out") == expected);
}

#[test]
fn parts_of_a_unit_go_where_they_are_wanted() {
    let packed = Packed::new(1, 1000);
    let part = |skip, len, dst| Record { skip, len, dst, ..packed.units[0] };
    let ring = [EXPECTED, set_len(1, 40), part(10, 5, 0), part(15, 5, 5), part(990, 10, 30), part(0, 1, 20)];
    let mut fixture = packed.fixture();
    carry_out(&mut fixture, &Decoders::honest(), &ring).unwrap();
    let plain = &packed.plain;
    let expected = [&plain[10..20], &[0; 10], &plain[..1], &[0; 9], &plain[990..]].concat();
    assert_eq!(fixture.content("out"), expected);
}

#[test]
fn units_become_holes_where_they_are_zeros() {
    let plain = [pattern(4096, 1), vec![0; 57_344], pattern(4096, 2)].concat();
    let bytes = compress_to_vec(&plain, 6);
    let unit = Record { packed_len: u32::try_from(bytes.len()).unwrap(), ..Packed::new(1, 1 << 16).units[0] };
    let options =
        OutputOptions { holes: NonZeroU32::new(4096), reserve: Reserve::Never, ..OutputOptions::default() };
    let mut fixture = Fixture::new().input("in", &bytes).output_with("out", options);
    carry_out(&mut fixture, &Decoders::honest(), &[EXPECTED, set_len(1, 1 << 16), unit]).unwrap();
    assert!(fixture.content("out") == plain);
    assert_eq!(fs::metadata(fixture.path("out")).unwrap().blocks() * 512, 8192);
}

#[test]
fn units_go_by_the_stage() {
    let packed = Packed::new(100, 1 << 16);
    let len = packed.plain.len() as u64;
    let mut fixture = packed.fixture().stage(len);
    let mut ring = packed.ring();
    ring.iter_mut().filter(|record| record.op == DECODE).for_each(|record| record.file = 2);
    fixture.run_with(&Decoders::honest(), NO_LIMITS, |executor, window| {
        executor.carry_out(&ring, &window.slice()).unwrap();
        executor.carry_out(&[copy(2, 0, 1, 0, len)], &window.slice()).unwrap();
        let record = Record { src_file: 2, ..packed.units[0] };
        let refused = executor.carry_out(&[record], &window.slice()).unwrap_err();
        assert!(matches!(refused, ExecError::Refused { fault: Fault::NotAnInput(2), .. }), "{refused}");
    });
    assert!(fixture.content("out") == packed.plain);
}

#[test]
fn decoders_are_ready_before_the_process_is_confined() {
    for (count, ready) in [(3, 1), (40, 2)] {
        let packed = Packed::new(count, 1 << 16);
        let (mut fixture, mut decoders) = (packed.fixture(), Decoders::honest());
        decoders.starts_when_confined = false;
        fixture.run_with(&decoders, NO_LIMITS, |executor, window| {
            executor.carry_out(&[EXPECTED], &window.slice()).unwrap();
            assert_eq!(decoders.started(), ready);
            executor.carry_out(&packed.ring(), &window.slice()).unwrap();
        });
        assert_eq!(decoders.started(), ready, "no more than were ready");
        assert!(fixture.content("out") == packed.plain);
    }
}

#[test]
fn no_decoder_is_started_in_vain() {
    let (mut fixture, decoders) = (Fixture::new().input("in", b"data").output("out"), Decoders::honest());
    carry_out(&mut fixture, &decoders, &[EXPECTED, set_len(1, 4), copy(0, 0, 1, 0, 4)]).unwrap();
    assert_eq!(decoders.started(), 0);
}

#[track_caller]
fn assert_broken(error: ExecError, fixture: &Fixture, at: u64, what: &str) {
    let ExecError::Decoding(error) = error else { panic!("{error:?}") };
    let Error::Image(ImageFailure { file, is_input: true, at: found, what: said, .. }) = *error else {
        panic!("{error:?}")
    };
    assert_eq!((file, found, said.as_str()), (fixture.path("in"), at, what));
}

#[test]
fn a_unit_that_cannot_be_decompressed_is_named() {
    for count in [3, 100] {
        let mut packed = Packed::new(count, 1 << 16);
        let broken = packed.units[count / 2].src;
        // A block of the type that is reserved.
        packed.file[usize::try_from(broken).unwrap()] = 0xff;
        let mut fixture = packed.fixture();
        let error = carry_out(&mut fixture, &Decoders::honest(), &packed.ring()).unwrap_err();
        assert_broken(error, &fixture, broken, "a compressed cluster cannot be decompressed");
    }
}

#[test]
fn a_unit_that_is_shorter_than_what_is_wanted_of_it_is_named() {
    let file = compress_to_vec_zlib(&[7; 500], 1);
    let unit = Record {
        op: DECODE,
        file: 1,
        codec: CODEC_ZLIB,
        packed_len: u32::try_from(file.len()).unwrap(),
        unit_len: 1000,
        ..Record::default()
    };
    let mut ring = [EXPECTED, set_len(1, 1000), Record { len: 500, ..unit }];
    let mut fixture = Fixture::new().input("in", &file).output("out");
    carry_out(&mut fixture, &Decoders::honest(), &ring).unwrap();
    assert_eq!(fixture.content("out")[..500], [7; 500]);

    ring[2].len = 501;
    let mut fixture = Fixture::new().input("in", &file).output("out");
    let error = carry_out(&mut fixture, &Decoders::honest(), &ring).unwrap_err();
    assert_broken(error, &fixture, 0, "a compressed cluster is shorter than what is in it");
}

/// The decoder's fault, and what was written before it was noticed.
fn fault_of(tamper: Tamper) -> GuestFault {
    let packed = Packed::new(3, 1 << 16);
    let mut fixture = packed.fixture();
    let error = carry_out(&mut fixture, &Decoders::with(tamper), &packed.ring()).unwrap_err();
    assert!(fixture.content("out").iter().all(|&byte| byte == 0), "nothing was written");
    match error {
        ExecError::Decoding(error) => match *error {
            Error::Guest(fault) => fault,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn decoders_that_lie_are_not_believed() {
    assert_eq!(fault_of(|e| put_head(e, Head::default())), GuestFault::Nonsense("an unknown state"));
    let lie = |claimed| GuestFault::Lie { what: "units", claimed, counted: 3 };
    assert_eq!(fault_of(|e| put_head(e, Head { state: GO_ON, count: 2, ..Head::default() })), lie(2));
    let most = fault_of(|e| put_head(e, Head { state: GO_ON, count: u32::MAX, ..Head::default() }));
    assert_eq!(most, lie(u32::MAX.into()));
    let panicked = fault_of(|e| put_head(e, Head { state: PANICKED, text_len: 0, ..Head::default() }));
    assert_eq!(panicked, GuestFault::Panicked(String::new()));
    let too_long = fault_of(|e| {
        e[usize::try_from(LENS_AT).unwrap() + 4..][..4].copy_from_slice(&65_537u32.to_le_bytes());
    });
    assert_eq!(too_long, GuestFault::Nonsense("a unit that is longer than it can be"));
}

#[test]
fn what_a_decoder_calls_broken_is_the_images_fault() {
    let packed = Packed::new(3, 1 << 16);
    let mut fixture = packed.fixture();
    let decoders = Decoders::with(|exchange| {
        exchange[usize::try_from(LENS_AT).unwrap()..][..4].copy_from_slice(&BROKEN.to_le_bytes());
    });
    let error = carry_out(&mut fixture, &decoders, &packed.ring()).unwrap_err();
    assert_broken(error, &fixture, 0, "a compressed cluster cannot be decompressed");
}

#[test]
fn the_bytes_of_a_decoder_are_taken_as_they_are() {
    let packed = Packed::new(1, 1000);
    let mut fixture = packed.fixture();
    let decoders = Decoders::with(|exchange| exchange[usize::try_from(PLAIN_AT).unwrap()..][..1000].fill(9));
    carry_out(&mut fixture, &decoders, &packed.ring()).unwrap();
    assert_eq!(fixture.content("out"), [9; 1000]);
}

/// File 0 is an input of 1000 bytes, 1 an output of 5000.
fn fault(record: Record) -> Fault {
    let roles = [Role::Input { len: 1000 }, Role::Output { further: 0 }];
    let limits = Limits { output_len: 5000, written: 5000, read: 1500, operations: 9, ..NO_LIMITS };
    match check(&[EXPECTED, set_len(1, 5000), record], &roles, &limits, &Ledger::default()) {
        Err(ExecError::Refused { number: 3, fault }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn units_are_held_to_what_is_allowed() {
    let good = Record {
        op: DECODE,
        file: 1,
        codec: CODEC_DEFLATE,
        packed_len: 1000,
        unit_len: 4096,
        skip: 96,
        len: 4000,
        dst: 1000,
        ..Record::default()
    };
    assert!(matches!(fault(Record { dst: 1001, ..good }), Fault::OutsideOutput { .. }), "only just outside");
    for codec in [0, 4, u32::MAX] {
        assert_eq!(fault(Record { codec, ..good }), Fault::UnknownCodec(codec));
    }
    assert!(matches!(fault(Record { src: 1, ..good }), Fault::OutsideInput { .. }));
    assert!(matches!(fault(Record { src: u64::MAX, ..good }), Fault::OutsideInput { .. }));
    assert_eq!(fault(Record { packed_len: 0, ..good }), Fault::Empty);
    assert_eq!(fault(Record { len: 0, ..good }), Fault::Empty);
    let too_large = |packed_len, unit_len| fault(Record { packed_len, unit_len, ..good });
    assert!(matches!(too_large(MAX_PACKED_LEN + 1, 4096), Fault::UnitTooLarge { .. }));
    assert!(matches!(too_large(1000, MAX_UNIT_LEN + 1), Fault::UnitTooLarge { .. }));
    assert!(matches!(fault(Record { skip: 97, ..good }), Fault::OutsideUnit { .. }));
    assert!(matches!(fault(Record { skip: u32::MAX, len: u64::MAX, ..good }), Fault::OutsideUnit { .. }));
    assert_eq!(fault(Record { reserved: 1, ..good }), Fault::UnusedField { field: "reserved", value: 1 });
    assert_eq!(fault(Record { file: 0, ..good }), Fault::NotAnOutput(0));
    assert_eq!(fault(Record { src_file: 1, ..good }), Fault::NotAnInput(1));
}

#[test]
fn the_first_that_is_not_expected_is_refused() {
    let roles = [Role::Input { len: 1000 }, Role::Output { further: 0 }];
    let decode =
        Record { op: DECODE, file: 1, codec: 1, packed_len: 9, unit_len: 9, len: 9, ..Record::default() };
    let refused = |records: &[Record]| match check(records, &roles, &NO_LIMITS, &Ledger::default()) {
        Err(ExecError::Refused { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[set_len(1, 9), decode]), Fault::NotExpected);
    assert_eq!(refused(&[set_len(1, 9), EXPECTED]), Fault::ExpectedTooLate);
    assert_eq!(refused(&[EXPECTED, decode]), Fault::NotSized(1));
    let unused = Record { len: 1, ..EXPECTED };
    assert_eq!(refused(&[unused]), Fault::UnusedField { field: "len", value: 1 });
}

#[test]
fn what_is_decompressed_is_counted() {
    let roles = [Role::Input { len: 1000 }, Role::Output { further: 0 }];
    let limits = Limits { output_len: 100, written: 100, read: 50, operations: 9, ..NO_LIMITS };
    let decode =
        Record { op: DECODE, file: 1, codec: 1, packed_len: 20, unit_len: 99, len: 30, ..Record::default() };
    let ring = |unit, count| [vec![EXPECTED, set_len(1, 100)], vec![unit; count]].concat();
    let refused = |ring: &[Record]| check(ring, &roles, &limits, &Ledger::default()).unwrap_err().to_string();
    let (_, ledger) = check(&ring(decode, 2), &roles, &limits, &Ledger::default()).unwrap();
    assert_eq!((ledger.read, ledger.written), (40, 60));
    assert_eq!(
        refused(&ring(decode, 3)),
        "operation 5 of the guest: more than the 50 bytes allowed would be read"
    );
    let small = Record { packed_len: 1, ..decode };
    assert_eq!(
        refused(&ring(small, 4)),
        "operation 6 of the guest: more than the 100 bytes allowed would be written"
    );
}
