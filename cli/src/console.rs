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
    bar: Option<ProgressBar>,
}

impl Console {
    /// A console that answers to `signals`.
    pub(crate) fn new(signals: &Signals) -> Self {
        let (interrupted, status_wanted) = (signals.interrupted(), signals.status());
        Self { interrupted, status_wanted, began: Instant::now(), bar: None }
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

    fn status(&mut self, written: u64, planned: u64) {
        let elapsed = self.began.elapsed();
        let rate = u128::from(written) * 1000 / elapsed.as_millis().max(1);
        let rate = HumanBytes(u64::try_from(rate).unwrap_or(u64::MAX));
        let hundredths = u128::from(written) * 10_000 / u128::from(planned.max(1));
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
        if self.bar.is_none() && self.began.elapsed() >= PATIENCE && io::stderr().is_terminal() {
            self.bar = Some(new_bar(planned));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(written);
        }
    }
}

fn new_bar(planned: u64) -> ProgressBar {
    let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::with_draw_target(Some(planned), ProgressDrawTarget::stderr()).with_style(style)
}
