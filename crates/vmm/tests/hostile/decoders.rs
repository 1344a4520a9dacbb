//! Decoders that were taken over by what they decompress.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use guest_abi::decode::{BROKEN, COUNT_AT, LENS_AT, PLAIN_AT};
use vmm::error::ImageFailure;

use super::*;
use crate::support::UNIT_LEN;

/// Says that one unit has been decompressed, and is so long.
fn decoded(len: u32) -> Code {
    Code::new().put(LENS_AT, &len).put(0, &Head { state: GO_ON, count: 1, ..Head::default() })
}

/// What comes of a decoder of this code, which has not let anything be written; and the output that is left is named.
#[track_caller]
fn fails_with(sandbox: Choice, decoder: &Code) -> Error {
    let scene = Scene::new(sandbox);
    let failed = scene.decode(decoder).expect_err("the decoder was believed");
    assert_eq!(failed.incomplete, [scene.output()]);
    assert_eq!(fs::read(scene.output()).unwrap(), [0; UNIT_LEN as usize], "nothing was written");
    failed.error
}

#[track_caller]
fn assert_fault(sandbox: Choice, decoder: &Code, fault: &GuestFault) {
    match fails_with(sandbox, decoder) {
        Error::Guest(found) => assert_eq!(&found, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_honest_one_is_believed() {
    everywhere(|sandbox| {
        let scene = Scene::new(sandbox);
        let code = decoded(UNIT_LEN).put(PLAIN_AT, b"decoder!").put(PLAIN_AT + 4092, b"end.");
        scene.decode(&code.ring()).unwrap();
        let written = fs::read(scene.output()).unwrap();
        assert_eq!((&written[..8], &written[4092..]), (&b"decoder!"[..], &b"end."[..]));
    });
}

#[test]
fn one_that_ends_in_an_exception() {
    everywhere(|sandbox| assert_fault(sandbox, &Code::new().then(&[0x0f, 0x0b]), &GuestFault::Exception));
}

#[test]
fn one_that_has_no_end() {
    let fault = GuestFault::Watchdog(GUEST_TIME);
    everywhere(|sandbox| assert_fault(sandbox, &Code::new().then(&[0xeb, 0xfe]), &fault));
}

#[test]
fn one_that_panics() {
    let head = Head { state: PANICKED, text_len: 4, ..Head::default() };
    let code = Code::new().put(TEXT_AT, b"oops").put(0, &head).ring();
    everywhere(|sandbox| assert_fault(sandbox, &code, &GuestFault::Panicked("oops".to_owned())));
}

#[test]
fn one_that_says_nothing() {
    let fault = GuestFault::Nonsense("an unknown state");
    everywhere(|sandbox| assert_fault(sandbox, &Code::new().ring(), &fault));
}

#[test]
fn one_that_acts_as_a_command() {
    for state in [FINISHED, FAILED] {
        let code = decoded(UNIT_LEN).put(0, &Head { state, count: 1, ..Head::default() }).ring();
        let fault = GuestFault::Nonsense("an unknown state");
        everywhere(|sandbox| assert_fault(sandbox, &code, &fault));
    }
}

#[test]
fn one_that_has_seen_more_units_than_there_are() {
    let fault = GuestFault::Lie { what: "units", claimed: u32::MAX.into(), counted: 1 };
    // It also changes what it was told.
    let head = Head { state: GO_ON, count: u32::MAX, ..Head::default() };
    let code = decoded(UNIT_LEN).put(COUNT_AT, &u32::MAX).put(0, &head).ring();
    everywhere(|sandbox| assert_fault(sandbox, &code, &fault));
}

#[test]
fn one_whose_unit_is_too_long() {
    let fault = GuestFault::Nonsense("a unit that is longer than it can be");
    everywhere(|sandbox| assert_fault(sandbox, &decoded(UNIT_LEN + 1).ring(), &fault));
}

#[test]
fn one_that_calls_an_image_broken_is_believed_too() {
    everywhere(|sandbox| {
        for (len, said) in [
            (BROKEN, "a compressed cluster cannot be decompressed"),
            (UNIT_LEN - 1, "a compressed cluster is shorter than what is in it"),
        ] {
            let error = fails_with(sandbox, &decoded(len).ring());
            let Error::Image(ImageFailure { kind: FailureKind::Corrupt, at: 0, what, .. }) = error else {
                panic!("{error:?}")
            };
            assert_eq!(what, said);
        }
    });
}
