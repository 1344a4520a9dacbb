//! Guests that were taken over by an image: each ends in its own clear error, and harms nothing.

#![allow(clippy::cast_possible_truncation, reason = "lengths of a few bytes")]

mod decoders;
mod process;
mod support;

use core::mem::offset_of;

use guest_abi::exchange::{
    CODEC_DEFLATE, CODEC_ZLIB, CODEC_ZSTD, COPY, CREATE, DATA_AT, DATA_LEN, FAILED, FINISHED, Failure, GO_ON,
    Head, KIND_CORRUPT, MAX_RECORDS, NAME_LEN, OPEN, PACK, PANICKED, READ, RECORDS_AT, REPORT_AT, REPORT_LEN,
    Record, SCAN, SET_LEN, TEXT_AT, TEXT_LEN, WRITE, ZERO,
};
use guest_abi::layout::{
    BOOT_ADDR, DOORBELL_ADDR, EXCHANGE_ADDR, EXCHANGE_LEN, IMAGE_ADDR, STACK_ADDR, STACK_LEN,
};
use support::{CONSTANTS_ADDR, Code, GUEST_TIME, INPUT_LEN, LIMITS, Scene, everywhere, head};
use vmm::exec::{ExecError, OperationFault as Fault};
use vmm::files::{FileErrorKind, NameErrorKind};
use vmm::{Choice, Error, FailureKind, GuestFault, Limits};

/// A record with nothing in it.
const NONE: Record = Record::EMPTY;

/// Runs `code`, asserts that no file was harmed, and returns the error.
#[track_caller]
fn ends_in(sandbox: Choice, code: &Code) -> Error {
    let scene = Scene::new(sandbox);
    let failed = scene.run(code).expect_err("the guest was believed");
    scene.assert_unharmed();
    assert!(failed.incomplete.is_empty());
    failed.error
}

#[track_caller]
fn assert_fault(sandbox: Choice, code: &Code, fault: &GuestFault) {
    match ends_in(sandbox, code) {
        Error::Guest(found) => assert_eq!(&found, fault),
        other => panic!("{other:?}"),
    }
}

/// An instruction that ends the guest, wherever it may run.
macro_rules! exceptions {
    ($($name:ident: $bytes:expr,)*) => {$(
        #[test]
        fn $name() {
            everywhere(|sandbox| {
                assert_fault(sandbox, &Code::new().then(&$bytes).ring(), &GuestFault::Exception);
            });
        }
    )*};
}

mod instructions {
    use super::*;

    exceptions! {
        ud2: [0x0f, 0x0b],
        hlt: [0xf4],
        cli: [0xfa],
        sti: [0xfb],
        sysret: [0x48, 0x0f, 0x07],
        int_3: [0xcc],
        int_1: [0xf1],
        // push 0; push 0; push 0; iretq
        iret: [0x6a, 0, 0x6a, 0, 0x6a, 0, 0x48, 0xcf],
        // xor ecx, ecx; div ecx
        division_by_zero: [0x31, 0xc9, 0xf7, 0xf1],
        // lgdt [rsp]; lidt [rsp]
        lgdt: [0x0f, 0x01, 0x14, 0x24],
        lidt: [0x0f, 0x01, 0x1c, 0x24],
        // xor eax, eax; ltr ax; lldt ax
        ltr: [0x31, 0xc0, 0x0f, 0x00, 0xd8],
        lldt: [0x31, 0xc0, 0x0f, 0x00, 0xd0],
        // mov rax, cr0 and so on
        read_cr0: [0x0f, 0x20, 0xc0],
        read_cr3: [0x0f, 0x20, 0xd8],
        write_cr3: [0x0f, 0x22, 0xd8],
        write_cr4: [0x0f, 0x22, 0xe0],
        read_dr7: [0x0f, 0x21, 0xf8],
        write_dr7: [0x0f, 0x23, 0xf8],
        clts: [0x0f, 0x06],
        invlpg: [0x0f, 0x01, 0x3c, 0x24],
        wbinvd: [0x0f, 0x09],
        swapgs: [0x0f, 0x01, 0xf8],
        // mov ecx, 0xc0000080 (EFER); rdmsr, wrmsr
        rdmsr: [0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32],
        wrmsr: [0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x30],
        xsetbv: [0x0f, 0x01, 0xd1],
        // Ports: in al, 0x60; out 0x80, al; mov dx, 0x3f8; out dx, al; rep outsb
        in_from_a_port: [0xe4, 0x60],
        out_to_a_port: [0xe6, 0x80],
        out_to_a_serial_port: [0x66, 0xba, 0xf8, 0x03, 0xee],
        a_string_to_a_port: [0xb9, 1, 0, 0, 0, 0x48, 0x89, 0xe6, 0xf3, 0x6e],
        // mov rax, 1 << 63; mov eax, [rax]
        a_non_canonical_address: [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8b, 0x00],
        // push rax; jmp to it, until the guard page
        a_stack_without_end: [0x50, 0xeb, 0xfd],
    }
}

