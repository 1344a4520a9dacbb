//! `instar dd` does what released versions of `qemu-img dd` were recorded doing.

use std::collections::BTreeSet;
use std::io::{self, Write};

use testkit::baseline::{Baseline, Case};
use testkit::cases::assert_all;
use testkit::fixtures::Fixtures;
use testkit::outcome::Outcome;
use testkit::qemu::Qemu;
use testkit::scene::View;
use testkit::tool::Tool;

/// A baseline that lost cases would still be passed.
const NUMBER_OF_CASES: usize = 306;

/// Cases that instar refuses on purpose, with exit code 1 and nothing written, though qemu-img has another outcome.
///
/// Each is checked to still be refused, and to still be a difference.
const DELIBERATE: &[(&str, &str)] = &[
    ("opt/of-same-raw", "the output is the input: qemu-img zeroes it before it reads it, and exits with 0"),
    ("count0/q1m->vmdk", EMPTY_VMDK),
    ("empty-raw/->vmdk", EMPTY_VMDK),
    ("skip-beyond-eof/q1m->vmdk", EMPTY_VMDK),
];

const EMPTY_VMDK: &str =
    "a VMDK of nothing: qemu-img fails too, and leaves a file that it cannot open itself";

#[test]
fn every_recorded_case_has_its_outcome() {
    let baseline = Baseline::load();
    assert_eq!(baseline.cases.len(), NUMBER_OF_CASES);

    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let qemu = Qemu::require();
    let fixtures = Fixtures::generate(qemu.as_ref());
    let contents = fixtures.contents();
    assert_all(&possible(&baseline, qemu.is_some()), |case| {
        let view = match &qemu {
            Some(qemu) if baseline.expected(case).has_images() => View::Image(qemu),
            _ => View::Bytes,
        };
        let actual = case.run(&instar, &fixtures, view);
        if let Some(reason) = reason_for_difference(case) {
            return differences_from_refusal(&actual, reason);
        }
        // Where an input is copied as it is, and another QEMU made it with other bytes, the copy has to have these.
        let made =
            baseline.fixtures.iter().filter_map(|(name, recorded)| Some((recorded, contents.get(&**name)?)));
        let recorded = baseline.expected(case).clone();
        let expected = made.fold(recorded, |outcome, (recorded, made)| outcome.with_content(recorded, made));
        actual.differences_from(&expected)
    });
}

#[test]
fn deliberate_differences_are_differences_from_recorded_cases() {
    let baseline = Baseline::load();
    for (name, _) in DELIBERATE {
        let case = baseline.cases.iter().find(|case| case.name == *name);
        let case = case.unwrap_or_else(|| panic!("{name:?} is not a recorded case"));
        assert_ne!(baseline.expected(case), &Outcome::refusal(), "{case}: qemu-img refuses it too");
    }
}

#[test]
fn every_case_has_a_name_of_its_own_and_one_outcome_per_version() {
    let baseline = Baseline::load();
    let names: BTreeSet<_> = baseline.cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), baseline.cases.len(), "names are unique");
    for case in &baseline.cases {
        let mut covered = baseline.versions_covered(case);
        let mut versions: Vec<_> = baseline.versions.iter().map(String::as_str).collect();
        covered.sort_unstable();
        versions.sort_unstable();
        assert_eq!(covered, versions, "{case}: each version has one outcome");
    }
}

#[test]
fn fixtures_are_the_files_that_the_cases_were_recorded_with() {
    let baseline = Baseline::load();
    let raw = baseline.fixtures.iter().filter(|(name, _)| !is_made_by_qemu(name));
    let generated = Fixtures::generate(None).contents();
    assert!(
        raw.map(|(name, content)| (name.as_str(), content))
            .eq(generated.iter().map(|(name, content)| (*name, content))),
        "the fixtures that are generated are those that were recorded"
    );
}

/// The cases that can be run: without QEMU, those with raw images only.
fn possible(baseline: &Baseline, with_qemu: bool) -> Vec<&Case> {
    let needs_qemu = |case: &&Case| {
        baseline.expected(case).has_images() || case.args.iter().any(|arg| is_made_by_qemu(arg))
    };
    let (needing, raw): (Vec<_>, Vec<_>) = baseline.cases.iter().partition(needs_qemu);
    if with_qemu {
        return [raw, needing].concat();
    }
    let _ = writeln!(io::stderr(), "SKIPPED: {} recorded cases that need QEMU's tools", needing.len());
    raw
}

fn is_made_by_qemu(name: &str) -> bool {
    name.ends_with(".qcow2")
}

fn reason_for_difference(case: &Case) -> Option<&'static str> {
    DELIBERATE.iter().find(|(name, _)| *name == case.name).map(|(_, reason)| *reason)
}

fn differences_from_refusal(actual: &Outcome, reason: &str) -> Vec<String> {
    let mut found = actual.differences_from(&Outcome::refusal());
    if !found.is_empty() {
        found.push(format!("refused on purpose: {reason}"));
    }
    found
}
