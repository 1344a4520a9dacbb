//! What a name on the command line stands for.
//!
//! An input can be named by a path, or be described by options: with `--image-opts`, or as `json:{…}`. Outputs are named by
//! paths. All this is the user's word; names inside images are [`vmm::files`]' affair, and are never read in these ways.
//!
//! | module | what |
//! |---|---|
//! | `options` | the two notations of options: `key=value,…` and JSON |
//! | `description` | what options say about an input |
//! | `error` | why they cannot be followed |

mod description;
mod error;
mod options;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use fmt_core::Format;

use crate::args::InputArgs;
use crate::failure::Failure;

use self::description::Description;
pub(crate) use self::error::DescriptionError;

/// What an input's name is called that holds its description.
const JSON: &[u8] = b"json:";

/// An input as the user named it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InputName {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its format; nothing where it is to be asked.
    pub(crate) format: Option<Format>,
    /// Whether it is read even while another process writes to it.
    pub(crate) force_share: bool,
}

/// The input that `name` stands for among the options `args`.
pub(crate) fn input(name: &OsStr, args: &InputArgs) -> Result<InputName, Failure> {
    if args.object.is_some() {
        return Err(Failure::Object);
    }
    let described = if args.image_opts {
        options::of_list(name.as_bytes()).and_then(|options| Description::new(options, None))?
    } else if let Some(json) = name.as_bytes().strip_prefix(JSON) {
        options::of_json(json).and_then(|options| Description::new(options, args.format.as_deref()))?
    } else {
        let format = args.format.as_deref().map(format).transpose()?;
        return Ok(InputName { path: path(name)?, format, force_share: args.force_share });
    };
    // In JSON, -U has the last word.
    if args.image_opts && args.force_share && described.force_share == Some(false) {
        return Err(DescriptionError::ForceShare.into());
    }
    let force_share = args.force_share || described.force_share == Some(true);
    Ok(InputName { path: described.path, format: described.format, force_share })
}

/// The path that `name` is, as `qemu-img` reads names: what comes before a colon, if no slash comes earlier, is a protocol.
/// `file:` is the protocol of paths, and there is no other here.
pub(crate) fn path(name: &OsStr) -> Result<PathBuf, Failure> {
    let bytes = name.as_bytes();
    if let Some(rest) = bytes.strip_prefix(b"file:") {
        return Ok(PathBuf::from(OsString::from_vec(rest.to_vec())));
    }
    match bytes.iter().position(|byte| matches!(byte, b':' | b'/')) {
        Some(at) if bytes[at] == b':' => {
            Err(Failure::Protocol(OsString::from_vec(bytes[..at].to_vec()), name.to_owned()))
        }
        _ => Ok(PathBuf::from(name)),
    }
}

/// The format that an option calls `name`. `file` is what `qemu-img` calls the bytes of a file, which is raw.
pub(crate) fn format(name: &OsStr) -> Result<Format, Failure> {
    if name == "file" {
        return Ok(Format::Raw);
    }
    known_format(name).ok_or_else(|| Failure::UnknownFormat(name.to_owned()))
}

/// The format of that name. `vhd` is what everybody but QEMU calls `vpc`.
fn known_format(name: &OsStr) -> Option<Format> {
    if name == "vhd" { Some(Format::Vpc) } else { Format::from_name(name.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stands_for(name: &str, expected: &str) {
        assert_eq!(path(OsStr::new(name)).unwrap(), PathBuf::from(expected));
    }

    #[test]
    fn a_name_is_a_path() {
        stands_for("disk.img", "disk.img");
        stands_for("./with:colon", "./with:colon");
        stands_for("dir/with:colon", "dir/with:colon");
        stands_for("-", "-");
        stands_for("", "");
    }

    #[test]
    fn the_file_protocol_is_a_path() {
        stands_for("file:disk.img", "disk.img");
        stands_for("file:a:b", "a:b");
        stands_for("file:", "");
    }

    #[test]
    fn other_protocols_are_refused() {
        for name in ["nbd:localhost:1", "http://host/x", "json:{}", "fat:.", ":", "C:\\disk"] {
            assert!(matches!(path(OsStr::new(name)), Err(Failure::Protocol(..))), "{name}");
        }
    }

    fn named(path: &str, format: Option<Format>, force_share: bool) -> InputName {
        InputName { path: path.into(), format, force_share }
    }

    fn json(args: &InputArgs) -> InputName {
        input(OsStr::new(r#"json:{"driver":"qcow2","file.filename":"x","force-share":false}"#), args).unwrap()
    }

    #[test]
    fn a_plain_name_has_the_format_that_the_options_say() {
        let raw = InputArgs { format: Some("raw".into()), force_share: true, ..InputArgs::default() };
        assert_eq!(input(OsStr::new("x"), &raw).unwrap(), named("x", Some(Format::Raw), true));
        assert_eq!(input(OsStr::new("x"), &InputArgs::default()).unwrap(), named("x", None, false));
    }

    #[test]
    fn options_have_the_last_word_over_json() {
        let raw = InputArgs { format: Some("raw".into()), force_share: true, ..InputArgs::default() };
        assert_eq!(json(&raw), named("x", Some(Format::Raw), true));
        assert_eq!(json(&InputArgs::default()), named("x", Some(Format::Qcow2), false));
    }

    #[test]
    fn image_options_must_not_contradict_force_share() {
        let input = |name: &str, force_share| {
            input(OsStr::new(name), &InputArgs { image_opts: true, force_share, ..InputArgs::default() })
        };
        let on = "file.filename=x,force-share=on";
        assert_eq!(input(on, false).unwrap(), named("x", None, true));
        assert_eq!(input(on, true).unwrap(), named("x", None, true));
        let off = "file.filename=x,force-share=off";
        assert_eq!(input(off, false).unwrap(), named("x", None, false));
        assert!(matches!(input(off, true), Err(Failure::Description(DescriptionError::ForceShare))));
    }

    #[test]
    fn formats_have_other_names() {
        for (name, expected) in [("file", Format::Raw), ("vhd", Format::Vpc), ("qcow2", Format::Qcow2)] {
            assert_eq!(format(OsStr::new(name)).unwrap(), expected);
        }
        assert!(matches!(format(OsStr::new("QCOW2")), Err(Failure::UnknownFormat(_))));
    }
}
