//! instar beside what was recorded of `qemu-img`: what the tests of all recorded commands have in common.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use crate::baseline::{Baseline, Case};
use crate::cases::assert_all;
use crate::fixtures::{Fixtures, is_made_by_qemu};
use crate::outcome::Outcome;
use crate::qemu::Qemu;
use crate::scene::View;
use crate::tool::Tool;

/// A command's recordings, and where instar differs from them on purpose.
pub struct Recorded {
    baseline: Baseline,
    deliberate: &'static [(&'static str, &'static str)],
}

impl Recorded {
    /// The recordings of `command`, which are `number` cases: one that lost cases would still be passed.
    ///
    /// `deliberate` names the cases that instar refuses on purpose, with exit code 1 and nothing written, though
    /// `qemu-img` has another outcome, and says why.
    pub fn of(command: &str, number: usize, deliberate: &'static [(&'static str, &'static str)]) -> Self {
        let baseline = Baseline::load(command);
        assert_eq!(baseline.cases.len(), number);
        Self { baseline, deliberate }
    }

    /// The program `instar` does in each case what the target did, or refuses on purpose.
    pub fn assert_outcomes(&self, instar: &Path) {
        let instar = Tool::named(instar);
        let qemu = Qemu::require();
        let fixtures = Fixtures::generate(qemu.as_ref());
        let contents = fixtures.contents();
        assert_all(&self.possible(qemu.is_some()), |case| {
            let view = match &qemu {
                Some(qemu) if self.baseline.expected(case).has_images() => View::Image(qemu),
                _ => View::Bytes,
            };
            let actual = self.baseline.run(case, &instar, &fixtures, view);
            if let Some(reason) = self.reason_for_difference(case) {
                return differences_from_refusal(&actual, reason);
            }
            // Where an input is copied as it is, and another QEMU made it with other bytes, the copy has to have these.
            let recorded = self.baseline.fixtures.iter();
            let made = recorded.filter_map(|(name, recorded)| Some((recorded, contents.get(&**name)?)));
            let expected = self.baseline.expected(case).clone();
            let expected =
                made.fold(expected, |outcome, (recorded, made)| outcome.with_content(recorded, made));
            actual.differences_from(&expected)
        });
    }

    /// Where instar refuses on purpose, `qemu-img` does not refuse.
    pub fn assert_deliberate_differences(&self) {
        for (name, _) in self.deliberate {
            let case = self.baseline.cases.iter().find(|case| case.name == *name);
            let case = case.unwrap_or_else(|| panic!("{name:?} is not a recorded case"));
            assert_ne!(self.baseline.expected(case), &Outcome::refusal(), "{case}: qemu-img refuses it too");
        }
    }

    /// Names are unique, and each version has one outcome of each case.
    pub fn assert_complete(&self) {
        let names: BTreeSet<_> = self.baseline.cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), self.baseline.cases.len(), "names are unique");
        for case in &self.baseline.cases {
            let mut covered = self.baseline.versions_covered(case);
            let mut versions: Vec<_> = self.baseline.versions.iter().map(String::as_str).collect();
            covered.sort_unstable();
            versions.sort_unstable();
            assert_eq!(covered, versions, "{case}: each version has one outcome");
        }
    }

    /// The fixtures that are generated without QEMU have the bytes of those that the cases were recorded with.
    pub fn assert_fixtures(&self) {
        let generated = Fixtures::generate(None).contents();
        for (name, recorded) in self.baseline.fixtures.iter().filter(|(name, _)| !is_made_by_qemu(name)) {
            assert_eq!(generated.get(&**name), Some(recorded), "{name}");
        }
    }

    /// The cases that can be run: without QEMU, those with raw images only.
    fn possible(&self, with_qemu: bool) -> Vec<&Case> {
        let needs_qemu = |case: &&Case| {
            self.baseline.expected(case).has_images() || case.args.iter().any(|arg| is_made_by_qemu(arg))
        };
        let (needing, raw): (Vec<_>, Vec<_>) = self.baseline.cases.iter().partition(needs_qemu);
        if with_qemu {
            return [raw, needing].concat();
        }
        let _ = writeln!(io::stderr(), "SKIPPED: {} recorded cases that need QEMU's tools", needing.len());
        raw
    }

    fn reason_for_difference(&self, case: &Case) -> Option<&'static str> {
        self.deliberate.iter().find(|(name, _)| *name == case.name).map(|(_, reason)| *reason)
    }
}

fn differences_from_refusal(actual: &Outcome, reason: &str) -> Vec<String> {
    let mut found = actual.differences_from(&Outcome::refusal());
    if !found.is_empty() {
        found.push(format!("refused on purpose: {reason}"));
    }
    found
}
