//! Messages, the progress bar, the status line: everything but a command's own output, and all of it on stderr.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use vmm::Observer;

use crate::signals::Signals;

/// What takes less time has no progress bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says something, as `instar: message`.
pub(crate) fn say(message: &str) {
    // Where nobody listens, there is nobody to tell.
    let _ = writeln!(io::stderr(), "instar: {message}");
}

/// Where a command says how far it is.
#[derive(Debug)]
pub(crate) struct Console {
    interrupted: Arc<AtomicBool>,
    status_wanted: Arc<AtomicBool>,
    began: Instant,
    progress: Progress,
    bar: Option<ProgressBar>,
}

/// How it is shown how far a command is.
#[derive(Debug)]
enum Progress {
    /// By a bar, on a terminal, if it takes long.
    Patient,
    /// By a bar, at once.
    Bar,
    /// By lines on stdout, as `qemu-img` has them. The last one said so many hundredths of a percent.
    Lines(u64),
    /// Not at all.
    Hidden,
}

/// So many hundredths of a percent are worth another line.
const LINE_STEP: u64 = 100;

/// Everything, in hundredths of a percent.
const ALL: u64 = 10_000;

impl Console {
    /// A console that answers to `signals`.
    pub(crate) fn new(signals: &Signals) -> Self {
        let (interrupted, status_wanted) = (signals.interrupted(), signals.status());
        Self { interrupted, status_wanted, began: Instant::now(), progress: Progress::Patient, bar: None }
    }

    /// Set when the command is to end.
    pub(crate) fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Says something that is no reason to fail.
    pub(crate) fn warn(&mut self, message: &str) {
        self.clear();
        say(message);
    }

    /// Takes the progress bar away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows how far the command is from its beginning on.
    pub(crate) fn show_progress(&mut self) {
        self.progress = if io::stdout().is_terminal() && io::stderr().is_terminal() {
            Progress::Bar
        } else {
            line(0, false);
            Progress::Lines(0)
        };
    }

    /// Does not show how far the command is.
    pub(crate) fn hide_progress(&mut self) {
        self.progress = Progress::Hidden;
    }

    /// Shows that the command has come to its end.
    pub(crate) fn finish_progress(&mut self) {
        self.clear();
        if let Progress::Lines(_) = self.progress {
            line(ALL, true);
        }
    }

    fn status(&mut self, written: u64, planned: u64) {
        let elapsed = self.began.elapsed();
        let rate = u128::from(written) * 1000 / elapsed.as_millis().max(1);
        let rate = HumanBytes(u64::try_from(rate).unwrap_or(u64::MAX));
        let hundredths = hundredths(written, planned);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        let seconds = elapsed.as_secs_f32();
        self.warn(&format!(
            "{written} of {planned} bytes written ({whole}.{part:02}/100%), {seconds:.1} s, {rate}/s"
        ));
    }
}

impl Observer for Console {
    fn tick(&mut self, written: u64, planned: u64) {
        if self.status_wanted.swap(false, Ordering::Relaxed) {
            self.status(written, planned);
        }
        let wants_bar = match &mut self.progress {
            Progress::Patient => self.began.elapsed() >= PATIENCE && io::stderr().is_terminal(),
            Progress::Bar => true,
            Progress::Lines(last) => {
                let now = hundredths(written, planned);
                if now >= *last + LINE_STEP {
                    line(now, false);
                    *last = now;
                }
                false
            }
            Progress::Hidden => false,
        };
        if wants_bar {
            self.bar.get_or_insert_with(|| new_bar(planned)).set_position(written);
        }
    }
}

/// How much of `planned` is `written`, in hundredths of a percent.
fn hundredths(written: u64, planned: u64) -> u64 {
    let hundredths = u128::from(written) * u128::from(ALL) / u128::from(planned.max(1));
    u64::try_from(hundredths).unwrap_or(ALL)
}

/// Says on stdout how far it is, in `hundredths` of a percent, over what was said before.
fn line(hundredths: u64, is_last: bool) {
    let end = if is_last { "\r\n" } else { "\r" };
    let mut stdout = io::stdout();
    // Where nobody listens, there is nobody to tell.
    let _ = write!(stdout, "    ({}.{:02}/100%){end}", hundredths / 100, hundredths % 100);
    let _ = stdout.flush();
}

fn new_bar(planned: u64) -> ProgressBar {
    let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::with_draw_target(Some(planned), ProgressDrawTarget::stderr()).with_style(style)
}
