//! The cases: each a real image with something changed.

use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;
use std::io;

use fastrand::Rng;

use super::field::{Format, Meaning, Seal, Structure, Text};
use super::image::Image;
use super::text;
use super::value::{Landmarks, values};

/// The most changes at once.
const MAX_MIXED: usize = 4;

/// One image to be made and read.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What tells it from all others of its specimen, and says what it is.
    pub(super) name: String,
    /// What is changed, whatever to.
    pub(super) subject: String,
    edits: Vec<Edit>,
    /// Whether checksums are made right again.
    sealed: bool,
}

#[derive(Clone, Debug)]
enum Edit {
    Number { at: u64, width: usize, value: u128 },
    Text { place: Text, text: Vec<u8> },
    Length(u64),
}

impl Case {
    /// The one that shows that everything else is as it should be: a right checksum stays, and both tools read the image.
    pub(super) fn unchanged() -> Self {
        Self { name: "unchanged".into(), subject: "nothing".into(), edits: Vec::new(), sealed: true }
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.edits.is_empty()
    }

    /// Changes `image`, whose checksums are where `seals` says.
    pub(super) fn apply(&self, image: &Image, seals: &[Seal]) -> io::Result<()> {
        for edit in &self.edits {
            match edit {
                Edit::Number { at, width, value } => image.put(*at, *width, *value)?,
                Edit::Text { place, text } => put_text(image, *place, text)?,
                Edit::Length(len) => image.set_len(*len)?,
            }
        }
        let len = image.len();
        let inside = |seal: &&Seal| self.sealed && seal.at + seal.len as u64 <= len;
        seals.iter().filter(inside).try_for_each(|seal| seal.apply(image))
    }

    /// A generator of its own, so that a case is the same whichever others there are.
    pub(super) fn random(name: &str, seed: u64) -> Rng {
        let mut hasher = DefaultHasher::new();
        (name, seed).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}

/// Every case of one change of `image`.
pub(super) fn single(format: &Format, image: &Image, seed: u64) -> Vec<Case> {
    let landmarks = landmarks(format, image);
    let mut cases = Vec::new();
    for structure in format.structures {
        for (number, at) in (structure.at)(image).into_iter().enumerate() {
            fields(structure, number, at, image, &landmarks, seed, &mut cases);
        }
    }
    if !(format.seals)(image).is_empty() {
        cases.extend(unsealed(&cases));
    }
    cases.extend(truncations(format, image, &landmarks));
    cases.extend(texts(format, image));
    cases
}

/// Case `number` of those where several things are changed at once.
pub(super) fn mixed(number: usize, single: &[Case], seed: u64) -> Case {
    let name = format!("mixture {number}");
    let mut random = Case::random(&name, seed);
    let parts = random.choose_multiple(single, random.clone().usize(2..=MAX_MIXED));
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    let sealed = parts.iter().all(|part| part.sealed);
    Case {
        name: format!("{name}: {}{}", names.join(", "), if sealed { "" } else { ", unsealed" }),
        subject: "mixture".into(),
        edits: parts.iter().flat_map(|part| part.edits.clone()).collect(),
        sealed,
    }
}

fn fields(
    structure: &Structure,
    number: usize,
    start: u64,
    image: &Image,
    landmarks: &Landmarks,
    seed: u64,
    cases: &mut Vec<Case>,
) {
    for field in structure.fields {
        let subject = format!("{}.{}", structure.name, field.name);
        let at = start + field.at;
        let right = image.number(at, field.width);
        let mut random = Case::random(&format!("{subject} {number}"), seed);
        for (label, value) in values(field, at, right, landmarks, &mut random) {
            let name = format!("{}[{number}].{} = {label}", structure.name, field.name);
            let edits = vec![Edit::Number { at, width: field.width, value }];
            // A wrong checksum is to stay wrong.
            let sealed = field.name != "checksum";
            cases.push(Case { name, subject: subject.clone(), edits, sealed });
        }
    }
}

/// Where everything is. Of several alike, the first.
fn landmarks(format: &Format, image: &Image) -> Landmarks {
    let mut places = Vec::new();
    for structure in format.structures {
        let Some(&at) = (structure.at)(image).first() else { continue };
        places.push((structure.name.to_owned(), at));
        for field in structure.fields {
            if let Meaning::Place { unit, flags } = field.meaning {
                let place = image.number(at + field.at, field.width) & !u128::from(flags);
                let place = u64::try_from(place).unwrap_or(u64::MAX).saturating_mul(unit);
                places.push((format!("what {}.{} leads to", structure.name, field.name), place));
            }
        }
    }
    places.retain(|(_, place)| *place < image.len());
    Landmarks { places, end: image.len() }
}

/// Some of `cases`, without checksums that fit.
fn unsealed(cases: &[Case]) -> Vec<Case> {
    let plain = cases.iter().filter(|case| case.sealed && case.name.ends_with("right+1"));
    plain
        .map(|case| Case { name: format!("{}, unsealed", case.name), sealed: false, ..case.clone() })
        .collect()
}

/// At, before and after the beginning and end of each structure.
fn truncations(format: &Format, image: &Image, landmarks: &Landmarks) -> Vec<Case> {
    let places = format
        .structures
        .iter()
        .flat_map(|structure| (structure.at)(image).into_iter().flat_map(|at| [at, at + structure.len]));
    let places = places.chain(landmarks.places.iter().map(|&(_, at)| at)).chain([landmarks.end]);
    let mut lengths: Vec<u64> = places.flat_map(|at| [at.saturating_sub(1), at, at + 1]).collect();
    lengths.push(landmarks.end + 512);
    lengths.sort_unstable();
    lengths.dedup();
    lengths.retain(|&len| len != landmarks.end);
    let case = |len| Case {
        name: format!("{len} bytes long"),
        subject: "length".into(),
        edits: vec![Edit::Length(len)],
        sealed: true,
    };
    lengths.into_iter().map(case).collect()
}

fn texts(format: &Format, image: &Image) -> Vec<Case> {
    let Some(place) = (format.text)(image) else { return Vec::new() };
    let len = place.room.unwrap_or_else(|| usize::try_from(image.len()).expect("a small text"));
    let mut old = image.bytes(place.at, len);
    old.truncate(old.iter().position(|&byte| byte == 0).unwrap_or(len));
    let fits = |text: &Vec<u8>| place.room.is_none_or(|room| text.len() <= room);
    let fitting = text::changes(&old).into_iter().filter(|(_, text)| fits(text));
    let case = |(label, text)| Case {
        name: format!("text, {label}"),
        subject: "text".into(),
        edits: vec![Edit::Text { place, text }],
        sealed: true,
    };
    fitting.map(case).collect()
}

/// The rest of its room becomes zeros.
fn put_text(image: &Image, place: Text, text: &[u8]) -> io::Result<()> {
    match place.room {
        Some(room) => image.put_bytes(place.at, &vec![0; room])?,
        None => image.set_len(place.at)?,
    }
    image.put_bytes(place.at, text)
}
