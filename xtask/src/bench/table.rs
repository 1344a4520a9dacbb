//! The results, for a person.

use core::time::Duration;

use super::case::{Case, Suite};
use super::measure::{Measured, Summary};
use super::place::Place;

const NOTES: &str = "\
Times are medians. A ratio is instar's time to that of the tool on its left, a peak the most memory that instar held.
Goals are for memory; on a disk it is the disk that decides. A goal that is missed fails nothing.";

pub(super) fn print_head(place: &Place, suite: &Suite) {
    println!("\n{}", place.name);
    let [first, second] = suite.rivals;
    let [sandbox, instar, ratio, peak] = ["sandbox", "instar", "ratio", "peak in MiB"];
    println!("{:24}{sandbox:8}{instar:>10}{first:>12}  {ratio:<22}{second:>10}  {ratio:<22}{peak}", "");
}

/// One line for each sandbox.
pub(super) fn print_row(place: &Place, case: &Case, measured: &Measured) {
    let Measured { kvm, process, rivals: [first, second] } = measured;
    let [first_goal, second_goal] = case.goals.map(|goal| goal.filter(|_| place.has_goals));
    for (name, sandbox, instar) in [(case.name, "kvm", kvm), ("", "process", process)] {
        println!(
            "{name:<24}{sandbox:<8}{:>10}{:>12}  {:<22}{:>10}  {:<22}{}",
            seconds(instar.median),
            seconds(first.median),
            ratio(instar, first, first_goal),
            seconds(second.median),
            ratio(instar, second, second_goal),
            judged(mib(instar.peak), 1, Some(mib(case.peak_goal))),
        );
    }
}

pub(super) fn print_notes(suite: &Suite) {
    println!("\n{NOTES}\n{}", suite.notes);
}

fn ratio(instar: &Summary, other: &Summary, goal: Option<f64>) -> String {
    judged(instar.median.as_secs_f64() / other.median.as_secs_f64(), 3, goal)
}

/// A value, and beside it the most that it should be.
fn judged(value: f64, digits: usize, goal: Option<f64>) -> String {
    let verdict = |goal| if value <= goal { "ok" } else { "missed" };
    let goal = goal.map(|goal| format!(" (<={goal} {})", verdict(goal)));
    format!("{value:.digits$}{}", goal.unwrap_or_default())
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_judged_by_its_goal() {
        assert_eq!(judged(0.6, 3, Some(0.6)), "0.600 (<=0.6 ok)");
        assert_eq!(judged(0.6001, 3, Some(0.6)), "0.600 (<=0.6 missed)");
        assert_eq!(judged(24.04, 1, None), "24.0");
    }

    #[test]
    fn times_are_shown_in_their_own_unit() {
        assert_eq!(seconds(Duration::from_micros(1250)), "1.2 ms");
        assert_eq!(seconds(Duration::from_millis(6005)), "6.00 s");
    }
}
