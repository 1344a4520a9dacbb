//! `instar dd` does what released versions of `qemu-img dd` were recorded doing, from raw images to raw images.

mod support;

use std::collections::BTreeSet;

use support::baseline::{Baseline, Case};
use support::cases::assert_all;
use support::fixtures::Fixtures;
use support::outcome::Outcome;
use support::scene;
use support::tool::Tool;

const RAW_TO_RAW: &str = "dd/raw-to-raw.json";

/// A baseline that lost cases would still be passed; grow this with the file.
const FEWEST_CASES: usize = 183;

/// Cases that instar refuses on purpose, with exit code 1 and nothing written, though qemu-img has another outcome.
///
/// Each is checked to still be refused, and to still be a difference.
const DELIBERATE: &[(&str, &str)] = &[(
    "opt/of-same-raw",
    "the output is the input: qemu-img zeroes it before it reads it, and exits with 0",
)];

#[test]
fn every_recorded_case_has_its_outcome() {
    let baseline = Baseline::load(RAW_TO_RAW);
    assert!(baseline.cases.len() >= FEWEST_CASES, "{RAW_TO_RAW} has only {} cases", baseline.cases.len());

    let instar = Tool::instar();
    let fixtures = Fixtures::generate();
    assert_all(&baseline.cases, |case| {
        let actual = scene::outcome(&instar, &case.args, |dir| {
            fixtures.write_named_in(&case.args, dir)?;
            case.before.iter().try_for_each(|(name, fixture)| fixtures.get(fixture).write(&dir.join(name)))
        });
        match reason_for_difference(case) {
            None => actual.differences_from(baseline.expected(case)),
            Some(reason) => differences_from_refusal(&actual, reason),
        }
    });
}

#[test]
fn deliberate_differences_are_differences_from_recorded_cases() {
    let baseline = Baseline::load(RAW_TO_RAW);
    for (name, _) in DELIBERATE {
        let case = baseline.cases.iter().find(|case| case.name == *name);
        let case = case.unwrap_or_else(|| panic!("{name:?} is not a recorded case"));
        assert_ne!(baseline.expected(case), &Outcome::refusal(), "{case}: qemu-img refuses it too");
    }
}

#[test]
fn every_case_has_a_name_of_its_own_and_one_outcome_per_version() {
    let baseline = Baseline::load(RAW_TO_RAW);
    let names: BTreeSet<_> = baseline.cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), baseline.cases.len(), "names are unique");
    for case in &baseline.cases {
        let mut covered = baseline.versions_covered(case);
        covered.sort_unstable();
        assert!(covered.into_iter().eq(0..baseline.versions.len()), "{case}: each version has one outcome");
    }
}

#[test]
fn fixtures_are_the_files_that_the_cases_were_recorded_with() {
    let baseline = Baseline::load(RAW_TO_RAW);
    let fixtures = Fixtures::generate();
    assert!(fixtures.names().eq(baseline.fixtures.keys()), "the same fixtures are recorded and generated");
    for (name, recorded) in &baseline.fixtures {
        let disk = fixtures.get(name);
        assert_eq!((disk.size(), disk.sha256()), (recorded.size, recorded.sha256.clone()), "{name}");
    }
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
