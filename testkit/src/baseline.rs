//! The files in `testdata/baselines`: what released versions of qemu-img did. Their READMEs say how to read them.

use core::fmt::{self, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use crate::fixtures::Fixtures;
use crate::outcome::{Content, Outcome};
use crate::scene::{self, View};
use crate::tool::Tool;

/// The commands of which there are recordings.
pub const COMMANDS: &[&str] = &["dd", "convert"];

/// What stands for all versions.
const ALL: &str = "all";

/// What was recorded of one command.
#[derive(Clone, Deserialize)]
pub struct Baseline {
    /// The command: "dd".
    pub command: String,
    /// The version whose outcome is the one to reach.
    pub target: String,
    /// All recorded versions, in the order that ranges of them refer to: upstream's first, oldest first.
    pub versions: Vec<String>,
    /// The inputs that the cases were recorded with.
    pub fixtures: BTreeMap<String, Content>,
    /// What was run.
    pub cases: Vec<Case>,
}

/// A command, and what came of it.
#[derive(Clone, Deserialize)]
pub struct Case {
    /// No other has it.
    pub name: String,
    /// What stands behind the command.
    pub args: Vec<String>,
    /// Files there beside the inputs: their names and the fixtures that they are copies of.
    #[serde(default)]
    pub before: BTreeMap<String, String>,
    /// None for a case that is new.
    #[serde(default)]
    outcomes: Vec<Recorded>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Recorded {
    /// "all", or a list of versions and ranges of versions: "5.2.0, 8.1.0..11.1.3".
    versions: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What a newly recorded version has to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Where it differs from what was recorded of the same version, in words.
    pub changed: Vec<String>,
    /// Where it differs from the target, in words.
    pub unlike_target: Vec<String>,
}

impl Baseline {
    /// Reads the file of `command`.
    pub fn load(command: &str) -> Self {
        let path = path(command);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Writes the file.
    pub fn save(&self) -> io::Result<()> {
        fs::write(path(&self.command), self.to_text())
    }

    /// What `tool` does in a fresh directory that has the inputs.
    pub fn run(&self, case: &Case, tool: &Tool, fixtures: &Fixtures, view: View<'_>) -> Outcome {
        let words: Vec<_> = [&self.command].into_iter().chain(&case.args).collect();
        let (outcome, _) = scene::run_words(tool, &words, view, |dir| {
            fixtures.write_named_in(&case.args, dir)?;
            case.before.iter().try_for_each(|(name, fixture)| fixtures.write(fixture, &dir.join(name)))
        });
        outcome
    }

    /// What the target did.
    pub fn expected<'a>(&self, case: &'a Case) -> &'a Outcome {
        let outcome = self.outcome(case, &self.target);
        outcome.unwrap_or_else(|| panic!("{case}: the target has no outcome"))
    }

    /// What `version` did.
    pub fn outcome<'a>(&self, case: &'a Case, version: &str) -> Option<&'a Outcome> {
        let recorded = case.outcomes.iter().find(|recorded| self.covered_by(recorded).contains(version));
        recorded.map(|recorded| &recorded.outcome)
    }

    /// The versions that have an outcome of `case`, each as often as it has one.
    pub fn versions_covered<'a>(&'a self, case: &Case) -> Vec<&'a str> {
        case.outcomes.iter().flat_map(|recorded| self.covered_by(recorded)).collect()
    }

    /// Adds what `version` did in each case, instead of what was recorded of it before.
    pub fn record(&mut self, version: &str, outcomes: Vec<Outcome>) -> Report {
        assert_eq!(outcomes.len(), self.cases.len(), "there is an outcome of each case");
        let outcomes: Vec<_> = outcomes.into_iter().map(Outcome::recordable).collect();
        let report = self.report(version, &outcomes);
        let mut after = self.versions.clone();
        if !after.iter().any(|known| known == version) {
            after.insert(after.partition_point(|known| order(known) < order(version)), version.into());
        }
        for (index, outcome) in outcomes.into_iter().enumerate() {
            self.cases[index].outcomes = self.merged(&self.cases[index], version, outcome, &after);
        }
        self.versions = after;
        report
    }

    fn report(&self, version: &str, outcomes: &[Outcome]) -> Report {
        let mut report = Report::default();
        for (case, outcome) in self.cases.iter().zip(outcomes) {
            let unlike = |other: &Outcome| {
                let differences = outcome.differences_from(other);
                (outcome != other).then(|| format!("{case}\n    {}", differences.join("\n    ")))
            };
            report.changed.extend(self.outcome(case, version).and_then(unlike));
            report.unlike_target.extend(self.outcome(case, &self.target).and_then(unlike));
        }
        report
    }

    /// The outcomes of `case`, the target's first, once `version` has this one; ranges refer to the versions `after`.
    fn merged(&self, case: &Case, version: &str, outcome: Outcome, after: &[String]) -> Vec<Recorded> {
        let mut groups: Vec<(BTreeSet<&str>, Outcome)> = Vec::new();
        for recorded in &case.outcomes {
            let mut versions = self.covered_by(recorded);
            versions.remove(version);
            groups.push((versions, recorded.outcome.clone()));
        }
        match groups.iter_mut().find(|(_, known)| *known == outcome) {
            Some((versions, _)) => _ = versions.insert(version),
            None => groups.push((BTreeSet::from([version]), outcome)),
        }
        groups.retain(|(versions, _)| !versions.is_empty());
        groups.sort_by_key(|(versions, _)| !versions.contains(&*self.target));
        let recorded = groups
            .into_iter()
            .map(|(versions, outcome)| Recorded { versions: ranges(&versions, after), outcome });
        recorded.collect()
    }

    fn covered_by(&self, recorded: &Recorded) -> BTreeSet<&str> {
        let all = self.versions.iter().map(String::as_str);
        if recorded.versions == ALL {
            return all.collect();
        }
        let ranges =
            recorded.versions.split(", ").map(|range| range.split_once("..").unwrap_or((range, range)));
        let positions = ranges.flat_map(|(first, last)| self.position(first)..=self.position(last));
        positions.map(|position| &*self.versions[position]).collect()
    }

    fn position(&self, version: &str) -> usize {
        let found = self.versions.iter().position(|known| known == version);
        found.unwrap_or_else(|| panic!("version {version:?} is not in the table"))
    }

    /// A line for each outcome: what a further version changes is seen in a diff.
    pub fn to_text(&self) -> String {
        let mut text = String::from("{\n");
        let _ = writeln!(text, "\"command\": {},", json(&self.command));
        let _ = writeln!(text, "\"target\": {},", json(&self.target));
        let _ = writeln!(text, "\"versions\": {},", json(&self.versions));
        let fixtures: Vec<_> = self
            .fixtures
            .iter()
            .map(|(name, content)| format!("  {}: {}", json(name), json(content)))
            .collect();
        let _ = writeln!(text, "\"fixtures\": {{\n{}\n}},", fixtures.join(",\n"));
        let cases: Vec<_> = self.cases.iter().map(Case::to_text).collect();
        let _ = writeln!(text, "\"cases\": [\n{}\n]\n}}", cases.join(",\n"));
        text
    }
}

