//! Many comparisons, by several threads, and what they came to.

use core::num::NonZero;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::command::{Command, Invocation};
use super::compare::{Comparer, Made, Verdict};
use super::generate;
use super::image::PIECES;
use super::known;
use super::shrink::{Case, shrink};

/// So many runs with neighbouring seeds share an image: making one takes longer than a run.
const RUNS_PER_IMAGE: u64 = 4;

/// After so many failures nobody wants more.
const MOST_FAILURES: usize = 5;

/// A campaign in which less than this succeeds in both tools compares little. In percent.
const LEAST_SUCCESS: u64 = 60;

/// After so many runs a line says how far it is.
const RUNS_PER_LINE: u64 = 1000;

/// Fewer runs may all fail by chance.
const FEWEST_TO_JUDGE: u64 = 100;

/// What to do.
#[derive(Clone, Copy)]
pub(super) struct Campaign {
    pub(super) command: &'static Command,
    /// That of the first run. The others have those that follow, each of which repeats its run.
    pub(super) seed: u64,
    pub(super) runs: u64,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    equal: u64,
    both_failed: u64,
    deliberate: BTreeMap<&'static str, u64>,
    images: u64,
    /// How many runs that were equal read each format, and wrote it.
    inputs: BTreeMap<String, u64>,
    outputs: BTreeMap<String, u64>,
    failures: Vec<(u64, Case)>,
    trouble: Option<anyhow::Error>,
}

/// Keeps what is drawn for an image apart from what is drawn for the run whose seed is the same number.
const IMAGE_SALT: u64 = 0x9e37_79b9_7f4a_7c15;

impl Campaign {
    pub(super) fn run(&self, comparer: &Comparer) -> Result<()> {
        let start = Instant::now();
        let tally = self.tally(comparer)?;
        tally.print(start.elapsed().as_secs_f64());
        self.conclude(comparer, tally)
    }

    fn tally(&self, comparer: &Comparer) -> Result<Tally> {
        let end = self.seed.checked_add(self.runs).context("seeds end at 2^64")?;
        println!("seeds {} to {}", self.seed, end - 1);
        let next = AtomicU64::new(self.seed / RUNS_PER_IMAGE);
        let tally = Mutex::new(Tally::default());
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                scope.spawn(|| self.work(comparer, &next, end, &tally));
            }
        });
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn work(&self, comparer: &Comparer, next: &AtomicU64, end: u64, tally: &Mutex<Tally>) {
        loop {
            let group = next.fetch_add(1, Ordering::Relaxed);
            let first = (group * RUNS_PER_IMAGE).max(self.seed);
            if first >= end || lock(tally).is_over() {
                return;
            }
            let seeds = first..end.min((group + 1) * RUNS_PER_IMAGE);
            if let Err(error) = self.group(comparer, group, seeds, tally) {
                lock(tally).trouble.get_or_insert(error);
            }
        }
    }

    /// All runs with one image.
    fn group(
        &self,
        comparer: &Comparer,
        group: u64,
        seeds: core::ops::Range<u64>,
        tally: &Mutex<Tally>,
    ) -> Result<()> {
        let image = generate::image(&mut Rng::with_seed(group ^ IMAGE_SALT));
        let made = comparer.make(&image);
        let made = made.with_context(|| format!("seed {}: the image of\n{}", seeds.start, image.script()))?;
        lock(tally).images += 1;
        for seed in seeds {
            let invocation = Invocation::random(self.command, &mut Rng::with_seed(seed), &made.input);
            let verdict = comparer.compare(&made, &invocation);
            let verdict = verdict.with_context(|| format!("seed {seed}: {:?}", invocation.words()))?;
            lock(tally).add(seed, &made, invocation, verdict);
        }
        Ok(())
    }

    /// Fails if something was found, or could not have been.
    fn conclude(&self, comparer: &Comparer, tally: Tally) -> Result<()> {
        if let Some(trouble) = tally.trouble {
            return Err(trouble);
        }
        let differences = tally.failures.len();
        for (seed, case) in &tally.failures {
            self.report(comparer, *seed, case.clone());
        }
        ensure!(differences == 0, "{differences} of the runs are not as qemu-img's");
        self.judge(&tally)
    }

    fn judge(&self, tally: &Tally) -> Result<()> {
        let enough = tally.equal * 100 >= self.runs * LEAST_SUCCESS;
        ensure!(
            enough || self.runs < FEWEST_TO_JUDGE,
            "only {} of {} runs succeeded in both tools: such a campaign compares little",
            tally.equal,
            self.runs
        );
        Ok(())
    }

    /// Makes a failure simpler, and prints it.
    fn report(&self, comparer: &Comparer, seed: u64, case: Case) {
        let different = |case: &Case| match comparer.make(&case.image) {
            Ok(made) => match comparer.compare(&made, &case.invocation) {
                Ok(Verdict::Different(differences)) => Some(differences),
                _ => None,
            },
            Err(_) => None,
        };
        println!(
            "\nseed {seed}: cargo xtask difftest --command {} --seed {seed} --runs 1",
            self.command.name
        );
        println!("as it was: {}", case.invocation.words().join(" "));
        let simplest = shrink(case, |case| different(case).is_some());
        match different(&simplest) {
            Some(differences) => differences.iter().for_each(|difference| println!("  {difference}")),
            None => println!("  it was not seen again"),
        }
        println!("by hand, in an empty directory:\n{PIECES}mkdir image && cd image");
        print!("{}", simplest.image.script());
        let words = simplest.invocation.words().join(" ");
        println!("qemu-img {words} && mv out.img qemu.img\ninstar {words}");
    }
}