/// What would enter a kernel ends a guest that has none, and one whose kernel does nothing for it.
mod system_calls {
    use super::*;

    fn is_refused(instruction: [u8; 2]) {
        everywhere(|sandbox| {
            let error = ends_in(sandbox, &Code::new().then(&instruction).ring());
            let Error::Guest(fault) = error else { panic!("{error:?}") };
            // Not every processor and kernel knows the older instructions.
            let refused = sandbox == Choice::Process && fault == GuestFault::SystemCall;
            assert!(refused || fault == GuestFault::Exception, "{fault:?}");
        });
    }

    #[test]
    fn syscall() {
        is_refused([0x0f, 0x05]);
    }

    #[test]
    fn sysenter() {
        is_refused([0x0f, 0x34]);
    }

    #[test]
    fn int_0x80() {
        is_refused([0xcd, 0x80]);
    }
}

mod memory {
    use super::*;

    #[track_caller]
    fn cannot_read(sandbox: Choice, addr: u64) {
        assert_fault(sandbox, &Code::new().load(addr).ring(), &GuestFault::Exception);
    }

    #[track_caller]
    fn cannot_write(sandbox: Choice, addr: u64) {
        assert_fault(sandbox, &Code::new().store(addr, [0; 4]).ring(), &GuestFault::Exception);
    }

    /// `mov rax, addr; jmp rax`
    #[track_caller]
    fn cannot_execute(sandbox: Choice, addr: u64) {
        let code = Code::new().then(&[0x48, 0xb8]).then(&addr.to_le_bytes()).then(&[0xff, 0xe0]);
        assert_fault(sandbox, &code, &GuestFault::Exception);
    }

    #[test]
    fn what_is_not_mapped_cannot_be_read() {
        everywhere(|sandbox| {
            // The null page, the page tables, and the pages around everything.
            for addr in [0, 0x1000, 0x2000, BOOT_ADDR - 4, BOOT_ADDR + 0x1000] {
                cannot_read(sandbox, addr);
            }
            for addr in
                [EXCHANGE_ADDR - 4, EXCHANGE_ADDR + EXCHANGE_LEN, STACK_ADDR - 4, STACK_ADDR + STACK_LEN]
            {
                cannot_read(sandbox, addr);
            }
            for addr in [IMAGE_ADDR - 4, IMAGE_ADDR + 0x2000, DOORBELL_ADDR - 4, DOORBELL_ADDR + 0x1000] {
                cannot_read(sandbox, addr);
            }
        });
    }

    #[test]
    fn what_is_constant_cannot_be_written() {
        everywhere(|sandbox| {
            for addr in [BOOT_ADDR, IMAGE_ADDR, CONSTANTS_ADDR] {
                cannot_write(sandbox, addr);
            }
        });
    }

    #[test]
    fn the_page_tables_cannot_be_written() {
        everywhere(|sandbox| {
            for addr in [0x1000, 0x2000, 0x3000, 0x4000] {
                cannot_write(sandbox, addr);
            }
        });
    }

    #[test]
    fn what_is_not_code_cannot_be_executed() {
        everywhere(|sandbox| {
            for addr in [BOOT_ADDR, EXCHANGE_ADDR, CONSTANTS_ADDR, STACK_ADDR, 0] {
                cannot_execute(sandbox, addr);
            }
        });
    }