impl Case {
    /// The format that the arguments ask for.
    pub fn output_format(&self) -> &str {
        let option = self.args.iter().rposition(|arg| arg == "-O" || arg == "--output-format");
        let value = option.and_then(|at| self.args.get(at + 1));
        value.map_or("raw", String::as_str)
    }

    fn to_text(&self) -> String {
        let before = match &self.before {
            none if none.is_empty() => String::new(),
            some => format!(", \"before\": {}", json(some)),
        };
        let outcomes: Vec<_> =
            self.outcomes.iter().map(|recorded| format!("    {}", json(recorded))).collect();
        let (name, args, outcomes) = (json(&self.name), json(&self.args), outcomes.join(",\n"));
        format!("  {{\"name\": {name}, \"args\": {args}{before}, \"outcomes\": [\n{outcomes}]}}")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.args)
    }
}

/// Where the file of `command` is.
fn path(command: &str) -> PathBuf {
    let baselines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/baselines");
    baselines.join(command).join("cases.json")
}

/// Upstream's versions come first, each kind by its numbers.
fn order(version: &str) -> (bool, Vec<u32>) {
    let (numbers, distribution) = version.split_once('-').map_or((version, None), |(n, d)| (n, Some(d)));
    let numbers = numbers.split('.').map(|number| number.parse().unwrap_or(u32::MAX));
    (distribution.is_some(), numbers.collect())
}

