//! `instar convert` does what released versions of `qemu-img convert` were recorded doing.

use std::path::Path;

use testkit::recorded::Recorded;

/// Cases that instar refuses on purpose, and why.
const DELIBERATE: &[(&str, &str)] = &[
    (
        "input/empty->vmdk",
        "a VMDK of nothing: qemu-img fails too, and leaves a file that it cannot open itself",
    ),
    ("option/raw/preallocation=metadata", LEFT_BEHIND),
    ("option/vpc/subformat=x", LEFT_BEHIND),
    ("option/vhdx/block_size=3M", LEFT_BEHIND),
    ("option/vhdx/log_size=0", LEFT_BEHIND),
    ("option/vhdx/subformat=x", LEFT_BEHIND),
    ("backing/nosuch", LEFT_BEHIND),
    ("flag/-t nosuch", LEFT_BEHIND),
    ("option/other/raw/size=2M", SIZE),
    ("option/other/qcow2/size=2M", SIZE),
    ("option/other/raw/nocow=off", FILE_SYSTEM),
    ("option/other/raw/extent_size_hint=0", FILE_SYSTEM),
    ("option/other/qcow2/encryption=off", "images are not encrypted"),
    ("option/other/vmdk/preallocation=full", NOTHING_ALLOCATED),
    ("option/other/vpc/preallocation=full", NOTHING_ALLOCATED),
    ("option/other/vhdx/preallocation=falloc", NOTHING_ALLOCATED),
    ("compressed/monolithicSparse", "qemu-img takes it and compresses nothing"),
    ("flag/--bitmaps->qcow2", "persistent bitmaps are not copied"),
    ("format/vdi", "not a format that instar writes"),
];

const LEFT_BEHIND: &str = "qemu-img fails too, and leaves a file with nothing in it";
const SIZE: &str = "qemu-img takes a size and gives the output another";
const FILE_SYSTEM: &str = "such attributes are for whoever makes directories";
const NOTHING_ALLOCATED: &str = "qemu-img takes it and allocates nothing";

fn recorded() -> Recorded {
    Recorded::of("convert", 317, DELIBERATE)
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
