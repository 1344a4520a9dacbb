//! Text that users or images' authors wrote, as messages show it.

use std::ffi::OsStr;

/// `text`, harmless for a terminal, to stand between single quotes: control characters, and whatever else would not be seen
/// or would move what is (such as U+202E, which turns the direction of writing), are escaped, and so are `\` and `'`.
/// What is no UTF-8 shows as U+FFFD.
///
/// ```
/// assert_eq!(vmm::shown("a \"disk\".img"), "a \"disk\".img");
/// assert_eq!(vmm::shown("\x1b[2J"), r"\u{1b}[2J");
/// ```
#[must_use]
pub fn shown(text: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let text = text.as_ref().to_string_lossy();
    // The rules of Rust's strings, but for the quotes that these stand in.
    let parts: Vec<_> = text.split('"').map(|part| part.escape_debug().to_string()).collect();
    parts.join("\"")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn names_are_shown_as_they_are() {
        for name in ["", "disk.img", "a \"name\"", "\"", "Größe", "ディスク", "a\u{308}", "{}"] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn what_moves_or_hides_text_is_escaped() {
        for c in ['\0', '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}'] {
            let name = format!("a{c}b");
            let shown = shown(&name);
            assert!(!shown.contains(c) && shown.contains('\\'), "{shown}");
        }
    }

    #[test]
    fn the_end_of_a_name_can_be_seen() {
        assert_eq!(shown(r"a' \ 'b"), r"a\' \\ \'b");
    }

    #[test]
    fn other_bytes_are_replaced() {
        assert_eq!(shown(OsStr::from_bytes(b"a\xffb\x1b")), "a\u{fffd}b\\u{1b}");
    }
}
