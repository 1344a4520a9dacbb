//! What a file name on the command line stands for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::failure::Failure;

/// The path that `name` stands for, as `qemu-img` reads names: what comes before a colon, if no slash comes earlier,
/// is a protocol. `file:` is the protocol of paths, and there is no other here.
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
}
