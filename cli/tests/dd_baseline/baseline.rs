//! The files in `testdata/baselines`: what released versions of qemu-img did. Their README says how to read them.

use core::fmt;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use testkit::outcome::{Content, Outcome};

#[derive(Deserialize)]
pub(super) struct Baseline {
    /// The version whose outcome is the one to reach.
    pub(super) target: String,
    /// All recorded versions, in the order that ranges of them refer to.
    pub(super) versions: Vec<String>,
    pub(super) fixtures: BTreeMap<String, Content>,
    pub(super) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    /// Files there beside the inputs: their names and the fixtures that they are copies of.
    #[serde(default)]
    pub(super) before: BTreeMap<String, String>,
    outcomes: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    /// "all", or a list of versions and ranges of versions: "5.2.0, 8.1.0..11.1.3".
    versions: String,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Baseline {
    /// Reads `testdata/baselines/PATH`.
    pub(super) fn load(path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/baselines").join(path);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// What the target did.
    pub(super) fn expected<'a>(&self, case: &'a Case) -> &'a Outcome {
        let target = self.position(&self.target);
        let recorded = case.outcomes.iter().find(|recorded| self.covered_by(recorded).contains(&target));
        &recorded.unwrap_or_else(|| panic!("{case}: the target has no outcome")).outcome
    }

    /// The positions in `versions` of the versions that have an outcome of `case`, each as often as it has one.
    pub(super) fn versions_covered(&self, case: &Case) -> Vec<usize> {
        case.outcomes.iter().flat_map(|recorded| self.covered_by(recorded)).collect()
    }

    fn covered_by(&self, recorded: &Recorded) -> Vec<usize> {
        if recorded.versions == "all" {
            return (0..self.versions.len()).collect();
        }
        let ranges =
            recorded.versions.split(", ").map(|range| range.split_once("..").unwrap_or((range, range)));
        ranges.flat_map(|(first, last)| self.position(first)..=self.position(last)).collect()
    }

    fn position(&self, version: &str) -> usize {
        let found = self.versions.iter().position(|known| known == version);
        found.unwrap_or_else(|| panic!("version {version:?} is not in the table"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: dd {:?}", self.name, self.args)
    }
}
