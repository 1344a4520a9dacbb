//! What options say about an input.
//!
//! `qemu-img` lets drivers stand on each other, each with options of its own. Here, one driver of a format stands on the
//! driver of files: `driver=qcow2,file.driver=file,file.filename=PATH`. Drivers of raw may stand between and above them, for
//! they change nothing. An option is either followed, or known to change nothing of what is read, or refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use fmt_core::Format;

use super::error::DescriptionError;
use super::known_format;
use super::options::{Setting, Value};

const ON: &[&str] = &["on", "yes", "true", "y"];
const OFF: &[&str] = &["off", "no", "false", "n"];
const ON_OR_OFF: &[&str] = &["on", "yes", "true", "y", "off", "no", "false", "n"];

/// An option that may have the values that change nothing of what is read.
struct Harmless {
    key: &'static str,
    values: &'static [&'static str],
    /// Only the driver of files has it.
    of_files: bool,
}

impl Harmless {
    const fn new(key: &'static str, values: &'static [&'static str]) -> Self {
        Self { key, values, of_files: false }
    }

    const fn of_files(key: &'static str, values: &'static [&'static str]) -> Self {
        Self { key, values, of_files: true }
    }
}

const HARMLESS: &[Harmless] = &[
    // Inputs are only read.
    Harmless::new("read-only", ON),
    Harmless::new("auto-read-only", ON_OR_OFF),
    // What is never written is never flushed, discarded, or looked at for zeros before it is written.
    Harmless::new("cache.no-flush", ON_OR_OFF),
    Harmless::new("discard", &["ignore", "off", "unmap", "on"]),
    Harmless::new("detect-zeroes", &["off", "on", "unmap"]),
    // Reading past the page cache may show what is newer than that.
    Harmless::new("cache.direct", OFF),
    // How reads are waited for. `native` goes past the page cache.
    Harmless::of_files("aio", &["threads", "io_uring"]),
    // Images are locked; `force-share` is the way not to mind others.
    Harmless::of_files("locking", &["auto", "on"]),
];

/// An input as options describe it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) path: PathBuf,
    /// Its format; nothing where it is to be asked.
    pub(super) format: Option<Format>,
    /// Whether it is read even while another process writes to it, where that is said.
    pub(super) force_share: Option<bool>,
}

/// What reads bytes, and makes others of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    File,
    Format(Format),
}

/// What is said about one driver.
#[derive(Debug, Default)]
struct Layer {
    driver: Option<Driver>,
    filename: Option<OsString>,
    /// The key of an option that only the driver of files has.
    of_files: Option<OsString>,
}

impl Description {
    /// What `settings` describe, where the uppermost driver is `driver` whatever they say.
    pub(super) fn new(settings: Vec<Setting>, driver: Option<&OsStr>) -> Result<Self, DescriptionError> {
        let mut layers = vec![Layer::default()];
        let mut force_share = None;
        for Setting { key, value } in settings {
            let (depth, own_key) = nesting(&key);
            if layers.len() <= depth {
                layers.resize_with(depth + 1, Layer::default);
            }
            match own_key {
                b"force-share" if depth == 0 => force_share = Some(switch(&key, value)?),
                own_key => layers[depth].set(own_key, &key, value)?,
            }
        }
        if let Some(driver) = driver {
            layers[0].driver = Some(Driver::named(driver)?);
        }
        let file = layers.pop().expect("there is one at least");
        let format = format_of(layers, &file)?;
        Ok(Self { path: file.path()?, format, force_share })
    }
}

impl Driver {
    fn named(name: &OsStr) -> Result<Self, DescriptionError> {
        if name == "file" {
            return Ok(Self::File);
        }
        let format = known_format(name).map(Self::Format);
        format.ok_or_else(|| DescriptionError::UnknownDriver(name.to_owned()))
    }
}