/// `versions`, as ranges of `all`. None goes from upstream's versions to others.
fn ranges(versions: &BTreeSet<&str>, all: &[String]) -> String {
    if all.iter().all(|version| versions.contains(&**version)) {
        return ALL.into();
    }
    let is_neighbour = |a: &String, b: &String| {
        versions.contains(&**a) == versions.contains(&**b) && order(a).0 == order(b).0
    };
    let runs = all.chunk_by(is_neighbour).filter(|run| versions.contains(&*run[0]));
    let texts: Vec<_> = runs
        .map(|run| match run {
            [only] => only.clone(),
            [first, .., last] => format!("{first}..{last}"),
            [] => unreachable!("a chunk has something in it"),
        })
        .collect();
    texts.join(", ")
}

/// On one line, with a blank behind each comma and colon.
fn json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, OneLine);
    value.serialize(&mut serializer).expect("all of it can be written as JSON");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Exit;

    const TEXT: &str = r#"{"command": "dd", "target": "2.0.0", "versions": ["1.0.0", "2.0.0", "1.5.0-debian"], "fixtures": {},
        "cases": [{"name": "one", "args": ["-O", "raw"], "outcomes": [
            {"versions": "2.0.0..1.5.0-debian", "exit": 0}, {"versions": "1.0.0", "exit": 1, "stderr": "message"}]}]}"#;

    fn baseline() -> Baseline {
        serde_json::from_str(TEXT).unwrap()
    }

    fn success() -> Outcome {
        Outcome { exit: Exit::Code(0), stderr: Default::default(), ..Outcome::refusal() }
    }

    fn versions_of(baseline: &Baseline) -> Vec<&str> {
        baseline.cases[0].outcomes.iter().map(|recorded| &*recorded.versions).collect()
    }

    #[test]
    fn the_files_are_as_they_are_written() {
        for command in COMMANDS {
            let text = fs::read_to_string(path(command)).unwrap();
            assert!(Baseline::load(command).to_text() == text, "that of {command} has another form");
        }
    }

    #[test]
    fn a_further_version_joins_those_that_did_the_same() {
        let mut baseline = baseline();
        assert_eq!(baseline.record("1.2.0", vec![success()]), Report::default());
        assert_eq!(baseline.versions, ["1.0.0", "1.2.0", "2.0.0", "1.5.0-debian"]);
        assert_eq!(versions_of(&baseline), ["1.2.0..2.0.0, 1.5.0-debian", "1.0.0"]);
    }

    #[test]
    fn a_version_that_did_what_none_did_is_reported() {
        let mut baseline = baseline();
        let outcome = Outcome { exit: Exit::Code(7), ..success() };
        let report = baseline.record("10.0.0", vec![outcome]);
        assert_eq!(report.changed, Vec::<String>::new());
        assert_eq!(
            report.unlike_target,
            ["one: [\"-O\", \"raw\"]\n    exit: expected Code(0), found Code(7)"]
        );
        assert_eq!(versions_of(&baseline), ["2.0.0, 1.5.0-debian", "1.0.0", "10.0.0"]);
    }

    #[test]
    fn a_version_that_changed_its_mind_is_reported() {
        let mut baseline = baseline();
        let report = baseline.record("1.0.0", vec![success()]);
        assert_eq!((report.changed.len(), report.unlike_target.len()), (1, 0));
        assert_eq!(versions_of(&baseline), ["all"]);
    }
}