    #[test]
    fn the_doorbell_is_one_address_and_for_writing() {
        everywhere(|sandbox| {
            let fault = |addr| match sandbox {
                Choice::Process => GuestFault::Exception,
                _ => GuestFault::Memory(addr),
            };
            let read = Code::new().load(DOORBELL_ADDR);
            assert_fault(sandbox, &read, &fault(DOORBELL_ADDR));
            let beside = Code::new().store(DOORBELL_ADDR + 8, [0; 4]);
            assert_fault(sandbox, &beside, &fault(DOORBELL_ADDR + 8));
        });
    }
}

mod time {
    use super::*;

    /// `jmp` to itself
    const LOOP: [u8; 2] = [0xeb, 0xfe];

    #[test]
    fn an_endless_loop_ends() {
        everywhere(|sandbox| {
            assert_fault(sandbox, &Code::new().then(&LOOP), &GuestFault::Watchdog(GUEST_TIME));
        });
    }

    #[test]
    fn an_endless_loop_after_a_ring_ends() {
        everywhere(|sandbox| {
            let read = Record { op: READ, len: 1, ..Record::default() };
            assert_fault(sandbox, &Code::new().ask(&[read]).then(&LOOP), &GuestFault::Watchdog(GUEST_TIME));
        });
    }

    #[test]
    fn ringing_for_nothing_ends() {
        everywhere(|sandbox| {
            let fault = GuestFault::Nonsense("it rang for nothing");
            assert_fault(sandbox, &Code::new().ask(&[]), &fault);
        });
    }

    #[test]
    fn ringing_without_end_ends() {
        everywhere(|sandbox| {
            let read = Record { op: READ, len: 1, ..Record::default() };
            let ask =
                |total| Code::new().say(Head { total_operations: total, ..head(GO_ON, &[read]) }, &[read]);
            let code =
                (1..=LIMITS.operations + 1).fold(Code::new(), |code, total| code.then(ask(total).bytes()));
            let error = ends_in(sandbox, &code);
            assert!(
                matches!(error, Error::Exec(ExecError::Refused { fault: Fault::TooManyOperations(_), .. })),
                "{error:?}"
            );
        });
    }
}

mod doorbell {
    use super::*;

    #[track_caller]
    fn nonsense(sandbox: Choice, head: Head, what: &'static str) {
        assert_fault(sandbox, &Code::new().put(0, &head).ring(), &GuestFault::Nonsense(what));
    }

    #[test]
    fn an_unknown_state() {
        everywhere(|sandbox| {
            nonsense(sandbox, Head::default(), "an unknown state");
            nonsense(sandbox, Head { state: 99, ..Head::default() }, "an unknown state");
        });
    }

    #[test]
    fn more_records_than_there_is_room_for() {
        everywhere(|sandbox| {
            let more = Head { state: GO_ON, count: MAX_RECORDS as u32 + 1, ..Head::default() };
            nonsense(sandbox, more, "more records than there is room for");
            nonsense(sandbox, Head { count: u32::MAX, ..more }, "more records than there is room for");
        });
    }

    #[test]
    fn a_report_or_text_that_is_too_long() {
        everywhere(|sandbox| {
            let report = Head { state: FINISHED, report_len: REPORT_LEN as u32 + 1, ..Head::default() };
            nonsense(sandbox, report, "a report longer than there is room for");
            let text = Head { state: PANICKED, text_len: TEXT_LEN as u32 + 1, ..Head::default() };
            nonsense(sandbox, text, "a text longer than there is room for");
            nonsense(sandbox, Head { text_len: u32::MAX, ..text }, "a text longer than there is room for");
        });
    }

    #[test]
    fn a_failure_that_makes_no_sense() {
        everywhere(|sandbox| {
            let report_len = size_of::<Failure>() as u32;
            let head = Head { state: FAILED, report_len, ..Head::default() };
            nonsense(sandbox, Head { report_len: 3, ..head }, "a failure of another size");
            nonsense(sandbox, head, "an unknown kind of failure");
            nonsense(sandbox, Head { count: 1, ..head }, "it failed and wants to go on");

            let elsewhere = Failure { kind: KIND_CORRUPT, file: 7, at: 0 };
            let code = Code::new().put(REPORT_AT, &elsewhere).put(0, &head).ring();
            assert_fault(sandbox, &code, &GuestFault::Nonsense("a failure of a file that there is not"));
        });
    }

