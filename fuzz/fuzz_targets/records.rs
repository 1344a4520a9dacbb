//! The executor on operations that a guest which an image has taken over might ask for.
//!
//! An input is records as they stand in the exchange, [`RING`] to a ring. What the executor takes, what it refuses, and
//! what is in the files and in the data window afterwards, must be as in the [`model`].

#![no_main]

#[path = "records/decoders.rs"]
mod decoders;
#[path = "records/model.rs"]
mod model;
#[path = "records/scene.rs"]
mod scene;
#[path = "records/tree.rs"]
mod tree;

use core::sync::atomic::AtomicBool;

use guest_abi::exchange::{DECODE, Record};
use libfuzzer_sys::fuzz_target;
use vm_memory::VolatileSlice;
use vmm::exec::{ExecError, Executor};
use vmm::{Limits, Observer};
use zerocopy::FromBytes;

use crate::decoders::Decoders;
use crate::model::{Answer, Model, Outcome};
use crate::scene::{IN_PLACE, Scene};

/// How many records go with one ring of the doorbell.
const RING: usize = 4;

/// Small, so that they are reached.
const LIMITS: Limits = Limits {
    output_len: 8 << 10,
    written: 16 << 10,
    read: 16 << 10,
    scanned: 16 << 10,
    packed: 8 << 10,
    operations: 16,
};

struct Nobody;

impl Observer for Nobody {
    fn tick(&mut self, _written: u64, _planned: u64) {}
}

fuzz_target!(|bytes: &[u8]| {
    let records: Vec<_> = bytes
        .chunks_exact(size_of::<Record>())
        .map(|record| Record::read_from_bytes(record).expect("a chunk has the size of a record"))
        // What a unit in place is by then, and whether it is one, is not always known.
        .filter(|record| !(record.op == DECODE && record.src_file == IN_PLACE))
        .collect();
    let scene = Scene::new();
    let mut model = Model::new(LIMITS, scene.tree(), scene.inputs(), scene.in_place());

    let (interrupted, mut nobody) = (AtomicBool::new(false), Nobody);
    let mut executor = Executor::new(scene.files(), LIMITS, || Ok(()), &interrupted, &mut nobody, &Decoders);
    for ring in records.chunks(RING) {
        match carry_out(ring, &mut executor, &mut model) {
            Outcome::Done(_) => {}
            Outcome::Refused | Outcome::NotOpened => return scene.check(&model),
            // How much of the ring has been done is not said.
            Outcome::Broken => return,
        }
    }
    let outcome = executor.finish();
    assert_eq!(outcome.is_ok(), model.is_finished(), "{outcome:?}");
    scene.check(&model);
});

/// What becomes of the ring, which executor and model must agree upon.
fn carry_out(ring: &[Record], executor: &mut Executor<'_>, model: &mut Model) -> Outcome {
    let mut window = scene::window();
    let outcome = executor.carry_out(ring, &VolatileSlice::from(window.as_mut_slice()));
    let expected = model.carry_out(ring);
    match (&outcome, &expected) {
        (Ok(()), Outcome::Done(answers)) => {
            check_window(&window, answers);
            assert_eq!((executor.operations(), executor.written()), (model.operations(), model.written()));
        }
        (Err(ExecError::Refused { .. }), Outcome::Refused)
        | (Err(ExecError::Name(_)), Outcome::NotOpened)
        | (Err(ExecError::Decoding(_)), Outcome::Broken) => {}
        _ => panic!("{ring:?}: {outcome:?}, expected {expected:?}"),
    }
    expected
}

fn check_window(window: &[u8], answers: &[Answer]) {
    let mut expected = scene::window();
    for Answer { at, bytes } in answers {
        for (at, byte) in (*at..).zip(bytes) {
            expected[at] = byte.unwrap_or(window[at]);
        }
    }
    assert!(window == expected, "the data window has the answers, and nothing else");
}
