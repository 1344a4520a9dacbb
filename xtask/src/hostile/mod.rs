//! Real images with something wrong with them, read by instar in its virtual machine and by `qemu-img`.
//!
//! | module | what |
//! |---|---|
//! | `formats` | tables of all that images consist of, as the specifications say |
//! | `field` | the words of these tables |
//! | `image` | an image as a file of numbers |
//! | `value` | what a number is set to |
//! | `text` | what a text is changed to |
//! | `case` | the cases that come of it |
//! | `request` | what is to be made of an image |
//! | `run` | one run of a program that may do anything |
//! | `judge` | what is expected of instar |
//! | `known` | what only instar reads, and why |

mod case;
mod field;
mod formats;
mod image;
mod judge;
mod known;
mod request;
mod run;
mod text;
mod value;

use core::num::NonZero;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use self::case::Case;
use self::field::{Format, Seal, Specimen};
use self::formats::FORMATS;
use self::image::Image;
use self::judge::{Finding, Judge, Trial, Verdict};
use self::request::{Command, Request};
use crate::workspace;

/// For CI: fast enough, and every field of every image is changed at least once.
const DEFAULT_CASES: usize = 2000;

/// One case in so many changes several things at once.
const SINGLE_PER_MIXED: usize = 8;

/// `dd` reads every case, and `convert` one in so many, at random: two outputs of it are looked at.
const CASES_PER_CONVERTED: u64 = 8;

/// The size of the disk in all images, in bytes.
const DISK_LEN: u64 = 4 << 20;

/// Where the disk has data, and how much: in bytes. The rest is a hole.
const DATA: &[(u64, u64)] =
    &[(0, 300 << 10), (1 << 20, 100_000), ((2 << 20) + 65536, 65536), ((4 << 20) - 65536, 65536)];

struct Options {
    seed: u64,
    cases: usize,
    cases_per_converted: u64,
    format: Option<String>,
    only: Option<String>,
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self {
            seed: 1,
            cases: DEFAULT_CASES,
            cases_per_converted: CASES_PER_CONVERTED,
            format: None,
            only: None,
        };
        for pair in args.chunks(2) {
            match *pair {
                ["--seed", seed] => options.seed = seed.parse().context("--seed wants a number")?,
                ["--cases", cases] => options.cases = cases.parse().context("--cases wants a number")?,
                ["--converted", number] => {
                    let number = number.parse().ok().filter(|&number| number > 0);
                    options.cases_per_converted = number.context("--converted wants a number above 0")?;
                }
                ["--format", name] if FORMATS.iter().any(|format| format.name == name) => {
                    options.format = Some(name.to_owned());
                }
                ["--only", name] => options.only = Some(name.to_owned()),
                _ => bail!(
                    "usage: cargo xtask hostile [--seed S] [--cases N] [--converted N] [--format F] [--only NAME]"
                ),
            }
        }
        Ok(options)
    }

    fn formats(&self) -> impl Iterator<Item = &'static Format> {
        FORMATS.iter().copied().filter(|format| self.format.as_ref().is_none_or(|name| name == format.name))
    }

    /// How many cases each of the images gets.
    fn share(&self) -> usize {
        self.cases.div_ceil(self.formats().map(|format| format.specimens.len()).sum())
    }
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    if let Err(missing) = judge::require_oracle() {
        // What nobody runs must not look like what succeeded.
        ensure!(std::env::var_os("CI").is_none(), "{missing:#}");
        writeln!(io::stderr(), "SKIPPED: hostile images. {missing:#}")?;
        return Ok(());
    }
    let judge = Judge { instar: workspace::build_instar()? };
    let mut all = Tally::default();
    for format in options.formats() {
        let mut tally = Tally::default();
        for specimen in format.specimens {
            tally.add(Campaign::new(&options, &judge, format, specimen)?.run()?);
        }
        println!("{}:\n{tally}", format.name);
        all.add(tally);
    }
    println!("all, seed {}:\n{all}", options.seed);
    ensure!(all.cases() > 0, "there is no such case");
    ensure!(all.failed() == 0, "{} of {} cases failed", all.failed(), all.cases());
    Ok(())
}

/// All cases of one image.
struct Campaign<'a> {
    options: &'a Options,
    judge: &'a Judge,
    format: &'static Format,
    specimen: &'static Specimen,
    /// The image as it was made, in a directory of its own, with all files that belong to it.
    pristine: TempDir,
    seals: Vec<Seal>,
    cases: Vec<Case>,
}

impl<'a> Campaign<'a> {
    fn new(
        options: &'a Options,
        judge: &'a Judge,
        format: &'static Format,
        specimen: &'static Specimen,
    ) -> Result<Self> {
        let pristine = scratch()?;
        make(specimen, format, pristine.path())
            .with_context(|| format!("making {} {}", format.name, specimen.name))?;
        let image = Image::open(&pristine.path().join(specimen.target), format.endian)?;
        let mut cases = choose(case::single(format, &image, options.seed), options);
        let prefix = format!("{}, {}: ", format.name, specimen.name);
        for case in &mut cases {
            case.name.insert_str(0, &prefix);
        }
        if let Some(only) = &options.only {
            cases.retain(|case| case.name == *only);
        }
        Ok(Self { options, judge, format, specimen, pristine, seals: (format.seals)(&image), cases })
    }

