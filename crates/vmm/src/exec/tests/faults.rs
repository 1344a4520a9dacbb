//! Hostile records: each is refused, for its own reason, and nothing of its ring is done.

use guest_abi::exchange::{CODEC_ZLIB, DATA_LEN, DECODE, MAX_UNIT_LEN, NAME_LEN, pack_room};

use super::super::check::{Ledger, check};
use super::*;
use crate::exec::OperationFault as Fault;
use crate::files::Role;

/// Files 0 and 1 are inputs of 1000 and 2000 bytes, 2 and 3 outputs, the first of which may consist of two files more; 4 is
/// the stage, and 5 is written in place.
const ROLES: [Role; 6] = [
    Role::Input { len: 1000 },
    Role::Input { len: 2000 },
    Role::Output { further: 2 },
    Role::Output { further: 0 },
    Role::Stage { len: 3000 },
    Role::InPlace { len: 700 },
];

const LIMITS: Limits =
    Limits { output_len: 5000, written: 6000, read: 3000, scanned: 2500, packed: 2000, operations: 10 };

/// The number of the operation that is refused, and why.
fn refused(records: &[Record]) -> (u64, Fault) {
    match check(records, &ROLES, &LIMITS, &Ledger::default()) {
        Err(ExecError::Refused { number, fault }) => (number, fault),
        other => panic!("{other:?}"),
    }
}

/// Why the record is refused after output 2 has been given 4000 bytes, and output 3 none.
fn fault(record: Record) -> Fault {
    let (number, fault) = refused(&[set_len(2, 4000), set_len(3, 0), record]);
    assert_eq!(number, 3);
    fault
}

/// Why a name, or another output, is refused at first. Later, all are.
fn name_fault(record: Record) -> Fault {
    let (number, fault) = refused(&[record]);
    assert_eq!(number, 1);
    fault
}

