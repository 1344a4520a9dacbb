//! What a field is set to.

use fastrand::Rng;

use super::field::{Field, Meaning};

/// What the places of an image can be set to.
pub(super) struct Landmarks {
    /// Named bytes of the file: its structures, and what its fields lead to.
    pub(super) places: Vec<(String, u64)>,
    /// The length of the file.
    pub(super) end: u64,
}

/// A value for a field, and what it is called.
pub(super) type Value = (String, u128);

/// All that the field at byte `at` of the file, where `right` is now, is to be set to. Each is something else.
pub(super) fn values(
    field: &Field,
    at: u64,
    right: u128,
    landmarks: &Landmarks,
    random: &mut Rng,
) -> Vec<Value> {
    let max = u128::MAX >> (128 - 8 * field.width);
    let sign = max / 2 + 1;
    let mut values: Vec<Value> = [
        ("0", 0),
        ("1", 1),
        ("max", max),
        ("max-1", max - 1),
        ("sign bit", sign),
        ("all but sign bit", sign - 1),
        ("right-1", right.wrapping_sub(1)),
        ("right+1", right.wrapping_add(1)),
        ("right*2", right.wrapping_mul(2)),
        ("right/2", right / 2),
        ("random", random.u128(..)),
        ("small random", random.u128(..1 << 8)),
        ("bit flip", right ^ 1 << random.usize(..8 * field.width)),
    ]
    .map(|(label, value)| (label.to_owned(), value))
    .into();
    if let Meaning::Place { unit, flags } = field.meaning {
        values.extend(places(at, right, unit, landmarks).map(|(label, place)| {
            let flags = u128::from(flags);
            (label, (place & !flags) | (right & flags))
        }));
        let bits = (0..64).filter(|bit| flags >> bit & 1 != 0);
        values.extend(bits.map(|bit| (format!("flag {bit}"), right ^ 1 << bit)));
    }
    for (_, value) in &mut values {
        *value &= max;
    }
    let mut seen = vec![right];
    values.retain(|(_, value)| {
        let is_new = !seen.contains(value);
        seen.push(*value);
        is_new
    });
    values
}

/// Into the field itself, onto everything else, around the end, off by less than a unit, and far away.
fn places(at: u64, right: u128, unit: u64, landmarks: &Landmarks) -> impl Iterator<Item = Value> {
    let end = landmarks.end / unit;
    let near = [
        ("itself", at / unit),
        ("end", end),
        ("end-1", end.saturating_sub(1)),
        ("end+1", end + 1),
        ("last sector", (landmarks.end.saturating_sub(512)) / unit),
        ("2^55", 1 << 55),
        ("2^62", 1 << 62),
        ("2^63-512", (1 << 63) - 512),
        ("-512", 0_u64.wrapping_sub(512)),
    ];
    let near = near.map(|(label, place)| (label.to_owned(), u128::from(place)));
    let off = [512, 4096, 65536].map(|by| (format!("right+{by}"), right.wrapping_add(by)));
    let known =
        landmarks.places.iter().map(move |(name, place)| (format!("at {name}"), u128::from(place / unit)));
    near.into_iter().chain(off).chain(known)
}
