//! Files that images name.

use guest_abi::boot::{FileEntry, ROLE_INPUT};

use super::*;
use crate::files::NameErrorKind;

const ANSWER_LEN: usize = size_of::<FileEntry>();

/// An image, and what it names.
fn fixture() -> Fixture {
    let fixture = Fixture::new().input("overlay", b"overlay");
    fs::write(fixture.path("base"), b"base").unwrap();
    fs::write(fixture.path("other"), b"other content").unwrap();
    fixture
}

fn answer(len: u64) -> [u8; ANSWER_LEN] {
    FileEntry { role: ROLE_INPUT, hints: 0, len }.as_bytes().try_into().unwrap()
}

#[test]
fn a_named_file_is_the_next_input() {
    let mut fixture = fixture().output("out");
    fixture.run(NO_LIMITS, |executor, window| {
        window.0[100..104].copy_from_slice(b"base");
        window.0[200..205].copy_from_slice(b"other");
        executor.carry_out(&[open(0, 100, 4, 0), open(0, 200, 5, 50)], &window.slice()).unwrap();
        assert_eq!(window.0[..ANSWER_LEN], answer(4));
        assert_eq!(window.0[50..][..ANSWER_LEN], answer(13));
        let records = [read(3, 6, 0, 7), read(2, 0, 7, 4), set_len(1, 4), copy(2, 0, 1, 0, 4)];
        executor.carry_out(&records, &window.slice()).unwrap();
        assert_eq!(window.0[..11], *b"contentbase");
        assert_eq!(executor.operations(), 6);
    });
    assert_eq!(fixture.content("out"), b"base");
}

#[test]
fn a_named_file_is_not_known_before_the_next_ring() {
    fixture().run(NO_LIMITS, |executor, window| {
        window.0[..4].copy_from_slice(b"base");
        let error = executor.carry_out(&[open(0, 0, 4, 0), read(1, 0, 0, 1)], &window.slice()).unwrap_err();
        assert_eq!(error.to_string(), "operation 2 of the guest: there is no file 1");
        assert_eq!(window.0[..4], *b"base");
    });
}

#[test]
fn reads_and_names_are_answered_in_order() {
    fixture().run(NO_LIMITS, |executor, window| {
        window.0[100..104].copy_from_slice(b"base");
        let records = [read(0, 0, 0, 7), open(0, 100, 4, 0), read(0, 0, 4, 2)];
        executor.carry_out(&records, &window.slice()).unwrap();
        let mut expected = answer(4);
        expected[4..6].copy_from_slice(b"ov");
        assert_eq!(window.0[..ANSWER_LEN], expected);
    });
}

#[test]
fn a_name_is_what_was_there_when_the_guest_rang() {
    fixture().run(NO_LIMITS, |executor, window| {
        window.0[..4].copy_from_slice(b"base");
        executor.carry_out(&[read(0, 0, 0, 7), open(0, 0, 4, 20)], &window.slice()).unwrap();
        assert_eq!(window.0[20..][..ANSWER_LEN], answer(4));
    });
}

#[test]
fn a_name_that_is_refused_ends_the_command() {
    let mut fixture = fixture().output("out");
    let image = fixture.path("overlay");
    fixture.run(NO_LIMITS, |executor, window| {
        window.0[..7].copy_from_slice(b"../base");
        let error = executor.carry_out(&[open(0, 0, 7, 0), set_len(1, 0)], &window.slice()).unwrap_err();
        let ExecError::Name(error) = error else { panic!("{error}") };
        assert!(matches!(error.kind, NameErrorKind::NotAllowed), "{error}");
        assert_eq!((error.image, &*error.name), (image, "../base"));
        assert_eq!(executor.files().outputs_touched().count(), 0);
    });
    assert!(!fixture.path("out").exists());
}
