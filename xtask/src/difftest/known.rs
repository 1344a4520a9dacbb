//! What instar does in another way than qemu-img, on purpose.

use testkit::outcome::{Exit, Outcome};
use testkit::tool::Run;

/// A difference that is no failure.
struct Known {
    reason: &'static str,
    /// What instar says then.
    message: &'static str,
}

/// All of them are refusals: where instar makes something, it makes the same.
const KNOWN: &[Known] = &[Known { reason: "a format that is refused by name", message: "is not supported" }];

/// Why instar refuses what qemu-img does, if it is for one of the reasons that there are.
pub(super) fn reason(ours: &Outcome, run: &Run, theirs: &Outcome, _: &Run) -> Option<&'static str> {
    let is_refusal = ours == &Outcome::refusal() && theirs.exit == Exit::Code(0);
    let known = KNOWN.iter().filter(|_| is_refusal).find(|known| run.stderr.contains(known.message));
    known.map(|known| known.reason)
}

/// All reasons.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.reason)
}
