//! Outputs of several files, and files that are written in place.

use core::sync::atomic::Ordering::Relaxed;

use super::*;

#[test]
fn a_further_output_is_the_next_file() {
    let mut fixture = Fixture::new().input("in", b"input").output("out").series(2);
    let records = [
        create(1),
        create(1),
        set_len(1, 1),
        set_len(2, 5),
        set_len(3, 2),
        copy(0, 0, 2, 0, 5),
        copy(0, 3, 3, 0, 2),
        copy(0, 0, 1, 0, 1),
    ];
    fixture.ring(&records).unwrap();
    for (name, content) in [("out", "i"), ("out-0", "input"), ("out-1", "ut")] {
        assert_eq!(fixture.content(name), content.as_bytes(), "{name}");
    }
}

#[test]
fn further_outputs_can_be_asked_for_ring_by_ring() {
    let mut fixture = Fixture::new().output("out").series(2);
    fixture.run(NO_LIMITS, |executor, window| {
        let mut ring = |records: &[Record]| executor.carry_out(records, &window.slice());
        ring(&[create(0)]).unwrap();
        ring(&[create(0)]).unwrap();
        let error = ring(&[create(0)]).unwrap_err();
        assert_eq!(error.to_string(), "operation 3 of the guest: file 0 consists of no other files");
        ring(&[set_len(0, 1), set_len(2, 1)]).unwrap();
        assert_eq!(executor.files().outputs_touched().count(), 0);
        executor.carry_out(&[set_len(1, 1), zero(2, 0, 1)], &window.slice()).unwrap();
        assert_eq!(executor.files().outputs_touched().count(), 3);
    });
}

#[test]
fn an_output_that_has_no_length_is_missed() {
    let mut fixture = Fixture::new().output("out").series(1);
    let error = fixture.ring(&[create(0), set_len(0, 1)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the guest finished without having made '{}'", fixture.path("out-0").display())
    );
    assert!(!fixture.path("out").exists());
}

#[test]
fn what_is_in_place_is_read_as_it_has_been_written() {
    let mut fixture = Fixture::new().in_place("image", b"0123456789").input("in", b"input");
    fixture.run(NO_LIMITS, |executor, window| {
        executor.carry_out(&[read(0, 2, 0, 3), copy(1, 0, 0, 1, 5)], &window.slice()).unwrap();
        assert_eq!(window.0[..3], *b"234");
        executor.carry_out(&[read(0, 0, 0, 10), set_len(0, 14), zero(0, 3, 1)], &window.slice()).unwrap();
        assert_eq!(window.0[..10], *b"0input6789");
        window.0[100..102].copy_from_slice(b"xy");
        executor.carry_out(&[write(100, 0, 11, 2), set_len(0, 13)], &window.slice()).unwrap();
        executor.carry_out(&[read(0, 0, 0, 13)], &window.slice()).unwrap();
        assert_eq!(window.0[..13], *b"0in\0ut6789\0xy");
        executor.finish().unwrap();
    });
    assert_eq!(fixture.content("image"), b"0in\0ut6789\0xy");
}

#[test]
fn what_is_only_read_in_place_is_not_touched() {
    let mut fixture = Fixture::new().in_place("image", b"content");
    fixture.run(NO_LIMITS, |executor, window| {
        executor.carry_out(&[read(0, 0, 0, 7)], &window.slice()).unwrap();
        assert_eq!(executor.files().outputs_touched().count(), 0);
        let error = executor.carry_out(&[zero(0, 7, 1)], &window.slice()).unwrap_err();
        assert!(matches!(error, ExecError::Refused { .. }), "{error}");
        assert_eq!(executor.files().outputs_touched().count(), 0);
        executor.carry_out(&[zero(0, 6, 1)], &window.slice()).unwrap();
        assert_eq!(executor.files().outputs_touched().count(), 1);
    });
}

/// How often the process was confined: tests that count it have a counter each.
macro_rules! confining {
    ($fixture:expr, |$confined:ident, $ring:ident| $body:block) => {{
        static CONFINED: AtomicU64 = AtomicU64::new(0);
        let confine = || {
            CONFINED.fetch_add(1, Relaxed);
            Ok(())
        };
        $fixture.run_confined(Conduct::default(), &NoDecoders, NO_LIMITS, confine, |executor, window| {
            let $confined = || CONFINED.load(Relaxed);
            let mut $ring = |records: &[Record]| {
                executor.carry_out(records, &window.slice()).expect("it may be asked for")
            };
            $body
        });
    }};
}

#[test]
fn the_process_is_confined_when_all_outputs_are_made() {
    let mut fixture = Fixture::new().output("out").series(2).output("other");
    confining!(fixture, |confined, ring| {
        ring(&[create(0), create(0), set_len(0, 1)]);
        ring(&[set_len(1, 1), set_len(2, 1)]);
        assert_eq!(confined(), 0);
        ring(&[set_len(3, 1), zero(0, 0, 1)]);
        assert_eq!(confined(), 1);
        ring(&[set_len(3, 2), zero(3, 0, 1)]);
        assert_eq!(confined(), 1);
    });
}

#[test]
fn the_process_is_confined_before_a_file_in_place_is_changed() {
    for change in [zero(0, 0, 1), set_len(0, 9), copy(1, 0, 0, 0, 1), write(0, 0, 0, 1)] {
        let mut fixture = Fixture::new().in_place("image", b"content").input("in", b"input").stage(10);
        confining!(fixture, |confined, ring| {
            let before = confined();
            ring(&[read(0, 0, 0, 1), read(1, 0, 0, 1)]);
            ring(&[EXPECTED, zero(2, 0, 1)]);
            assert_eq!(confined(), before);
            ring(&[change]);
            ring(&[change]);
            assert_eq!(confined(), before + 1, "{change:?}");
        });
    }
}