#[test]
fn accepts_what_is_inside_everything() {
    let records = [
        open(0, DATA_LEN - NAME_LEN, NAME_LEN, DATA_LEN - 16),
        read(5, 0, 0, 0x100),
        set_len(2, 5000),
        set_len(3, 0),
        read(0, 0, 0, 1000),
        read(1, 1999, DATA_LEN - 1, 1),
        read(1, 0x101, 0, 0x6cf),
        copy(0, 0, 2, 4000, 1000),
        zero(2, 0, 4000),
        copy(1, 1000, 2, 0, 1000),
    ];
    let (operations, ledger) = check(&records, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    assert_eq!(operations.len(), 10);
    assert_eq!((ledger.operations, ledger.read, ledger.written), (10, 3000, 6000));
}

#[test]
fn unknown_operations() {
    for op in [0, 12, u32::MAX] {
        assert_eq!(fault(Record { op, ..Record::default() }), Fault::UnknownOperation(op));
    }
}

#[test]
fn unused_fields() {
    let cases = [
        ("reserved", Record { reserved: 7, ..read(0, 0, 0, 1) }),
        ("reserved", Record { reserved: 7, ..set_len(3, 1) }),
        ("reserved", Record { reserved: 7, ..copy(0, 0, 2, 0, 1) }),
        ("reserved", Record { reserved: 7, ..zero(2, 0, 1) }),
        ("codec", Record { codec: 7, ..read(0, 0, 0, 1) }),
        ("packed_len", Record { packed_len: 7, ..set_len(3, 1) }),
        ("unit_len", Record { unit_len: 7, ..copy(0, 0, 2, 0, 1) }),
        ("skip", Record { skip: 7, ..write(0, 2, 0, 1) }),
        ("reserved", Record { reserved: 7, ..scan(0, 0, 1, 512, 0) }),
        ("codec", Record { codec: 7, ..scan(0, 0, 1, 512, 0) }),
        ("packed_len", Record { packed_len: 7, ..scan(0, 0, 1, 512, 0) }),
        ("skip", Record { skip: 7, ..scan(0, 0, 1, 512, 0) }),
        ("reserved", Record { reserved: 7, ..pack(0, 0, 1, 4, 0, 0) }),
        ("unit_len", Record { unit_len: 7, ..pack(0, 0, 1, 4, 0, 0) }),
        ("skip", Record { skip: 7, ..pack(0, 0, 1, 4, 0, 0) }),
        ("src_file", Record { src_file: 7, ..read(0, 0, 0, 1) }),
        ("src_file", Record { src_file: 7, ..set_len(3, 1) }),
        ("dst", Record { dst: 7, ..set_len(3, 1) }),
        ("src", Record { src: 7, ..set_len(3, 1) }),
        ("src_file", Record { src_file: 7, ..zero(2, 0, 1) }),
        ("src", Record { src: 7, ..zero(2, 0, 1) }),
        ("reserved", Record { reserved: 7, ..write(0, 2, 0, 1) }),
        ("src_file", Record { src_file: 7, ..write(0, 2, 0, 1) }),
        ("reserved", Record { reserved: 7, ..open(0, 0, 1, 0) }),
        ("src_file", Record { src_file: 7, ..open(0, 0, 1, 0) }),
        ("reserved", Record { reserved: 7, ..create(2) }),
        ("skip", Record { skip: 7, ..create(2) }),
        ("codec", Record { codec: 7, ..create(2) }),
        ("packed_len", Record { packed_len: 7, ..create(2) }),
        ("unit_len", Record { unit_len: 7, ..create(2) }),
        ("src_file", Record { src_file: 7, ..create(2) }),
        ("dst", Record { dst: 7, ..create(2) }),
        ("src", Record { src: 7, ..create(2) }),
        ("len", Record { len: 7, ..create(2) }),
    ];
    for (field, record) in cases {
        assert_eq!(fault(record), Fault::UnusedField { field, value: 7 });
    }
}

#[test]
fn files_that_are_not_there() {
    for file in [6, u32::MAX] {
        assert_eq!(name_fault(create(file)), Fault::NoSuchFile(file));
        assert_eq!(fault(scan(file, 0, 1, 512, 0)), Fault::NoSuchFile(file));
        assert_eq!(fault(pack(file, 0, 1, 4, 0, 0)), Fault::NoSuchFile(file));
        assert_eq!(fault(pack(0, 0, 1, file, 0, 0)), Fault::NoSuchFile(file));
        assert_eq!(fault(read(file, 0, 0, 1)), Fault::NoSuchFile(file));
        assert_eq!(fault(set_len(file, 1)), Fault::NoSuchFile(file));
        assert_eq!(fault(zero(file, 0, 1)), Fault::NoSuchFile(file));
        assert_eq!(fault(write(0, file, 0, 1)), Fault::NoSuchFile(file));
        assert_eq!(name_fault(open(file, 0, 1, 0)), Fault::NoSuchFile(file));
        assert_eq!(fault(copy(file, 0, 2, 0, 1)), Fault::NoSuchFile(file));
        assert_eq!(fault(copy(0, 0, file, 0, 1)), Fault::NoSuchFile(file));
    }
}

#[test]
fn roles() {
    assert_eq!(fault(read(2, 0, 0, 1)), Fault::NotAnInput(2));
    assert_eq!(fault(copy(3, 0, 2, 0, 1)), Fault::NotAnInput(3));
    assert_eq!(name_fault(open(2, 0, 1, 0)), Fault::NotAnInput(2));
    assert_eq!(name_fault(open(4, 0, 1, 0)), Fault::NotAnInput(4));
    assert_eq!(name_fault(create(0)), Fault::NotAnOutput(0));
    assert_eq!(name_fault(create(4)), Fault::NotAnOutput(4));
    assert_eq!(fault(scan(2, 0, 1, 512, 0)), Fault::NotAnInput(2));
    assert_eq!(fault(pack(2, 0, 1, 4, 0, 0)), Fault::NotAnInput(2));
    assert_eq!(fault(pack(0, 0, 1, 2, 0, 0)), Fault::NotTheStage(2));
    assert_eq!(fault(pack(0, 0, 1, 1, 0, 0)), Fault::NotTheStage(1));
    assert_eq!(fault(Record { codec: 7, ..pack(0, 0, 1, 4, 0, 0) }), Fault::UnknownCodec(7));
    assert_eq!(fault(set_len(4, 3000)), Fault::NotAnOutput(4));
    assert_eq!(fault(set_len(0, 1)), Fault::NotAnOutput(0));
    assert_eq!(fault(zero(1, 0, 1)), Fault::NotAnOutput(1));
    assert_eq!(fault(write(0, 1, 0, 1)), Fault::NotAnOutput(1));
    assert_eq!(fault(copy(0, 0, 1, 0, 1)), Fault::NotAnOutput(1));
    assert_eq!(fault(copy(0, 0, 0, 0, 1)), Fault::OntoItself(0));
    assert_eq!(fault(copy(2, 0, 2, 0, 1)), Fault::OntoItself(2));
}

#[test]
fn nothing_at_all() {
    assert_eq!(fault(read(0, 0, 0, 0)), Fault::Empty);
    assert_eq!(fault(copy(0, 0, 2, 0, 0)), Fault::Empty);
    assert_eq!(fault(zero(2, 0, 0)), Fault::Empty);
    assert_eq!(fault(write(0, 2, 0, 0)), Fault::Empty);
    assert_eq!(name_fault(open(0, 0, 0, 0)), Fault::Empty);
}

#[test]
fn outside_the_input() {
    for (offset, len) in [(0, 1001), (999, 2), (1000, 1), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
    {
        let expected = Fault::OutsideInput { file: 0, offset, len, file_len: 1000 };
        assert_eq!(fault(read(0, offset, 0, len)), expected);
        assert_eq!(fault(copy(0, offset, 2, 0, len)), expected);
    }
}

#[test]
fn outside_the_window() {
    for offset in [DATA_LEN - 9, DATA_LEN, u64::MAX] {
        assert_eq!(fault(read(0, 0, offset, 10)), Fault::OutsideWindow { offset, len: 10 });
        assert_eq!(fault(write(offset, 2, 0, 10)), Fault::OutsideWindow { offset, len: 10 });
        assert_eq!(name_fault(open(0, offset, 10, 0)), Fault::OutsideWindow { offset, len: 10 });
        assert_eq!(name_fault(open(0, 0, 10, offset)), Fault::OutsideWindow { offset, len: 16 });
    }
    for len in [DATA_LEN + 1, u64::MAX] {
        assert_eq!(fault(write(0, 2, 0, len)), Fault::OutsideWindow { offset: 0, len });
        assert_eq!(name_fault(open(0, 0, len, 0)), Fault::OutsideWindow { offset: 0, len });
    }
    assert_eq!(name_fault(open(0, 0, NAME_LEN + 1, 0)), Fault::NameTooLong(NAME_LEN + 1));
}

/// By then the process may have given up opening anything.
#[test]
fn a_name_after_an_output() {
    assert_eq!(fault(open(0, 0, 10, 0)), Fault::NameTooLate);
}

#[test]
fn further_outputs() {
    // They are the files 6 and 7, and can be used at once.
    let lens = [2, 3, 6, 7].map(|file| set_len(file, 10));
    let records = [[create(2), create(2)].as_slice(), &lens, &[zero(7, 9, 1)]].concat();
    let (_, ledger) = check(&records, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    assert_eq!(ledger.output_lens.len(), 4);
    let outside = Fault::OutsideOutput { file: 7, offset: 10, len: 1, file_len: 10 };
    assert_eq!(refused(&[&records[..6], &[zero(7, 10, 1)]].concat()), (7, outside));

    // What an image names has a number of its own, and is not known yet.
    let named = [open(0, 0, 1, 0), create(2), set_len(7, 1)];
    check(&named, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    assert_eq!(refused(&[open(0, 0, 1, 0), create(2), set_len(6, 1)]), (3, Fault::NoSuchFile(6)));

    assert_eq!(refused(&[create(2), create(2), create(2)]), (3, Fault::NoFurther(2)));
    for file in [3, 5] {
        assert_eq!(name_fault(create(file)), Fault::NoFurther(file));
    }
    assert_eq!(refused(&[create(2), create(6)]), (2, Fault::NoFurther(6)));
    assert_eq!(refused(&[create(2), set_len(7, 1)]), (2, Fault::NoSuchFile(7)));
    assert_eq!(fault(create(2)), Fault::CreatedTooLate);
    assert_eq!(refused(&[set_len(2, 0), create(2)]), (2, Fault::CreatedTooLate));
}

/// Files can still be opened before that.
#[test]
fn nothing_is_written_before_all_outputs_have_a_length() {
    for record in [zero(2, 0, 1), copy(0, 0, 2, 0, 1), write(0, 2, 0, 1), zero(5, 0, 1), set_len(5, 700)] {
        assert_eq!(refused(&[set_len(2, 10), record]), (2, Fault::NotSized(3)));
        assert_eq!(refused(&[set_len(3, 10), record]), (2, Fault::NotSized(2)));
        let all = [create(2), set_len(2, 10), set_len(3, 10), record];
        assert_eq!(refused(&all), (4, Fault::NotSized(6)));
    }
    // The stage is nobody's file.
    check(&[zero(4, 0, 1), create(2)], &ROLES, &LIMITS, &Ledger::default()).unwrap();
}

/// What is written in place begins with the length that it has.
#[test]
fn in_place() {
    const ALONE: [Role; 2] = [Role::InPlace { len: 700 }, Role::Input { len: 1000 }];
    let refused = |records: &[Record]| match check(records, &ALONE, &LIMITS, &Ledger::default()) {
        Err(ExecError::Refused { number, fault }) => (number, fault),
        other => panic!("{other:?}"),
    };
    let records = [
        open(0, 0, 1, 0),
        EXPECTED,
        read(0, 0, 0, 700),
        zero(0, 0, 700),
        set_len(0, 5000),
        copy(1, 0, 0, 4000, 1000),
        read(0, 4000, 0, 1000),
        copy(0, 200, 0, 0, 200),
        Record {
            op: DECODE,
            codec: CODEC_ZLIB,
            src: 600,
            len: 9,
            packed_len: 50,
            unit_len: 9,
            ..read(0, 0, 0, 0)
        },
        set_len(0, 700),
    ];
    check(&records, &ALONE, &LIMITS, &Ledger::default()).unwrap();

    let unread = |offset, len, file_len| Fault::OutsideInput { file: 0, offset, len, file_len };
    let unwritten = |offset, len, file_len| Fault::OutsideOutput { file: 0, offset, len, file_len };
    assert_eq!(refused(&[read(0, 700, 0, 1)]), (1, unread(700, 1, 700)));
    assert_eq!(refused(&[read(0, u64::MAX, 0, 2)]), (1, unread(u64::MAX, 2, 700)));
    assert_eq!(refused(&[zero(0, 700, 1)]), (1, unwritten(700, 1, 700)));
    assert_eq!(refused(&[write(0, 0, 0, 701)]), (1, unwritten(0, 701, 700)));
    let grown = set_len(0, 800);
    assert_eq!(refused(&[grown, read(0, 0, 0, 801)]), (2, unread(0, 801, 800)));
    assert_eq!(refused(&[grown, zero(0, 1, 800)]), (2, unwritten(1, 800, 800)));
    assert_eq!(refused(&[grown, set_len(0, 750), zero(0, 750, 1)]), (3, unwritten(750, 1, 750)));
    assert_eq!(refused(&[set_len(0, 699)]), (1, Fault::TooShort { file: 0, len: 699, needed: 700 }));
    assert_eq!(refused(&[set_len(0, 5001)]), (1, Fault::TooLong { file: 0, len: 5001, allowed: 5000 }));

    // What was there can be moved, and nothing onto itself. It is not what is converted: that is looked through and compressed.
    assert_eq!(refused(&[grown, copy(0, 600, 0, 0, 101)]), (2, unread(600, 101, 700)));
    assert_eq!(refused(&[copy(0, 0, 0, 1, 2)]), (1, Fault::OntoItself(0)));
    assert_eq!(refused(&[copy(0, 3, 0, 0, 4)]), (1, Fault::OntoItself(0)));
    assert_eq!(fault(copy(2, 0, 2, 5, 1)), Fault::OntoItself(2));
    assert_eq!(refused(&[scan(0, 0, 1, 512, 0)]), (1, Fault::NotAnInput(0)));
    assert_eq!(fault(pack(5, 0, 1, 4, 0, 0)), Fault::NotAnInput(5));

    // From the first change on, no file is opened.
    for change in [zero(0, 0, 1), write(0, 0, 0, 1), copy(1, 0, 0, 0, 1), grown] {
        assert_eq!(refused(&[change, open(1, 0, 1, 0)]), (2, Fault::NameTooLate));
        assert_eq!(refused(&[change, EXPECTED]), (2, Fault::ExpectedTooLate));
    }
}

#[test]
fn scans() {
    for unit in [0, 1, 511, 513, u32::MAX] {
        assert_eq!(fault(scan(0, 0, 1, unit, 0)), Fault::ScanUnit(unit));
    }
    assert_eq!(
        fault(Record { src_file: 7, ..scan(0, 0, 1, 512, 0) }),
        Fault::UnusedField { field: "src_file", value: 7 }
    );
    assert_eq!(fault(scan(0, 0, 0, 512, 0)), Fault::Empty);
    assert_eq!(fault(scan(1, 0, 2000, 512, DATA_LEN)), Fault::OutsideWindow { offset: DATA_LEN, len: 1 });
    assert_eq!(
        refused(&[scan(1, 0, 2000, 512, 0), scan(0, 0, 501, 512, 0)]),
        (2, Fault::TooMuchScanned(2500))
    );
}

#[test]
fn the_stage() {
    let records = [copy(0, 0, 4, 2000, 1000), write(0, 4, 0, 1), zero(4, 0, 3000), read(4, 0, 0, 3000)];
    check(&records, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    let outside = |offset, len| Fault::OutsideOutput { file: 4, offset, len, file_len: 3000 };
    assert_eq!(fault(zero(4, 3000, 1)), outside(3000, 1));
    assert_eq!(fault(copy(4, 0, 4, 1000, 1)), Fault::OntoItself(4));
    assert_eq!(fault(pack(0, 0, 1000, 4, 962, 0)), outside(962, pack_room(1000)));
    check(&[pack(0, 0, 1000, 4, 961, 0)], &ROLES, &LIMITS, &Ledger::default()).unwrap();
    assert_eq!(fault(pack(0, 0, 0, 4, 0, 0)), Fault::Empty);
    let beyond = u32::try_from(DATA_LEN).unwrap() - 3;
    assert_eq!(fault(pack(0, 0, 1, 4, 0, beyond)), Fault::OutsideWindow { offset: beyond.into(), len: 4 });
    assert_eq!(
        refused(&[pack(1, 0, 1900, 4, 0, 0), pack(0, 0, 101, 4, 0, 0)]),
        (2, Fault::TooMuchPacked(2000))
    );
    let roles = [Role::Input { len: u64::MAX }, Role::Stage { len: u64::MAX }];
    let error =
        check(&[pack(0, 0, u64::from(MAX_UNIT_LEN) + 1, 1, 0, 0)], &roles, &NO_LIMITS, &Ledger::default());
    assert!(matches!(error, Err(ExecError::Refused { fault: Fault::PackTooLong(_), .. })));
}

#[test]
fn sizes() {
    for record in [zero(3, 0, 1), copy(0, 0, 3, 0, 1), write(0, 3, 0, 1)] {
        assert_eq!(refused(&[set_len(2, 4000), record]), (2, Fault::NotSized(3)));
    }
    for len in [5001, u64::MAX] {
        assert_eq!(fault(set_len(3, len)), Fault::TooLong { file: 3, len, allowed: 5000 });
    }
    assert_eq!(refused(&[zero(2, 0, 1), set_len(2, 4000)]), (1, Fault::NotSized(2)));
}

#[test]
fn outside_the_output() {
    for (offset, len) in [(3999, 2), (4000, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let expected = Fault::OutsideOutput { file: 2, offset, len, file_len: 4000 };
        assert_eq!(fault(zero(2, offset, len)), expected);
    }
    let expected = Fault::OutsideOutput { file: 2, offset: 3001, len: 1000, file_len: 4000 };
    assert_eq!(fault(copy(0, 0, 2, 3001, 1000)), expected);
}

#[test]
fn the_length_that_counts_is_the_last_one_before() {
    let other = set_len(3, 0);
    let shrunk = [other, set_len(2, 4000), zero(2, 3000, 1000), set_len(2, 3000), write(0, 2, 3000, 1)];
    let expected = Fault::OutsideOutput { file: 2, offset: 3000, len: 1, file_len: 3000 };
    assert_eq!(refused(&shrunk), (5, expected));
    let grown_too_late = [other, set_len(2, 10), zero(2, 10, 1), set_len(2, 11)];
    let expected = Fault::OutsideOutput { file: 2, offset: 10, len: 1, file_len: 10 };
    assert_eq!(refused(&grown_too_late), (3, expected));
    let grown = [other, set_len(2, 10), set_len(2, 11), zero(2, 10, 1)];
    check(&grown, &ROLES, &LIMITS, &Ledger::default()).unwrap();
}

#[test]
fn budgets() {
    let other = set_len(3, 0);
    let too_many = [[other, set_len(2, 10)].as_slice(), &[zero(2, 0, 1); 8], &[open(0, 0, 1, 0)]].concat();
    assert_eq!(refused(&too_many), (11, Fault::TooManyOperations(10)));
    let too_much = [other, set_len(2, 4000), zero(2, 0, 4000), zero(2, 0, 2000), zero(2, 0, 1)];
    assert_eq!(refused(&too_much), (5, Fault::TooMuchWritten(6000)));
    let too_much = [other, set_len(2, 5000), write(0, 2, 0, 5000), write(0, 2, 0, 1001)];
    assert_eq!(refused(&too_much), (4, Fault::TooMuchWritten(6000)));
    let too_much = [read(1, 0, 0, 2000), read(0, 0, 0, 1000), read(0, 0, 0, 1)];
    assert_eq!(refused(&too_much), (3, Fault::TooMuchRead(3000)));
}

#[test]
fn budgets_are_for_all_rings_together() {
    let sized = [set_len(2, 10), set_len(3, 0)];
    let (_, ledger) = check(&sized, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    let error = check(&[zero(2, 0, 1); 9], &ROLES, &LIMITS, &ledger).unwrap_err();
    assert_eq!(error.to_string(), "operation 11 of the guest: more than the 10 operations allowed");
    let error = check(&[zero(2, 10, 1)], &ROLES, &LIMITS, &ledger).unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation 3 of the guest: 1 bytes at 10 are not inside file 2, which was given 10"
    );
}

#[test]
fn counters_do_not_overflow() {
    let roles = [Role::Input { len: u64::MAX }, Role::Output { further: 0 }];
    let all = [set_len(1, u64::MAX), zero(1, 0, u64::MAX), zero(1, 0, 1)];
    let error = check(&all, &roles, &NO_LIMITS, &Ledger::default()).unwrap_err();
    assert!(matches!(error, ExecError::Refused { number: 3, fault: Fault::TooMuchWritten(u64::MAX) }));
}

#[test]
fn one_bad_record_and_nothing_of_its_ring_is_done() {
    let fixture = Fixture::new().input("in", b"input");
    fs::write(fixture.path("out"), b"old content").unwrap();
    let mut fixture = fixture.output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        let records = [read(0, 0, 0, 5), set_len(1, 5), copy(0, 0, 1, 0, 5), zero(1, 5, 1)];
        let error = executor.carry_out(&records, &window.slice()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "operation 4 of the guest: 1 bytes at 5 are not inside file 1, which was given 5"
        );
        assert_eq!((executor.operations(), executor.written()), (0, 0));
        assert_eq!(executor.files().outputs_touched().count(), 0);
        assert_eq!(window.0[..5], [0; 5]);
    });
    assert_eq!(fixture.content("out"), b"old content");
}
