//! Options as text: what `-o` says of a VHD.

use fmt_core::setting::{self, Kind, Setting, SettingError, words};

use crate::plan::{Options, Subformat};

const SUBFORMATS: [(&str, Subformat); 2] = [("dynamic", Subformat::Dynamic), ("fixed", Subformat::Fixed)];

/// What [`Options::set`] takes.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "force_size",
        Kind::Switch,
        "Give the disk its own size instead of that of the next geometry",
    ),
    Setting::new("subformat", Kind::Word(&words(&SUBFORMATS)), "Type of virtual hard disk format"),
];

impl Options {
    /// Sets the option `name` to what `value` says. Of a repeated one the last counts.
    ///
    /// ```
    /// use fmt_vhd::{Options, Subformat};
    ///
    /// let mut options = Options::default();
    /// options.set(b"subformat", b"fixed").unwrap();
    /// assert_eq!(options.subformat, Subformat::Fixed);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] for what is not among the [`SETTINGS`].
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SettingError> {
        match name {
            b"force_size" => self.force_size = setting::switch(value)?,
            b"subformat" => self.subformat = setting::word(value, &SUBFORMATS)?,
            b"preallocation" => return Err(NO_PREALLOCATION),
            name => return Err(SettingError::of_name(name)),
        }
        Ok(())
    }
}

const NO_PREALLOCATION: SettingError =
    SettingError::Unsupported("subformat=fixed is a disk all of which is allocated");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_one_by_one() {
        let mut options = Options::default();
        options.set(b"force_size", b"on").unwrap();
        options.set(b"subformat", b"fixed").unwrap();
        let expected = Options { force_size: true, subformat: Subformat::Fixed, ..Options::default() };
        assert_eq!(options, expected);
    }

    #[test]
    fn others_are_refused() {
        let mut options = Options::default();
        assert_eq!(options.set(b"nope", b"1"), Err(SettingError::Unknown));
        for setting in SETTINGS {
            assert_eq!(options.set(setting.name.as_bytes(), b"x"), Err(SettingError::Invalid));
        }
        for name in ["preallocation", "size"] {
            assert!(matches!(options.set(name.as_bytes(), b"off"), Err(SettingError::Unsupported(_))));
        }
        assert_eq!(options, Options::default());
    }
}
