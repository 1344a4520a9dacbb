//! The options of outputs: what `-o` says.
//!
//! Each format knows its own, and reads them in the guest, as they are written here. What can be told without the disk
//! is told here, before anything is opened. Names of files are the command's affair, and are taken out.

use core::fmt::{self, Write};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use fmt_core::Format;
use fmt_core::setting::{self, Kind, Setting, SettingError};
use vmm::shown;

use crate::list;

/// What `-o` says about an output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// What the format is told: names and values, in the order in which they were given.
    settings: Vec<(Vec<u8>, Vec<u8>)>,
    /// The file that the output is to stand on.
    pub(crate) backing_file: Option<OsString>,
    /// Its format.
    pub(crate) backing_format: Option<OsString>,
    /// The file that is to have the disk's bytes.
    pub(crate) data_file: Option<OsString>,
    /// Whether that is to be a raw disk of its own.
    pub(crate) data_file_raw: bool,
}

/// What `-o` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A list of the format's options.
    Help,
    /// An output that is like this.
    Output(OutputOptions),
}

/// Why an option of an output cannot be followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OptionError {
    /// A list with nothing where an option should be.
    NoOption(OsString),
    /// The format cannot be written, so that it has no options.
    NoOutput(Format),
    /// The option is not what it would have to be, or its value is not: both, and why.
    Setting { format: Format, name: OsString, value: OsString, error: SettingError },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (format, name, value, error) = match self {
            Self::NoOption(list) => return write!(f, "'{}' is not a list of options", shown(list)),
            Self::NoOutput(format) => return write!(f, "{format} images cannot be written"),
            Self::Setting { format, name, value, error } => (format, shown(name), shown(value), error),
        };
        match error {
            SettingError::Unsupported(why) => {
                write!(f, "the option '{name}' of {format} images is not supported: {why}")
            }
            SettingError::Invalid => {
                write!(f, "the option '{name}' cannot be '{value}'")?;
                match setting(*format, name.as_bytes()).map(|setting| setting.kind) {
                    Some(Kind::Switch) => f.write_str(", only on or off"),
                    Some(Kind::Number) => f.write_str(": it is a number"),
                    Some(Kind::Size) => f.write_str(": it is a size, like 512, 64k or 1.5M"),
                    Some(Kind::Word(words)) => write!(f, ", only {}", words.join(", ")),
                    _ => Ok(()),
                }
            }
            SettingError::OutOfRange(range) => {
                write!(f, "the option '{name}' cannot be '{value}', only {range}")
            }
            _ => write!(f, "{format} images have no option '{name}'"),
        }
    }
}

impl OptionError {
    /// What the user can do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoOption(_) => Some(
                "options are like cluster_size=64k,compat=1.1; a comma in a value is written twice"
                    .to_owned(),
            ),
            Self::NoOutput(_) => Some("instar writes raw, qcow2, vmdk, vpc and vhdx".to_owned()),
            Self::Setting { format, error: SettingError::Unknown, .. } => {
                Some(format!("instar convert -O {format} -o help lists the options"))
            }
            Self::Setting { .. } => None,
        }
    }
}

impl OutputOptions {
    /// What `lists` say about an output in `format`.
    ///
    /// # Errors
    ///
    /// [`OptionError`] for what the format does not have, or cannot be.
    pub(crate) fn parse(format: Format, lists: &[OsString]) -> Result<Wanted, OptionError> {
        let mut options = Self::default();
        let mut wants_help = false;
        for list in lists {
            check(list)?;
            for (name, value) in list::items(list.as_bytes()) {
                match value {
                    None if matches!(name, b"help" | b"?") => wants_help = true,
                    // A switch may stand alone.
                    value => options.add(format, name, value.unwrap_or_else(|| b"on".to_vec()))?,
                }
            }
        }
        Ok(if wants_help { Wanted::Help } else { Wanted::Output(options) })
    }

