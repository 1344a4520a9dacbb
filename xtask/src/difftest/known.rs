//! What instar does in another way than qemu-img, on purpose.

use testkit::outcome::{Exit, Outcome};
use testkit::tool::Run;

use super::image::{Format, Image};

/// A difference that is no failure.
struct Known {
    reason: &'static str,
    /// Whether an image gives rise to it.
    concerns: fn(&Image) -> bool,
    /// What instar says then.
    message: &'static str,
}

/// All of them are refusals: where instar makes something, it makes the same.
const KNOWN: &[Known] = &[Known {
    reason: "qcow, qed, vdi and parallels are refused by name: a reader for each is a reader to attack",
    concerns: |image| image.layers.iter().any(|layer| matches!(layer.format, Format::Foreign(_))),
    message: "format is not supported",
}];

/// Why instar refuses what qemu-img does, if it is for one of the reasons that there are.
pub(super) fn reason(image: &Image, ours: &Outcome, run: &Run, theirs: &Outcome) -> Option<&'static str> {
    if ours != &Outcome::refusal() || theirs.exit != Exit::Code(0) {
        return None;
    }
    let known = KNOWN.iter().find(|known| (known.concerns)(image) && run.stderr.contains(known.message));
    known.map(|known| known.reason)
}

/// All reasons.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.reason)
}
