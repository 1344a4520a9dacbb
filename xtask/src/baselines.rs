//! Recording what a version of qemu-img does, beside what others did.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context, Result, bail, ensure};
use testkit::baseline::{Baseline, COMMANDS};
use testkit::cases;
use testkit::fixtures::Fixtures;
use testkit::outcome::Exit;
use testkit::qemu::Qemu;
use testkit::scene::View;
use testkit::tool::Tool;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (commands, args) = match args {
        ["--command", command, rest @ ..] => (slice::from_ref(command), rest),
        _ => (COMMANDS, args),
    };
    let ["--qemu-img", paths @ ..] = args else { bail!("{USAGE}") };
    ensure!(!paths.is_empty() && commands.iter().all(|command| COMMANDS.contains(command)), "{USAGE}");
    let installed = Qemu::require().context("the inputs are made by the installed qemu-img and qemu-io")?;
    let fixtures = Fixtures::generate(Some(&installed));
    for command in commands {
        let mut baseline = Baseline::load(command);
        for path in paths {
            record(&mut baseline, &fixtures, path)?;
        }
        baseline.save().with_context(|| format!("the recordings of {command}"))?;
    }
    Ok(())
}

const USAGE: &str = "usage: cargo xtask baselines [--command NAME] --qemu-img PATH…";

/// Runs all cases with the program at `path`, and says what is new.
fn record(baseline: &mut Baseline, fixtures: &Fixtures, path: &str) -> Result<()> {
    // The cases run elsewhere, and a name that is looked for has no slash.
    let program = if path.contains('/') { Path::new(path).canonicalize()? } else { PathBuf::from(path) };
    let qemu = Qemu::with_img(Tool::named(program));
    let version = version(&qemu).with_context(|| path.to_owned())?;
    let is_new = !baseline.versions.contains(&version);
    let made = fixtures.contents();
    // Images that another QEMU makes have the same disk as the recorded ones, and may have other bytes.
    let same: Vec<_> = baseline
        .fixtures
        .iter()
        .filter_map(|(name, recorded)| Some((made.get(&**name)?, recorded)))
        .filter(|(made, recorded)| made != recorded)
        .collect();
    let outcomes = cases::map(&baseline.cases, |case| {
        let is_raw = matches!(case.output_format(), "raw" | "file");
        let view = if is_raw { View::Bytes } else { View::Image(&qemu) };
        let outcome = baseline.run(case, qemu.img(), fixtures, view);
        same.iter().fold(outcome, |outcome, (made, recorded)| outcome.with_content(made, recorded))
    });
    let report = baseline.record(&version, outcomes);

    let (number, known) = (baseline.cases.len(), if is_new { "new" } else { "recorded before" });
    println!("{} of {version}, {known}: {number} cases", baseline.command);
    println!("{} are unlike {}", report.unlike_target.len(), baseline.target);
    report.unlike_target.iter().for_each(|text| println!("  {text}"));
    println!("{} are unlike what was recorded of {version}", report.changed.len());
    report.changed.iter().for_each(|text| println!("  {text}"));
    Ok(())
}

/// As the baseline has it: `11.1.3` for upstream's, `10.0.2-debian` for one of a distribution.
fn version(qemu: &Qemu) -> Result<String> {
    let run = qemu.img().run(Path::new("."), [OsStr::new("--version")])?;
    ensure!(run.exit == Exit::Code(0), "--version ends with {:?}", run.exit);
    version_in(&run.stdout).with_context(|| format!("no version in {:?}", run.stdout))
}

fn version_in(text: &str) -> Option<String> {
    let line = text.lines().next()?.strip_prefix("qemu-img version ")?;
    let (number, package) = line.split_once(' ').map_or((line, None), |(number, rest)| (number, Some(rest)));
    let package = package.and_then(|package| package.strip_prefix('(')?.split([' ', ')']).next());
    // What is built from upstream's repository names a tag there: (v10.2.0).
    Some(match package.filter(|name| !name.starts_with('v')) {
        None => number.into(),
        Some(name) => format!("{number}-{}", name.to_lowercase()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_by_number_and_distribution() {
        let name = |line: &str| version_in(&format!("{line}\nCopyright (c) 2003-2025 somebody\n"));
        assert_eq!(name("qemu-img version 11.1.3").unwrap(), "11.1.3");
        assert_eq!(name("qemu-img version 10.2.0 (v10.2.0)").unwrap(), "10.2.0");
        let debian = "qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(name(debian).unwrap(), "10.0.2-debian");
        assert_eq!(name("qemu-io version 1.0"), None);
    }
}