    #[test]
    fn a_failure_is_told_with_its_words_made_harmless() {
        everywhere(|sandbox| {
            let failure = Failure { kind: KIND_CORRUPT, file: 0, at: 0x1234 };
            let text = b"\x1b[2Jgrain's\ntable\xff";
            let (report_len, text_len) = (size_of::<Failure>() as u32, text.len() as u32);
            let head = Head { state: FAILED, report_len, text_len, ..Head::default() };
            let error = ends_in(
                sandbox,
                &Code::new().put(REPORT_AT, &failure).put(TEXT_AT, &text[..]).put(0, &head).ring(),
            );
            let Error::Image(image) = error else { panic!("{error:?}") };
            assert_eq!((image.kind, image.at, image.is_input), (FailureKind::Corrupt, 0x1234, true));
            assert_eq!(image.what, "\\u{1b}[2Jgrain's\\ntable\u{fffd}");
        });
    }

    #[test]
    fn a_panic_is_told() {
        everywhere(|sandbox| {
            let head = Head { state: PANICKED, text_len: 4, ..Head::default() };
            let code = Code::new().put(TEXT_AT, b"help").put(0, &head).ring();
            assert_fault(sandbox, &code, &GuestFault::Panicked("help".to_owned()));
        });
    }
}

mod lies {
    use super::*;

    const SIZED: Record = Record { op: SET_LEN, file: 1, len: 512, ..NONE };

    #[test]
    fn an_output_that_was_never_made() {
        everywhere(|sandbox| {
            let error = ends_in(sandbox, &Code::new().finish(&[0; 8], &[]));
            assert!(matches!(error, Error::Exec(ExecError::OutputNeverMade(_))), "{error:?}");
        });
    }

    /// The files are written then, for each operation by itself was allowed; what counts is that nobody is told that
    /// the copy is good.
    #[test]
    fn totals_that_are_not_what_was_asked_for() {
        everywhere(|sandbox| {
            for (operations, written) in [(0, 0), (2, 0), (1, 512), (u64::MAX, u64::MAX)] {
                let head = Head {
                    report_len: 8,
                    total_operations: operations,
                    total_written: written,
                    ..head(FINISHED, &[SIZED])
                };
                let error = Scene::new(sandbox).run(&Code::new().say(head, &[SIZED])).unwrap_err().error;
                assert!(matches!(error, Error::Guest(GuestFault::Lie { .. })), "{error:?}");
            }
        });
    }

    #[test]
    fn a_report_of_another_size() {
        everywhere(|sandbox| {
            let error = Scene::new(sandbox).run(&Code::new().finish(&[0; 9], &[SIZED])).unwrap_err().error;
            let nonsense = GuestFault::Nonsense("a report of another size");
            assert!(matches!(error, Error::Guest(ref fault) if *fault == nonsense), "{error:?}");
        });
    }
}

/// What the executor refuses is tested, operation by operation, beside it; here, that it is asked.
mod operations {
    use super::*;

    const SIZED: Record = Record { op: SET_LEN, file: 1, len: 4096, ..NONE };

    macro_rules! refused {
        ($($name:ident: $records:expr => $fault:pat,)*) => {$(
            #[test]
            fn $name() {
                everywhere(|sandbox| {
                    let error = ends_in(sandbox, &Code::new().ask(&$records));
                    assert!(matches!(error, Error::Exec(ExecError::Refused { fault: $fault, .. })), "{error:?}");
                });
            }
        )*};
    }

