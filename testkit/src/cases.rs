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
    let wrong = map(cases, check);
    let failures: Vec<_> = cases
        .iter()
        .zip(wrong)
        .filter(|(_, wrong)| !wrong.is_empty())
        .map(|(case, wrong)| format!("{case}\n    {}", wrong.join("\n    ")))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed:\n\n{}\n",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

/// What `work` makes of each case, in the order of the cases, done on all processors.
pub fn map<C: Sync, T: Send>(cases: &[C], work: impl Fn(&C) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let take = || {
        while let Some((number, case)) = nth(cases, next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(case);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(take);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(results.len(), cases.len(), "every case was taken");
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn nth<C>(cases: &[C], number: usize) -> Option<(usize, &C)> {
    cases.get(number).map(|case| (number, case))
}
