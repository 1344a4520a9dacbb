//! `instar dd` does what released versions of `qemu-img dd` were recorded doing.

use std::path::Path;

use testkit::recorded::Recorded;

/// Cases that instar refuses on purpose, and why.
const DELIBERATE: &[(&str, &str)] = &[
    ("opt/of-same-raw", "the output is the input: qemu-img zeroes it before it reads it, and exits with 0"),
    ("count0/q1m->vmdk", EMPTY_VMDK),
    ("empty-raw/->vmdk", EMPTY_VMDK),
    ("skip-beyond-eof/q1m->vmdk", EMPTY_VMDK),
];

const EMPTY_VMDK: &str =
    "a VMDK of nothing: qemu-img fails too, and leaves a file that it cannot open itself";

fn recorded() -> Recorded {
    Recorded::of("dd", 306, DELIBERATE)
}

#[test]
fn every_recorded_case_has_its_outcome() {
    recorded().assert_outcomes(Path::new(env!("CARGO_BIN_EXE_instar")));
}

#[test]
fn deliberate_differences_are_differences_from_recorded_cases() {
    recorded().assert_deliberate_differences();
}

#[test]
fn every_case_has_a_name_of_its_own_and_one_outcome_per_version() {
    recorded().assert_complete();
}

#[test]
fn fixtures_are_the_files_that_the_cases_were_recorded_with() {
    recorded().assert_fixtures();
}
