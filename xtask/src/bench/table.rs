//! The results, for a person.

use core::time::Duration;

use super::case::{Case, PEAK_GOAL};
use super::measure::{Measured, Summary};
use super::place::Place;

const NOTES: &str = "
Times are medians. A ratio is instar's time to that of the tool on its left, a peak the most memory that instar held.
Tools run with their default block size, 512 bytes, where none is given; cp has none.
instar and qemu-img end when the output is on the medium (fdatasync), cp does not wait for that.
Goals are for memory; on a disk it is the disk that decides. A goal that is missed fails nothing.";

pub(super) fn print_head(place: &Place) {
    println!("\n{}", place.name);
    let [sandbox, instar, qemu, ratio, cp, peak] =
        ["sandbox", "instar", "qemu-img", "ratio", "cp", "peak in MiB"];
    println!("{:22}{sandbox:8}{instar:>10}{qemu:>12}  {ratio:<20}{cp:>10}  {ratio:<20}{peak}", "");
}

/// One line for each sandbox.
pub(super) fn print_row(place: &Place, case: &Case, measured: &Measured) {
    let Measured { kvm, process, qemu, cp } = measured;
    let goal = |goal: Option<f64>| goal.filter(|_| place.has_goals);
    for (name, sandbox, instar) in [(case.name, "kvm", kvm), ("", "process", process)] {
        println!(
            "{name:<22}{sandbox:<8}{:>10}{:>12}  {:<20}{:>10}  {:<20}{}",
            seconds(instar.median),
            seconds(qemu.median),
            ratio(instar, qemu, goal(case.goals.qemu)),
            seconds(cp.median),
            ratio(instar, cp, goal(case.goals.cp)),
            judged(mib(instar.peak), 1, Some(mib(PEAK_GOAL))),
        );
    }
}

pub(super) fn print_notes() {
    println!("{NOTES}");
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