    refused! {
        an_unknown_operation: [Record { op: 77, ..NONE }] => Fault::UnknownOperation(77),
        a_file_that_there_is_not: [Record { op: READ, file: 9, len: 1, ..NONE }] => Fault::NoSuchFile(9),
        a_read_of_the_output: [Record { op: READ, file: 1, len: 1, ..NONE }] => Fault::NotAnInput(1),
        another_output: [Record { op: CREATE, file: 1, ..NONE }] => Fault::NoFurther(1),
        a_length_for_the_input: [Record { op: SET_LEN, file: 0, len: 1, ..NONE }] => Fault::NotAnOutput(0),
        zeros_into_the_input: [SIZED, Record { op: ZERO, file: 0, len: 1, ..NONE }] => Fault::NotAnOutput(0),
        a_read_beyond_the_input: [Record { op: READ, src: INPUT_LEN, len: 1, ..NONE }] => Fault::OutsideInput { .. },
        a_read_that_overflows: [Record { op: READ, src: u64::MAX, len: 2, ..NONE }] => Fault::OutsideInput { .. },
        a_wild_pointer: [Record { op: READ, dst: DATA_LEN, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        a_wilder_pointer: [Record { op: READ, dst: u64::MAX, len: 2, ..NONE }] => Fault::OutsideWindow { .. },
        a_copy_from_beyond_the_input:
            [SIZED, Record { op: COPY, file: 1, src: INPUT_LEN - 1, len: 2, ..NONE }] => Fault::OutsideInput { .. },
        a_write_beyond_the_output:
            [SIZED, Record { op: ZERO, file: 1, dst: 4096, len: 1, ..NONE }] => Fault::OutsideOutput { .. },
        a_write_that_overflows:
            [SIZED, Record { op: ZERO, file: 1, dst: u64::MAX, len: 2, ..NONE }] => Fault::OutsideOutput { .. },
        an_output_beyond_the_bound:
            [Record { len: LIMITS.output_len + 1, ..SIZED }] => Fault::TooLong { .. },
        an_output_that_was_not_sized: [Record { op: ZERO, file: 1, len: 1, ..NONE }] => Fault::NotSized(1),
        an_output_that_outgrows_the_bound_later:
            [SIZED, Record { len: LIMITS.output_len + 1, ..SIZED }] => Fault::TooLong { .. },
        a_write_beyond_what_an_output_has_shrunk_to:
            [SIZED, Record { len: 4095, ..SIZED }, Record { op: ZERO, file: 1, len: 4096, ..NONE }]
            => Fault::OutsideOutput { .. },
        bytes_of_its_own_into_the_input: [SIZED, Record { op: WRITE, file: 0, len: 1, ..NONE }] => Fault::NotAnOutput(0),
        bytes_from_behind_its_window:
            [SIZED, Record { op: WRITE, file: 1, src: DATA_LEN, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        bytes_from_around_its_window:
            [SIZED, Record { op: WRITE, file: 1, src: u64::MAX, len: 2, ..NONE }] => Fault::OutsideWindow { .. },
        more_bytes_than_its_window_has:
            [SIZED, Record { op: WRITE, file: 1, len: u64::MAX, ..NONE }] => Fault::OutsideWindow { .. },
        bytes_of_its_own_behind_the_output:
            [SIZED, Record { op: WRITE, file: 1, dst: 4096, len: 1, ..NONE }] => Fault::OutsideOutput { .. },
        a_name_behind_its_window: [Record { op: OPEN, src: DATA_LEN, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        a_name_around_its_window: [Record { op: OPEN, src: u64::MAX, len: 2, ..NONE }] => Fault::OutsideWindow { .. },
        an_answer_behind_its_window:
            [Record { op: OPEN, dst: DATA_LEN - 15, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        an_answer_around_its_window: [Record { op: OPEN, dst: u64::MAX, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        a_name_that_is_too_long: [Record { op: OPEN, len: NAME_LEN + 1, ..NONE }] => Fault::NameTooLong(_),
        no_name_at_all: [Record { op: OPEN, ..NONE }] => Fault::Empty,
        a_name_in_the_output: [Record { op: OPEN, file: 1, len: 1, ..NONE }] => Fault::NotAnInput(1),
        a_name_in_no_file: [Record { op: OPEN, file: 2, len: 1, ..NONE }] => Fault::NoSuchFile(2),
        a_file_that_is_only_just_being_opened:
            [Record { op: OPEN, len: 1, ..NONE }, Record { op: OPEN, file: 2, len: 1, ..NONE }] => Fault::NoSuchFile(2),
        more_bytes_of_its_own_than_allowed: [
            Record { len: 16384, ..SIZED },
            Record { op: WRITE, file: 1, len: 16384, ..NONE },
            Record { op: WRITE, file: 1, len: 1, ..NONE },
        ] => Fault::TooMuchWritten(_),
        more_operations_than_allowed:
            [Record { op: READ, len: 1, ..NONE }; LIMITS.operations as usize + 1] => Fault::TooManyOperations(_),
        more_bytes_read_than_allowed:
            [Record { op: READ, len: LIMITS.read + 1, ..NONE }] => Fault::TooMuchRead(_),
        more_bytes_written_than_allowed:
            [SIZED, Record { op: ZERO, file: 1, len: 4096, ..NONE }, Record { op: ZERO, file: 1, len: 4096, ..NONE },
             Record { op: ZERO, file: 1, len: 4096, ..NONE }, Record { op: ZERO, file: 1, len: 4096, ..NONE },
             Record { op: ZERO, file: 1, len: 1, ..NONE }] => Fault::TooMuchWritten(_),
        zeros_looked_for_beyond_the_input:
            [Record { op: SCAN, unit_len: 512, src: INPUT_LEN, len: 1, ..NONE }] => Fault::OutsideInput { .. },
        zeros_looked_for_in_the_output: [Record { op: SCAN, file: 1, unit_len: 512, len: 1, ..NONE }] => Fault::NotAnInput(1),
        zeros_looked_for_in_units_of_nothing: [Record { op: SCAN, len: 1, ..NONE }] => Fault::ScanUnit(0),
        zeros_looked_for_in_units_of_bytes: [Record { op: SCAN, unit_len: 1, len: 1, ..NONE }] => Fault::ScanUnit(1),
        zeros_told_behind_its_window:
            [Record { op: SCAN, unit_len: 512, dst: DATA_LEN, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        zeros_told_around_its_window:
            [Record { op: SCAN, unit_len: 512, dst: u64::MAX, len: 1, ..NONE }] => Fault::OutsideWindow { .. },
        more_bytes_looked_through_than_allowed: [
            Record { op: SCAN, unit_len: 512, len: LIMITS.scanned, ..NONE },
            Record { op: SCAN, unit_len: 512, len: 1, ..NONE },
        ] => Fault::TooMuchScanned(_),
        an_output_for_a_stage:
            [SIZED, Record { op: PACK, codec: CODEC_DEFLATE, file: 1, len: 1, ..NONE }] => Fault::NotTheStage(1),
        an_input_for_a_stage: [Record { op: PACK, codec: CODEC_ZSTD, file: 0, len: 1, ..NONE }] => Fault::NotTheStage(0),
        too_much_to_compress_at_once: [Record { op: PACK, codec: CODEC_ZLIB, file: 0, len: INPUT_LEN + 1, ..NONE }] => Fault::OutsideInput { .. },
        a_field_that_means_nothing: [Record { skip: 1, ..SIZED }] => Fault::UnusedField { .. },
        // Nothing of a ring is done when one operation is refused, be it the last.
        a_good_plan_with_a_bad_end: [
            SIZED,
            Record { op: COPY, file: 1, len: 4096, ..NONE },
            Record { op: 77, ..NONE },
        ] => Fault::UnknownOperation(77),
    }
}

/// What images may name is tested beside `Files`; here, that a guest gets nothing else.
mod names {
    use super::*;

    const LIMITS: Limits = Limits { operations: 5000, ..super::LIMITS };

    fn open(file: u32, name: &[u8]) -> Record {
        Record { op: OPEN, file, dst: 8192, len: name.len() as u64, ..Record::default() }
    }

    /// Why the guest does not get a file.
    #[track_caller]
    fn refused(scene: &Scene, code: &Code) -> NameErrorKind {
        let failed = scene.run_within(code, LIMITS).expect_err("the guest was believed");
        scene.assert_unharmed();
        match failed.error {
            Error::Exec(ExecError::Name(error)) => error.kind,
            other => panic!("{other:?}"),
        }
    }

    macro_rules! refused {
        ($($test:ident: $kind:pat => $names:expr,)*) => {$(
            #[test]
            fn $test() {
                everywhere(|sandbox| {
                    for name in $names {
                        let code = Code::new().put(DATA_AT, name.as_bytes()).ask(&[open(0, name.as_bytes())]);
                        let kind = refused(&Scene::new(sandbox), &code);
                        assert!(matches!(kind, $kind), "'{}'{kind}", vmm::shown(name));
                    }
                });
            }
        )*};
    }

    refused! {
        protocols: NameErrorKind::Protocol => ["nbd://host/x", "json:{}", "fd:0", "file:input", "file:/etc/shadow", ":"],
        zeros: NameErrorKind::Nul => ["\0", "input\0", "\0input"],
        elsewhere: NameErrorKind::NotAllowed =>
            ["/etc/shadow", "/dev/kvm", "/proc/self/mem", "../x", "..", "/", "./../../../../etc/passwd", "/nowhere"],
        nothing: NameErrorKind::File(FileErrorKind::Io(_)) => ["missing", "input/x"],
        no_file: NameErrorKind::File(FileErrorKind::Unusable(_)) => ["."],
        the_output: NameErrorKind::File(FileErrorKind::SameFile { .. }) => ["output", "./output"],
        the_image_itself: NameErrorKind::Cycle => ["input", "./input"],
    }

    /// A guest that opens each of `names` as the last one's.
    fn chain(names: &[String]) -> Code {
        let ask = |code: Code, (n, name): (u32, &String)| {
            let record = open(if n == 0 { 0 } else { n + 1 }, name.as_bytes());
            let head = Head { total_operations: u64::from(n) + 1, ..head(GO_ON, &[record]) };
            code.put(DATA_AT, name.as_bytes()).say(head, &[record])
        };
        (0..).zip(names).fold(Code::new(), ask)
    }

    #[test]
    fn a_chain_that_is_too_long() {
        everywhere(|sandbox| {
            let names: Vec<_> = (1..=17).map(|n| format!("file{n}")).collect();
            let mut scene = Scene::new(sandbox);
            names.iter().for_each(|name| scene.add(name));
            let kind = refused(&scene, &chain(&names));
            assert!(matches!(kind, NameErrorKind::TooDeep), "{kind}");
        });
    }

    #[test]
    fn a_loop_of_two() {
        everywhere(|sandbox| {
            let mut scene = Scene::new(sandbox);
            scene.add("base");
            let kind = refused(&scene, &chain(&["base".to_owned(), "input".to_owned()]));
            assert!(matches!(kind, NameErrorKind::Cycle), "{kind}");
        });
    }

    #[test]
    fn thousands() {
        everywhere(|sandbox| {
            let mut scene = Scene::new(sandbox);
            scene.add("base");
            let record = open(0, b"base");
            let head = Head { total_operations: 0, ..head(GO_ON, &[record]) };
            let code = Code::new().put(DATA_AT, b"base").put(RECORDS_AT, &[record]).put(0, &head);
            // inc dword ptr [total_operations]; ring; jmp to where that began
            let total = EXCHANGE_ADDR as u32 + offset_of!(Head, total_operations) as u32;
            let again = code.then(&[0xff, 0x04, 0x25]).then(&total.to_le_bytes()).ring();
            let kind = refused(&scene, &again.then(&[0xeb, 0xf0]));
            assert!(matches!(kind, NameErrorKind::TooMany), "{kind}");
        });
    }
}

/// The same kind of guest, when it behaves, gets what it asks for: the tests above do not fail for another reason.
#[test]
fn a_guest_that_behaves_is_served() {
    everywhere(|sandbox| {
        let scene = Scene::new(sandbox);
        let sized = Record { op: SET_LEN, file: 1, len: 10_000, ..Record::default() };
        let copy = Record { op: COPY, file: 1, dst: 5000, src: 100, len: 4000, ..Record::default() };
        let zero = Record { op: ZERO, file: 1, dst: 9000, len: 996, ..Record::default() };
        let own = Record { op: WRITE, file: 1, dst: 9996, src: 8, len: 4, ..Record::default() };
        let code = Code::new().put(DATA_AT + 8, b"mine");
        let report = scene.run(&code.finish(&42u64.to_le_bytes(), &[sized, copy, zero, own])).unwrap();
        assert_eq!(report, 42);

        let (input, output) = (std::fs::read(scene.input()).unwrap(), std::fs::read(scene.output()).unwrap());
        assert_eq!(output.len(), 10_000);
        assert!(output[..5000].iter().chain(&output[9000..9996]).all(|&byte| byte == 0));
        assert!(output[5000..9000] == input[100..4100]);
        assert_eq!(output[9996..], *b"mine");
    });
}