    fn add(&mut self, format: Format, name: &[u8], value: Vec<u8>) -> Result<(), OptionError> {
        let wrong = |error| OptionError::Setting {
            format,
            name: OsStr::from_bytes(name).to_owned(),
            value: OsStr::from_bytes(&value).to_owned(),
            error,
        };
        match name {
            b"backing_file" if has_backing(format) => self.backing_file = Some(OsString::from_vec(value)),
            b"backing_fmt" if has_backing(format) => self.backing_format = Some(OsString::from_vec(value)),
            b"data_file" if has_data_file(format) => self.data_file = Some(OsString::from_vec(value)),
            b"data_file_raw" if has_data_file(format) => {
                self.data_file_raw = setting::switch(&value).map_err(wrong)?;
            }
            name => {
                try_set(format, name, &value).map_err(wrong)?;
                self.settings.push((name.to_vec(), value));
            }
        }
        Ok(())
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The value that `name` is set to at last.
    pub(crate) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let last = self.settings.iter().rev().find(|(own, _)| own == name);
        last.map(|(_, value)| &value[..])
    }

    /// The settings as the guest wants them: names and values in turn, each ended by a zero byte.
    pub(crate) fn text(&self) -> Vec<u8> {
        let words = self.settings.iter().flat_map(|(name, value)| [name, value]);
        words.flat_map(|word| word.iter().copied().chain([0])).collect()
    }
}

/// The options of `format` in lines, as `-o help` has them.
///
/// # Errors
///
/// [`OptionError::NoOutput`] for a format that cannot be written.
pub(crate) fn help(format: Format) -> Result<String, OptionError> {
    let own = settings(format).ok_or(OptionError::NoOutput(format))?;
    let mut all: Vec<_> = own.iter().chain(files(format)).collect();
    all.sort_unstable_by_key(|setting| setting.name);
    let mut text = String::from("Supported options:\n");
    for Setting { name, kind, help, .. } in all {
        let (kind, words) = match kind {
            Kind::Switch => ("bool (on/off)", String::new()),
            Kind::Number => ("num", String::new()),
            Kind::Size => ("size", String::new()),
            Kind::Word(words) => ("str", format!(" (allowed values: {})", words.join(", "))),
            _ => ("str", String::new()),
        };
        let option = format!("{name}=<{kind}>");
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {option:<22} - {help}{words}");
    }
    Ok(text)
}

/// Options about other files.
const FILES: &[Setting] = &[
    Setting::new("backing_file", Kind::Text, "File name of a base image"),
    Setting::new("backing_fmt", Kind::Text, "Image format of the base image"),
    Setting::new("data_file", Kind::Text, "File name of an external data file"),
    Setting::new("data_file_raw", Kind::Switch, "The external data file must stay valid as a raw image"),
];

/// The options about other files that an output in `format` has.
fn files(format: Format) -> &'static [Setting] {
    if has_backing(format) { FILES } else { &[] }
}

/// Whether images in `format` can stand on others, as they are written here.
pub(crate) fn has_backing(format: Format) -> bool {
    format == Format::Qcow2
}

/// Whether the bytes of a disk in `format` can be in another file, as images are written here.
fn has_data_file(format: Format) -> bool {
    format == Format::Qcow2
}

/// What an output in `format` can be told; `None` if there is none.
fn settings(format: Format) -> Option<&'static [Setting]> {
    match format {
        Format::Raw => Some(fmt_raw::SETTINGS),
        Format::Qcow2 => Some(fmt_qcow2::SETTINGS),
        Format::Vmdk => Some(fmt_vmdk::SETTINGS),
        Format::Vpc => Some(fmt_vhd::SETTINGS),
        Format::Vhdx => Some(fmt_vhdx::SETTINGS),
        _ => None,
    }
}

fn setting(format: Format, name: &[u8]) -> Option<&'static Setting> {
    let all = settings(format)?.iter().chain(files(format));
    all.into_iter().find(|setting| setting.name.as_bytes() == name)
}