impl Layer {
    /// Notes what `own_key`, which is `key` without what that is nested in, is set to.
    fn set(&mut self, own_key: &[u8], key: &OsStr, value: Value) -> Result<(), DescriptionError> {
        match own_key {
            b"driver" => self.driver = Some(Driver::named(&text(key, value)?)?),
            b"filename" => self.filename = Some(text(key, value)?),
            own_key => {
                let harmless = HARMLESS.iter().find(|harmless| harmless.key.as_bytes() == own_key);
                let harmless = harmless.ok_or_else(|| DescriptionError::Unsupported(key.to_owned()))?;
                check(key, value, harmless.values)?;
                if harmless.of_files {
                    self.of_files = Some(key.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The path, of the layer that is a file.
    fn path(self) -> Result<PathBuf, DescriptionError> {
        self.filename.map(PathBuf::from).ok_or(DescriptionError::NoFile)
    }
}

/// The format that `layers` make of `file`, which is beneath them.
fn format_of(layers: Vec<Layer>, file: &Layer) -> Result<Option<Format>, DescriptionError> {
    match file.driver {
        Some(Driver::Format(format)) => return Err(DescriptionError::NoFileOf(format)),
        None if layers.is_empty() => return Err(DescriptionError::NoFile),
        // Beneath another driver, a file is what there is if nothing is said.
        Some(Driver::File) | None => {}
    }
    // A file alone is read as it is.
    let mut found = Some(Format::Raw);
    for (depth, layer) in layers.into_iter().enumerate() {
        let format = match layer.driver {
            Some(Driver::Format(format)) => Some(format),
            // Only the uppermost can be asked for.
            None if depth == 0 => None,
            Some(Driver::File) | None => return Err(DescriptionError::NoLayer { depth }),
        };
        if layer.filename.is_some() {
            return Err(DescriptionError::NoLayer { depth });
        }
        if let Some(key) = layer.of_files {
            return Err(DescriptionError::Unsupported(key));
        }
        match (found, format) {
            (_, Some(Format::Raw)) => {}
            (Some(Format::Raw), _) => found = format,
            _ => return Err(DescriptionError::ImageInImage),
        }
    }
    Ok(found)
}

/// How deep `key` is nested in `file`, and what it is called there.
fn nesting(key: &OsStr) -> (usize, &[u8]) {
    let mut own_key = key.as_bytes();
    let mut depth = 0;
    while let Some(rest) = own_key.strip_prefix(b"file.") {
        own_key = rest;
        depth += 1;
    }
    (depth, own_key)
}

fn text(key: &OsStr, value: Value) -> Result<OsString, DescriptionError> {
    match value {
        Value::Text(text) => Ok(text),
        value => Err(DescriptionError::wrong(key, value, &[])),
    }
}

fn switch(key: &OsStr, value: Value) -> Result<bool, DescriptionError> {
    let is_on = value.word().is_some_and(|word| ON.iter().any(|on| word == *on));
    check(key, value, ON_OR_OFF).map(|()| is_on)
}

/// Makes sure that `key` is set to one of `values`.
fn check(key: &OsStr, value: Value, values: &'static [&'static str]) -> Result<(), DescriptionError> {
    match value.word() {
        Some(word) if values.iter().any(|value| word == *value) => Ok(()),
        _ => Err(DescriptionError::wrong(key, value, values)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{of_json, of_list};
    use super::*;

    fn read(list: &str) -> Result<Description, DescriptionError> {
        of_list(list.as_bytes()).and_then(|settings| Description::new(settings, None))
    }

    #[track_caller]
    fn is(list: &str, format: Option<Format>) {
        let expected = Description { path: "x".into(), format, force_share: None };
        assert_eq!(read(list).unwrap(), expected, "{list}");
    }

    #[track_caller]
    fn is_unsupported(list: &str, key: &str) {
        match read(list) {
            Err(DescriptionError::Unsupported(found)) => assert_eq!(found, key),
            other => panic!("{list}: {other:?}"),
        }
    }

    #[test]
    fn a_format_stands_on_a_file() {
        is("driver=qcow2,file.filename=x", Some(Format::Qcow2));
        is("driver=vhd,file.driver=file,file.filename=x", Some(Format::Vpc));
        is("driver=raw,file.filename=x", Some(Format::Raw));
    }

    #[test]
    fn a_file_can_be_read_as_it_is() {
        is("driver=file,filename=x", Some(Format::Raw));
    }

    #[test]
    fn without_a_driver_the_file_is_asked() {
        is("file.filename=x", None);
        is("file.driver=file,file.filename=x", None);
        is("file.driver=raw,file.file.filename=x", None);
    }

    #[test]
    fn raw_changes_nothing() {
        is("driver=qcow2,file.driver=raw,file.file.filename=x", Some(Format::Qcow2));
        is("driver=raw,file.driver=qcow2,file.file.driver=file,file.file.filename=x", Some(Format::Qcow2));
        is("driver=raw,file.driver=raw,file.file.driver=raw,file.file.file.filename=x", Some(Format::Raw));
    }

    #[test]
    fn images_are_not_read_out_of_images() {
        for list in [
            "driver=qcow2,file.driver=qcow2,file.file.filename=x",
            "driver=raw,file.driver=vmdk,file.file.driver=qcow2,file.file.file.filename=x",
            "file.driver=qcow2,file.file.filename=x",
        ] {
            assert!(matches!(read(list), Err(DescriptionError::ImageInImage)), "{list}");
        }
    }

    #[test]
    fn layers_are_complete() {
        for list in ["driver=qcow2", "driver=qcow2,filename=x", "driver=raw,file.driver=raw"] {
            assert!(matches!(read(list), Err(DescriptionError::NoFileOf(_))), "{list}");
        }
        for list in ["", "filename=x", "driver=file", "driver=qcow2,file.driver=file", "file.read-only=on"] {
            assert!(matches!(read(list), Err(DescriptionError::NoFile)), "{list}");
        }
        for (list, at) in [
            ("driver=file,file.filename=x", 0),
            ("driver=qcow2,filename=y,file.filename=x", 0),
            ("driver=qcow2,file.file.filename=x", 1),
            ("driver=qcow2,file.driver=file,file.filename=y,file.file.filename=x", 1),
        ] {
            match read(list) {
                Err(DescriptionError::NoLayer { depth }) => assert_eq!(depth, at, "{list}"),
                other => panic!("{list}: {other:?}"),
            }
        }
    }

    #[test]
    fn drivers_have_names() {
        for list in ["driver=nbd,file.filename=x", "driver=QCOW2,file.filename=x", "driver=,file.filename=x"]
        {
            assert!(matches!(read(list), Err(DescriptionError::UnknownDriver(_))), "{list}");
        }
    }

    #[test]
    fn options_that_change_nothing_are_taken() {
        for option in [
            "read-only=on",
            "auto-read-only=off",
            "cache.direct=off",
            "cache.no-flush=yes",
            "discard=unmap",
            "detect-zeroes=on",
            "file.aio=io_uring",
            "file.locking=auto",
            "file.read-only=true",
        ] {
            is(&format!("driver=qcow2,{option},file.filename=x"), Some(Format::Qcow2));
        }
    }

    #[test]
    fn options_that_would_change_something_are_refused() {
        for option in ["read-only=off", "cache.direct=on", "file.locking=off", "file.aio=native", "discard=x"]
        {
            let list = format!("driver=qcow2,{option},file.filename=x");
            assert!(matches!(read(&list), Err(DescriptionError::WrongValue { .. })), "{list}");
        }
    }

    #[test]
    fn all_others_are_refused_by_name() {
        for key in ["offset", "size", "backing", "backing.driver", "data-file.filename", "file", "", "Driver"]
        {
            is_unsupported(&format!("driver=raw,file.filename=x,{key}=1"), key);
        }
        is_unsupported("driver=raw,file.filename=x,file.force-share=on", "file.force-share");
        is_unsupported("driver=raw,locking=on,file.filename=x", "locking");
    }

    #[test]
    fn sharing_is_said_or_not() {
        for (value, expected) in [("on", true), ("y", true), ("off", false), ("no", false)] {
            let description = read(&format!("file.filename=x,force-share={value}")).unwrap();
            assert_eq!(description.force_share, Some(expected));
        }
        for value in ["", "ON", "maybe", "1"] {
            let description = read(&format!("file.filename=x,force-share={value}"));
            assert!(matches!(description, Err(DescriptionError::WrongValue { .. })));
        }
    }

    #[test]
    fn the_last_of_a_repeated_option_counts() {
        is("driver=raw,driver=qcow2,file.filename=y,file.filename=x", Some(Format::Qcow2));
    }

    #[test]
    fn a_driver_may_be_set_from_outside() {
        let read = |json: &str, driver: &str| {
            let settings = of_json(json.as_bytes()).unwrap();
            Description::new(settings, Some(OsStr::new(driver)))
        };
        let qcow2 = r#"{"driver":"qcow2","file":{"filename":"x"}}"#;
        assert_eq!(read(qcow2, "raw").unwrap().format, Some(Format::Raw));
        assert!(matches!(read(qcow2, "file"), Err(DescriptionError::NoLayer { depth: 0 })));
        assert!(matches!(read(qcow2, "nosuch"), Err(DescriptionError::UnknownDriver(_))));
        let file = r#"{"driver":"file","filename":"x"}"#;
        assert!(matches!(read(file, "raw"), Err(DescriptionError::NoFileOf(_))));
        assert_eq!(read(file, "file").unwrap().format, Some(Format::Raw));
    }

    #[test]
    fn json_values_have_types() {
        let read = |json: &str| Description::new(of_json(json.as_bytes()).unwrap(), None);
        let x = r#""file":{"filename":"x"}"#;
        let shared =
            read(&format!(r#"{{{x},"force-share":true,"read-only":true,"cache":{{"direct":false}}}}"#));
        assert_eq!(shared.unwrap(), Description { path: "x".into(), format: None, force_share: Some(true) });
        for option in [r#""driver":5"#, r#""driver":true"#, r#""force-share":1"#, r#""read-only":null"#] {
            let wrong = read(&format!("{{{x},{option}}}"));
            assert!(matches!(wrong, Err(DescriptionError::WrongValue { .. })), "{option}");
        }
        for option in [r#""backing":null"#, r#""backing":{}"#, r#""offset":512"#] {
            let unsupported = read(&format!("{{{x},{option}}}"));
            assert!(matches!(unsupported, Err(DescriptionError::Unsupported(_))), "{option}");
        }
    }
}