    fn run(&self) -> Result<Tally> {
        let next = AtomicUsize::new(0);
        let tally = Mutex::new(Tally::default());
        let work = || -> Result<()> {
            let dir = scratch()?;
            copy_all(self.pristine.path(), dir.path())?;
            while let Some(case) = self.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                for request in self.requests(case) {
                    let command = request.command;
                    let verdict = self.judge_one(case, request, dir.path());
                    let verdict = verdict.with_context(|| case.name.clone())?;
                    if !verdict.wrong.is_empty() {
                        self.report(case, command, &verdict, dir.path())?;
                    }
                    tally.lock().unwrap_or_else(PoisonError::into_inner).count(case, command, &verdict);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers = thread::available_parallelism().map_or(1, NonZero::get);
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker returns its errors"))
        })?;
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be made of the image of `case`.
    fn requests(&self, case: &Case) -> Vec<Request> {
        let Options { seed, cases_per_converted, only, .. } = self.options;
        let mut requests = vec![Request::dd(case, *seed, DISK_LEN)];
        let is_drawn = Case::random(&format!("convert {}", case.name), *seed).u64(..cases_per_converted) == 0;
        if is_drawn || case.is_unchanged() || only.is_some() {
            requests.push(Request::convert("raw"));
        }
        requests
    }

    fn judge_one(&self, case: &Case, request: Request, dir: &Path) -> Result<Verdict> {
        let target = dir.join(self.specimen.target);
        fs::copy(self.pristine.path().join(self.specimen.target), &target)?;
        case.apply(&Image::open(&target, self.format.endian)?, &self.seals)?;
        self.judge.judge(&Trial { format: self.format, specimen: self.specimen, case, request, dir })
    }

    /// Says what is wrong and how to see it again, and keeps the image.
    fn report(&self, case: &Case, command: Command, verdict: &Verdict, dir: &Path) -> Result<()> {
        let kept = tempfile::Builder::new().disable_cleanup(true).tempdir_in(kept_dir()?)?;
        copy_all(dir, kept.path())?;
        let Options { seed, cases, .. } = self.options;
        let mut out = io::stdout().lock();
        writeln!(out, "FAILED: {command}: {}", case.name)?;
        verdict.wrong.iter().try_for_each(|wrong| writeln!(out, "  {wrong}"))?;
        writeln!(out, "  kept in {}", kept.path().display())?;
        writeln!(out, "  again: cargo xtask hostile --seed {seed} --cases {cases} --only '{}'", case.name)?;
        Ok(())
    }
}

/// The one of nothing and one for every subject first, whatever their number is to be.
fn choose(mut single: Vec<Case>, options: &Options) -> Vec<Case> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    random.shuffle(&mut single);
    let mut seen = BTreeSet::new();
    let (mut chosen, rest): (Vec<_>, Vec<_>) =
        single.iter().cloned().partition(|case| seen.insert(case.subject.clone()));
    let share = options.share().max(chosen.len());
    let singles = share - share / SINGLE_PER_MIXED;
    chosen.extend(rest.into_iter().take(singles.saturating_sub(chosen.len())));
    let mixed = share.saturating_sub(chosen.len());
    chosen.insert(0, Case::unchanged());
    chosen.extend((0..mixed).map(|number| case::mixed(number, &single, options.seed)));
    chosen
}

/// Makes an image of a disk of which every sector is another.
fn make(specimen: &Specimen, format: &Format, dir: &Path) -> Result<()> {
    let disk = fs::File::create(dir.join("disk.raw"))?;
    disk.set_len(DISK_LEN)?;
    for &(at, len) in DATA {
        let numbers = (at / 8..(at + len) / 8).flat_map(|number| (number / 64).to_le_bytes());
        std::os::unix::fs::FileExt::write_all_at(&disk, &numbers.collect::<Vec<u8>>(), at)?;
    }
    let output = process::Command::new("sh").args(["-ec", specimen.script]).current_dir(dir).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(dir.join("disk.raw"))?;
    (specimen.finish)(&Image::open(&dir.join(specimen.target), format.endian)?);
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// In memory, if there is room for files in memory.
fn scratch() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("instar-hostile-");
    Ok(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())?)
}

fn kept_dir() -> Result<PathBuf> {
    let dir = workspace::target_dir().join("hostile");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The figures.
#[derive(Debug, Default)]
struct Tally {
    findings: BTreeMap<(Command, Finding), usize>,
    subjects: BTreeSet<String>,
    slowest: Duration,
    peak: u64,
}

impl Tally {
    fn count(&mut self, case: &Case, command: Command, verdict: &Verdict) {
        *self.findings.entry((command, verdict.finding.clone())).or_default() += 1;
        self.subjects.insert(case.subject.clone());
        self.slowest = self.slowest.max(verdict.run.time);
        self.peak = self.peak.max(verdict.run.peak);
    }

    fn add(&mut self, other: Self) {
        for (finding, count) in other.findings {
            *self.findings.entry(finding).or_default() += count;
        }
        self.subjects.extend(other.subjects);
        self.slowest = self.slowest.max(other.slowest);
        self.peak = self.peak.max(other.peak);
    }

    fn cases(&self) -> usize {
        self.findings.values().sum()
    }

    fn failed(&self) -> usize {
        let failures = self.findings.iter().filter(|((_, finding), _)| *finding == Finding::Failure);
        failures.map(|(_, count)| count).sum()
    }
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        writeln!(f, "{:>7} cases, {} kinds of field", self.cases(), self.subjects.len())?;
        for ((command, finding), count) in &self.findings {
            writeln!(f, "{count:>7} {command}: {finding}")?;
        }
        writeln!(f, "        slowest {:.0?}, most memory {} KiB", self.slowest, self.peak >> 10)
    }
}
