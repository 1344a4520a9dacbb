//! Many independent checks at once, and one report of all that failed.

use core::fmt::Display;
use core::num::NonZero;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Checks every case, on all processors, and fails with every case that has something wrong.
///
/// `check` returns what is wrong with a case, in words.
pub fn assert_all<C: Display + Sync>(cases: &[C], check: impl Fn(&C) -> Vec<String> + Sync) {
    let next = AtomicUsize::new(0);
    let checked = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, case)) = take(cases, &next) {
            let wrong = check(case);
            checked.fetch_add(1, Ordering::Relaxed);
            if !wrong.is_empty() {
                failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, format!("{case}\n    {}", wrong.join("\n    "))));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    assert_eq!(checked.into_inner(), cases.len(), "every case was checked");
    report(failures.into_inner().unwrap_or_else(PoisonError::into_inner), cases.len());
}

fn take<'a, C>(cases: &'a [C], next: &AtomicUsize) -> Option<(usize, &'a C)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    cases.get(number).map(|case| (number, case))
}

/// In the order of the cases, not in that in which threads came to them.
fn report(mut failures: Vec<(usize, String)>, of: usize) {
    failures.sort();
    let texts: Vec<_> = failures.iter().map(|(_, text)| text.as_str()).collect();
    assert!(texts.is_empty(), "{} of {of} cases failed:\n\n{}\n", texts.len(), texts.join("\n\n"));
}
