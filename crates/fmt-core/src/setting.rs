//! Options of outputs as text: what `-o name=value` says of a format.
//!
//! Each format has a list of [`Setting`]s, and an `Options::set` that takes them one by one. Values are read here, as
//! `qemu-img` reads them.

use dd_window::parse_size;

/// An option that a format has for its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as `qemu-img` has it.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it is, in a few words for a list.
    pub help: &'static str,
}

impl Setting {
    /// The option `name`, with values of `kind`.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

/// What the values of a [`Setting`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `on`, `yes`, `true`, `y`, or `off`, `no`, `false`, `n`.
    Switch,
    /// A whole number: decimal, hexadecimal behind `0x`, octal behind `0`.
    Number,
    /// A number of bytes, as [`parse_size`] reads it.
    Size,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Why a setting cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// The format has no option of that name.
    Unknown,
    /// The option exists in `qemu-img`, and not here. Why.
    Unsupported(&'static str),
    /// The value is not of the option's [`Kind`].
    Invalid,
    /// The value is of the right kind, and out of range: what it would have to be.
    OutOfRange(&'static str),
}

impl SettingError {
    /// The error about the option `name`, which a format does not have.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        match name {
            b"size" => Self::Unsupported("the disk has the size of what is converted"),
            b"nocow" | b"extent_size_hint" => Self::Unsupported("it is about the file system of the output"),
            _ => Self::Unknown,
        }
    }
}

/// Reads a [`Kind::Switch`].
///
/// # Errors
///
/// [`SettingError::Invalid`] for any other word.
pub fn switch(value: &[u8]) -> Result<bool, SettingError> {
    match value {
        b"on" | b"yes" | b"true" | b"y" => Ok(true),
        b"off" | b"no" | b"false" | b"n" => Ok(false),
        _ => Err(SettingError::Invalid),
    }
}

/// Reads a [`Kind::Number`] of at most 32 bits.
///
/// # Errors
///
/// [`SettingError::Invalid`] for what is none.
pub fn number(value: &[u8]) -> Result<u32, SettingError> {
    let text = value.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let (digits, radix) = match digits {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
        digits => (digits, 10),
    };
    // A second sign is none, although `from_str_radix` would take one.
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    let text = core::str::from_utf8(digits).ok().filter(|_| is_number);
    let number = text.and_then(|text| u32::from_str_radix(text, radix).ok());
    number.ok_or(SettingError::Invalid)
}

/// Reads a [`Kind::Size`].
///
/// # Errors
///
/// [`SettingError::Invalid`] for what is none.
pub fn size(value: &[u8]) -> Result<u64, SettingError> {
    parse_size(value).map_err(|_| SettingError::Invalid)
}

/// Reads a [`Kind::Word`]: what stands beside the word in `words`.
///
/// # Errors
///
/// [`SettingError::Invalid`] for any other word.
pub fn word<T: Copy>(value: &[u8], words: &[(&str, T)]) -> Result<T, SettingError> {
    let found = words.iter().find(|(word, _)| word.as_bytes() == value);
    found.map(|&(_, meaning)| meaning).ok_or(SettingError::Invalid)
}

/// The words of a list for [`word`].
#[must_use]
pub const fn words<T: Copy, const N: usize>(list: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = list[at].0;
        at += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_words() {
        for (on, off) in [("on", "off"), ("yes", "no"), ("true", "false"), ("y", "n")] {
            assert_eq!(switch(on.as_bytes()), Ok(true));
            assert_eq!(switch(off.as_bytes()), Ok(false));
        }
        for value in ["", "On", "1", "on "] {
            assert_eq!(switch(value.as_bytes()), Err(SettingError::Invalid), "{value}");
        }
    }

    #[test]
    fn numbers_are_as_in_c() {
        for (text, expected) in [("16", 16), ("0x10", 16), ("020", 16), (" +16", 16), ("0", 0)] {
            assert_eq!(number(text.as_bytes()), Ok(expected), "{text}");
        }
        for text in ["", "+", "-1", "++1", "0x", "0x+1", "08", "1k", "16 ", "1_0", "4294967296"] {
            assert_eq!(number(text.as_bytes()), Err(SettingError::Invalid), "{text}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size(b"64k"), Ok(65536));
        for text in ["", "64kB", "-1", "16E"] {
            assert_eq!(size(text.as_bytes()), Err(SettingError::Invalid), "{text}");
        }
    }

    #[test]
    fn words_are_what_stands_beside_them() {
        const LIST: [(&str, u32); 3] = [("one", 1), ("1", 1), ("two", 2)];
        assert_eq!(word(b"one", &LIST), Ok(1));
        assert_eq!(word(b"two", &LIST), Ok(2));
        for value in ["One", "", "one "] {
            assert_eq!(word(value.as_bytes(), &LIST), Err(SettingError::Invalid), "{value}");
        }
        assert_eq!(words(&LIST), ["one", "1", "two"]);
    }

    #[test]
    fn what_the_output_is_stored_on_is_not_a_formats_affair() {
        for name in ["size", "nocow", "extent_size_hint"] {
            assert!(matches!(SettingError::of_name(name.as_bytes()), SettingError::Unsupported(_)));
        }
        assert_eq!(SettingError::of_name(b"Size"), SettingError::Unknown);
    }
}
