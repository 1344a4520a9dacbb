//! What a command did: its exit, whether it said something, and the files that differ afterwards.

use core::fmt::{self, Debug};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::disk::hex;
use crate::tool::Run;

/// What `qemu-img dd` prints, and still exits with 0, when `skip` lies beyond the window.
const SKIP_WARNING: &str = "cannot skip to specified offset";

/// What a command did.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub exit: Exit,
    /// What kind of text was on stderr.
    #[serde(default, skip_serializing_if = "Stderr::is_silent")]
    pub stderr: Stderr,
    /// Whether there was text on stdout.
    #[serde(default, skip_serializing_if = "Stdout::is_silent")]
    pub stdout: Stdout,
    /// Every file, by its name in the directory of the run, that was made, written to, replaced or removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, Entry>,
    /// The changed files without holes. Nothing recorded says this.
    #[serde(skip)]
    pub fully_allocated: BTreeSet<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    #[serde(skip)]
    Signal(i32),
    /// Not in time: it was killed.
    #[serde(skip)]
    TimedOut,
}

/// What kind of text stderr had. The wording is each tool's own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Stderr {
    /// None.
    #[default]
    Silent,
    /// The warning that `skip` lies beyond the window.
    SkipWarning,
    /// Some other.
    Message,
}

/// Whether stdout had text.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Stdout {
    /// It had none.
    #[default]
    Silent,
    /// It had.
    Text,
}

/// What is found under a changed name.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Entry {
    /// A file, taken as bytes.
    File(Content),
    /// A file, taken as a disk image.
    Image(Image),
    /// In words, for what is neither: "removed", "directory", "symlink to X", "not an image".
    Other(String),
}

/// Bytes.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Content {
    /// How many.
    pub size: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Content {
    /// That of a file of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
    }
}

/// A disk image, whatever its layout.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Image {
    /// What `qemu-img info` says of the image itself, as far as two images of the same disk have it in common.
    pub info: Value,
    /// The image as `qemu-img convert` makes it raw.
    pub disk: Content,
    /// The length of the file, in bytes. For information: two layouts of a disk are no difference.
    pub file_size: u64,
    /// Why `qemu-img check` is not content. Nothing recorded says this.
    #[serde(skip)]
    pub damage: Option<String>,
}

impl Outcome {
    /// What `run` did, where these files changed.
    #[must_use]
    pub fn new(run: &Run, changed: BTreeMap<String, Entry>, fully_allocated: BTreeSet<String>) -> Self {
        Self {
            exit: run.exit,
            stderr: Stderr::classify(&run.stderr),
            stdout: if run.stdout.is_empty() { Stdout::Silent } else { Stdout::Text },
            changed,
            fully_allocated,
        }
    }

    /// A command that says why it does nothing, and does nothing.
    pub fn refusal() -> Self {
        Self {
            exit: Exit::Code(1),
            stderr: Stderr::Message,
            stdout: Stdout::Silent,
            changed: BTreeMap::new(),
            fully_allocated: BTreeSet::new(),
        }
    }

    /// Whether a changed file is a disk image rather than bytes.
    pub fn has_images(&self) -> bool {
        self.changed.values().any(|entry| matches!(entry, Entry::Image(_)))
    }

    /// As much of it as recordings say.
    pub fn recordable(mut self) -> Self {
        self.fully_allocated.clear();
        for entry in self.changed.values_mut() {
            if let Entry::Image(image) = entry {
                image.damage = None;
            }
        }
        self
    }

    /// The same outcome with `new` wherever the content of a file or a disk was `old`.
    pub fn with_content(mut self, old: &Content, new: &Content) -> Self {
        for entry in self.changed.values_mut() {
            let content = match entry {
                Entry::File(content) => content,
                Entry::Image(image) => &mut image.disk,
                Entry::Other(_) => continue,
            };
            if content == old {
                content.clone_from(new);
            }
        }
        self
    }

    /// Every respect in which `self` is not as `expected`, in words.
    ///
    /// An output may have fewer holes than the expected one, never more.
    pub fn differences_from(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare("exit", &self.exit, &expected.exit, &mut found);
        compare("stderr", &self.stderr, &expected.stderr, &mut found);
        compare("stdout", &self.stdout, &expected.stdout, &mut found);
        let names: BTreeSet<_> = self.changed.keys().chain(expected.changed.keys()).collect();
        for name in names {
            let (actual, expected) = (self.changed.get(name), expected.changed.get(name));
            compare(&format!("file {name:?}"), &Shown(actual), &Shown(expected), &mut found);
        }
        for name in expected.fully_allocated.difference(&self.fully_allocated) {
            found.push(format!("file {name:?}: expected no holes, found some"));
        }
        found
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let Self { info, disk, file_size: _, damage } = self;
        (info, disk, damage) == (&other.info, &other.disk, &other.damage)
    }
}

impl Eq for Image {}

impl Stdout {
    fn is_silent(&self) -> bool {
        *self == Self::Silent
    }
}

impl Stderr {
    fn is_silent(&self) -> bool {
        *self == Self::Silent
    }

    fn classify(text: &str) -> Self {
        if text.is_empty() {
            Self::Silent
        } else if text.contains(SKIP_WARNING) {
            Self::SkipWarning
        } else {
            Self::Message
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => unreachable!("a command that was waited for has exited or was killed"),
        }
    }
}

/// An [`Entry`] in a report, or its absence: most names are not changed by most commands.
#[derive(PartialEq, Eq)]
struct Shown<'a>(Option<&'a Entry>);

impl Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("not made or changed"),
            Some(Entry::Other(what)) => f.write_str(what),
            Some(Entry::File(content)) => write!(f, "{content}"),
            Some(Entry::Image(Image { info, disk, damage, .. })) => {
                let damage = damage.as_deref().unwrap_or("sound");
                write!(f, "image with a disk of {disk}\n        {info}\n        {damage}")
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.size, self.sha256)
    }
}

fn compare<T: PartialEq + Debug>(what: &str, actual: &T, expected: &T, found: &mut Vec<String>) {
    if actual != expected {
        found.push(format!("{what}: expected {expected:?}, found {actual:?}"));
    }
}