impl Tally {
    fn is_over(&self) -> bool {
        self.failures.len() >= MOST_FAILURES || self.trouble.is_some()
    }

    fn add(&mut self, seed: u64, made: &Made, invocation: Invocation, verdict: Verdict) {
        match verdict {
            Verdict::Equal => {
                self.equal += 1;
                *self.inputs.entry(made.input.format.to_string()).or_default() += 1;
                *self.outputs.entry(invocation.output_format().into()).or_default() += 1;
            }
            Verdict::BothFailed => self.both_failed += 1,
            Verdict::Deliberate(reason) => *self.deliberate.entry(reason).or_default() += 1,
            Verdict::Different(_) => {
                self.failures.push((seed, Case { image: made.image.clone(), invocation }));
            }
        }
        if self.runs().is_multiple_of(RUNS_PER_LINE) {
            println!("  {} runs so far, {} differences", self.runs(), self.failures.len());
        }
    }

    fn runs(&self) -> u64 {
        let deliberate: u64 = self.deliberate.values().sum();
        self.equal + self.both_failed + deliberate + self.failures.len() as u64
    }

    fn print(&self, seconds: f64) {
        let deliberate: u64 = self.deliberate.values().sum();
        println!(
            "{} runs, {} differences, {seconds:.0} s; {} images; {} succeeded in both, {} failed in both, \
             {deliberate} differ on purpose",
            self.runs(),
            self.failures.len(),
            self.images,
            self.equal,
            self.both_failed,
        );
        println!("  read:    {}", counts(&self.inputs));
        println!("  written: {}", counts(&self.outputs));
        for reason in known::reasons() {
            println!("  {:>5} on purpose: {reason}", self.deliberate.get(reason).unwrap_or(&0));
        }
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    counts.join(", ")
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::super::command::COMMANDS;
    use super::*;

    const CAMPAIGN: Campaign = Campaign { command: &COMMANDS[0], seed: 40, runs: 12 };

    /// How many failures there are where `script` stands for instar, unless QEMU is not there.
    fn failures(script: &str) -> Option<usize> {
        if testkit::qemu::Qemu::require().is_none() {
            let _ = writeln!(io::stderr(), "SKIPPED: campaigns against tools that are wrong");
            return None;
        }
        let dir = testkit::scene::temporary_dir().unwrap();
        let tool = dir.path().join("tool");
        fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
        let tally = CAMPAIGN.tally(&Comparer::new(tool, dir.path()).unwrap()).unwrap();
        assert!(tally.trouble.is_none(), "{:?}", tally.trouble);
        Some(tally.failures.len())
    }

    #[test]
    fn the_same_tool_twice_does_the_same() {
        assert!(failures("exec qemu-img \"$@\"").is_none_or(|failures| failures == 0));
    }

    #[test]
    fn a_tool_that_loses_a_byte_is_found() {
        let lossy = "qemu-img \"$@\" || exit 1; printf '\\377' | dd of=out.img bs=1 seek=300 conv=notrunc status=none";
        assert!(failures(lossy).is_none_or(|failures| failures > 0));
    }

    #[test]
    fn a_tool_that_always_fails_is_found() {
        assert!(failures("echo no >&2; exit 1").is_none_or(|failures| failures > 0));
    }

    #[test]
    fn a_campaign_that_compares_nothing_fails() {
        let campaign = Campaign { command: &COMMANDS[0], seed: 0, runs: FEWEST_TO_JUDGE };
        let judge = |equal| campaign.judge(&Tally { equal, ..Tally::default() });
        judge(FEWEST_TO_JUDGE).unwrap();
        judge(0).unwrap_err();
    }
}
