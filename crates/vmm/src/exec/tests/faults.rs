//! Hostile records: each is refused, for its own reason, and nothing of its ring is done.

use guest_abi::exchange::{DATA_LEN, MAX_UNIT_LEN, NAME_LEN, pack_room};

use super::super::check::{Ledger, check};
use super::*;
use crate::exec::OperationFault as Fault;
use crate::files::Role;

/// Files 0 and 1 are inputs of 1000 and 2000 bytes, 2 and 3 outputs, 4 is the stage.
const ROLES: [Role; 5] = [
    Role::Input { len: 1000 },
    Role::Input { len: 2000 },
    Role::Output,
    Role::Output,
    Role::Stage { len: 3000 },
];

const LIMITS: Limits =
    Limits { output_len: 5000, written: 6000, read: 3000, scanned: 2500, packed: 2000, operations: 9 };

/// The number of the operation that is refused, and why.
fn refused(records: &[Record]) -> (u64, Fault) {
    match check(records, &ROLES, &LIMITS, &Ledger::default()) {
        Err(ExecError::Refused { number, fault }) => (number, fault),
        other => panic!("{other:?}"),
    }
}

/// Why the record is refused after output 2 has been given 4000 bytes.
fn fault(record: Record) -> Fault {
    let (number, fault) = refused(&[set_len(2, 4000), record]);
    assert_eq!(number, 2);
    fault
}

/// Why a name is refused. Later, all are.
fn name_fault(record: Record) -> Fault {
    let (number, fault) = refused(&[record]);
    assert_eq!(number, 1);
    fault
}

#[test]
fn accepts_what_is_inside_everything() {
    let records = [
        open(0, DATA_LEN - NAME_LEN, NAME_LEN, DATA_LEN - 16),
        set_len(2, 5000),
        set_len(3, 0),
        read(0, 0, 0, 1000),
        read(1, 1999, DATA_LEN - 1, 1),
        read(1, 1, 0, 1999),
        copy(0, 0, 2, 4000, 1000),
        zero(2, 0, 4000),
        copy(1, 1000, 2, 0, 1000),
    ];
    let (operations, ledger) = check(&records, &ROLES, &LIMITS, &Ledger::default()).unwrap();
    assert_eq!(operations.len(), 9);
    assert_eq!((ledger.operations, ledger.read, ledger.written), (9, 3000, 6000));
}

#[test]
fn unknown_operations() {
    for op in [0, 11, u32::MAX] {
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
    ];
    for (field, record) in cases {
        assert_eq!(fault(record), Fault::UnusedField { field, value: 7 });
    }
}

#[test]
fn files_that_are_not_there() {
    for file in [5, u32::MAX] {
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
    assert_eq!(fault(zero(3, 0, 1)), Fault::NotSized(3));
    assert_eq!(fault(copy(0, 0, 3, 0, 1)), Fault::NotSized(3));
    assert_eq!(fault(write(0, 3, 0, 1)), Fault::NotSized(3));
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
    let shrunk = [set_len(2, 4000), zero(2, 3000, 1000), set_len(2, 3000), write(0, 2, 3000, 1)];
    let expected = Fault::OutsideOutput { file: 2, offset: 3000, len: 1, file_len: 3000 };
    assert_eq!(refused(&shrunk), (4, expected));
    let grown_too_late = [set_len(2, 10), zero(2, 10, 1), set_len(2, 11)];
    let expected = Fault::OutsideOutput { file: 2, offset: 10, len: 1, file_len: 10 };
    assert_eq!(refused(&grown_too_late), (2, expected));
    let grown = [set_len(2, 10), set_len(2, 11), zero(2, 10, 1)];
    check(&grown, &ROLES, &LIMITS, &Ledger::default()).unwrap();
}

#[test]
fn budgets() {
    let too_many = [[set_len(2, 10)].as_slice(), &[zero(2, 0, 1); 8], &[open(0, 0, 1, 0)]].concat();
    assert_eq!(refused(&too_many), (10, Fault::TooManyOperations(9)));
    let too_much = [set_len(2, 4000), zero(2, 0, 4000), zero(2, 0, 2000), zero(2, 0, 1)];
    assert_eq!(refused(&too_much), (4, Fault::TooMuchWritten(6000)));
    let too_much = [set_len(2, 5000), write(0, 2, 0, 5000), write(0, 2, 0, 1001)];
    assert_eq!(refused(&too_much), (3, Fault::TooMuchWritten(6000)));
    let too_much = [read(1, 0, 0, 2000), read(0, 0, 0, 1000), read(0, 0, 0, 1)];
    assert_eq!(refused(&too_much), (3, Fault::TooMuchRead(3000)));
}

#[test]
fn budgets_are_for_all_rings_together() {
    let (_, ledger) = check(&[set_len(2, 10)], &ROLES, &LIMITS, &Ledger::default()).unwrap();
    let error = check(&[zero(2, 0, 1); 9], &ROLES, &LIMITS, &ledger).unwrap_err();
    assert_eq!(error.to_string(), "operation 10 of the guest: more than the 9 operations allowed");
    let error = check(&[zero(2, 10, 1)], &ROLES, &LIMITS, &ledger).unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation 2 of the guest: 1 bytes at 10 are not inside file 2, which was given 10"
    );
}

#[test]
fn counters_do_not_overflow() {
    let roles = [Role::Input { len: u64::MAX }, Role::Output];
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