/// Whether an output in `format` takes the option `name` with that value.
fn try_set(format: Format, name: &[u8], value: &[u8]) -> Result<(), SettingError> {
    match format {
        Format::Raw => fmt_raw::Options::default().set(name, value),
        Format::Qcow2 => fmt_qcow2::Options::default().set(name, value),
        Format::Vmdk => fmt_vmdk::Options::new(0, b"").set(name, value),
        Format::Vpc => fmt_vhd::Options::default().set(name, value),
        Format::Vhdx => {
            let any = fmt_vhdx::Guid([0; 16]);
            fmt_vhdx::Options::new(any, any, any).set(name, value)
        }
        _ => Err(SettingError::Unknown),
    }
}

/// Makes sure that there is something between the commas of `list`.
fn check(list: &OsStr) -> Result<(), OptionError> {
    let is_list = list::items(list.as_bytes()).iter().all(|(name, _)| !name.is_empty());
    let ends_well = list.as_bytes().last().is_some_and(|&last| last != b',');
    if is_list && ends_well { Ok(()) } else { Err(OptionError::NoOption(list.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(format: Format, lists: &[&str]) -> Result<Wanted, OptionError> {
        OutputOptions::parse(format, &lists.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[track_caller]
    fn output(format: Format, lists: &[&str]) -> OutputOptions {
        match parse(format, lists) {
            Ok(Wanted::Output(options)) => options,
            other => panic!("{lists:?}: {other:?}"),
        }
    }

    #[test]
    fn options_are_told_to_the_format() {
        let options = output(Format::Qcow2, &["compat=v3,cluster_size=4k", "cluster_size=8k"]);
        assert_eq!(options.text(), b"compat\0v3\0cluster_size\x004k\0cluster_size\x008k\0");
        assert_eq!(options.value(b"cluster_size"), Some(&b"8k"[..]));
        assert_eq!(options.value(b"preallocation"), None);
        assert!(!options.is_empty());
        assert!(output(Format::Raw, &[]).is_empty());
    }

    #[test]
    fn a_switch_may_stand_alone() {
        assert_eq!(output(Format::Vmdk, &["compat6"]).value(b"compat6"), Some(&b"on"[..]));
        assert!(parse(Format::Qcow2, &["cluster_size"]).is_err());
    }

    #[test]
    fn files_are_not_the_formats_affair() {
        let options = output(Format::Qcow2, &["backing_file=a,,b,backing_fmt=raw"]);
        assert_eq!(options.text(), b"");
        assert_eq!(options.backing_file, Some("a,b".into()));
        assert_eq!(options.backing_format, Some("raw".into()));
        let options = output(Format::Qcow2, &["data_file=a.raw,data_file_raw"]);
        assert_eq!((options.text(), options.data_file_raw), (vec![], true));
        assert_eq!(options.data_file, Some("a.raw".into()));
        assert!(parse(Format::Qcow2, &["data_file=a,data_file_raw=maybe"]).is_err());
        assert!(parse(Format::Vmdk, &["data_file=a"]).is_err());
        assert!(parse(Format::Raw, &["backing_file=a"]).is_err());
    }

    #[test]
    fn help_goes_before_all_else_that_is_right() {
        for list in ["help", "?", "compat=v3,help"] {
            assert_eq!(parse(Format::Qcow2, &[list]), Ok(Wanted::Help), "{list}");
        }
        assert!(parse(Format::Qcow2, &["nope=1,help"]).is_err());
    }

    #[test]
    fn lists_have_no_gaps() {
        for list in ["", ",", "compat=v3,", ",compat=v3", "=v3"] {
            assert_eq!(parse(Format::Qcow2, &[list]), Err(OptionError::NoOption(list.into())), "{list}");
        }
    }

    #[test]
    fn every_option_of_a_help_text_is_taken() {
        for format in [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vpc, Format::Vhdx] {
            for Setting { name, .. } in settings(format).unwrap() {
                assert_ne!(try_set(format, name.as_bytes(), b"\x01"), Err(SettingError::Unknown), "{name}");
                assert!(help(format).unwrap().contains(&format!("\n  {name}=<")), "{name}");
            }
        }
        assert_eq!(help(Format::Vdi), Err(OptionError::NoOutput(Format::Vdi)));
    }
}
