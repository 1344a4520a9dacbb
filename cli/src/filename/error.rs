//! Why the description of an input cannot be followed.

use core::fmt;
use std::ffi::{OsStr, OsString};

use fmt_core::Format;
use vmm::shown;

use super::options::Value;

/// Why the description of an input cannot be followed.
#[derive(Debug)]
pub(crate) enum DescriptionError {
    /// What stands without `=` where an option should be.
    NoValue(OsString),
    /// What follows `json:` is not JSON.
    NotJson(serde_json::Error),
    /// What follows `json:` is JSON, and not an object.
    NoObject,
    /// An option that JSON has twice.
    Repeated(OsString),
    /// An option that instar does not have.
    Unsupported(OsString),
    /// An option with a value that instar does not have for it: the option, the value, and what may be.
    WrongValue { key: OsString, value: Value, allowed: &'static [&'static str] },
    /// A driver that instar does not have.
    UnknownDriver(OsString),
    /// There is no file to read.
    NoFile,
    /// There is no file for this format.
    NoFileOf(Format),
    /// The driver so deep in `file` has another beneath it, and is not one of a format, or has a file name of its own.
    NoLayer { depth: usize },
    /// There is more than one format that is not raw.
    ImageInImage,
    /// The options say that the image is not shared, and `-U` that it is.
    ForceShare,
}

impl DescriptionError {
    pub(super) fn wrong(key: &OsStr, value: Value, allowed: &'static [&'static str]) -> Self {
        Self::WrongValue { key: key.to_owned(), value, allowed }
    }

    /// What the user can do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoValue(_) => {
                Some("options are like driver=qcow2,file.filename=PATH; a comma in a PATH is written twice")
            }
            Self::NotJson(_) | Self::NoObject => {
                Some(r#"an input is described like json:{"driver":"qcow2","file":{"filename":"PATH"}}"#)
            }
            Self::Unsupported(_) | Self::NoFile | Self::NoFileOf(_) | Self::NoLayer { .. } => Some(
                "an input is described by driver, file.driver (file or raw), file.filename and force-share",
            ),
            Self::UnknownDriver(_) => Some("the drivers are file and the formats that -f takes"),
            Self::Repeated(_) | Self::WrongValue { .. } | Self::ImageInImage | Self::ForceShare => None,
        }
    }
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue(key) => write!(f, "'{}' is not an option with a value", shown(key)),
            Self::NotJson(error) => write!(f, "what follows json: is not JSON: {error}"),
            Self::NoObject => f.write_str("what follows json: is not a JSON object"),
            Self::Repeated(key) => write!(f, "the option '{}' is there twice", shown(key)),
            Self::Unsupported(key) => write!(f, "the option '{}' is not supported", shown(key)),
            Self::WrongValue { key, value, allowed: [] } => {
                write!(f, "the option '{}' cannot be {value}: it is text", shown(key))
            }
            Self::WrongValue { key, value, allowed } => {
                write!(f, "the option '{}' cannot be {value}, only {}", shown(key), allowed.join(", "))
            }
            Self::UnknownDriver(name) => write!(f, "the driver '{}' is not supported", shown(name)),
            Self::NoFile => f.write_str("the description of the input names no file"),
            Self::NoFileOf(format) => {
                write!(f, "the description of the input names no file for the {format} driver to read")
            }
            Self::NoLayer { depth } => {
                let prefix = "file.".repeat(*depth);
                write!(
                    f,
                    "something is said about '{prefix}file': so '{prefix}driver' must be a format, and '{prefix}filename' \
                     must not be there"
                )
            }
            Self::ImageInImage => f.write_str("an image inside another image is not supported"),
            Self::ForceShare => f.write_str("-U contradicts 'force-share=off'"),
        }
    }
}
