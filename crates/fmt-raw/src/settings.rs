//! What a raw disk is to be like, beside its size: as options, and as text.

use fmt_core::setting::{self, Kind, Setting, SettingError, words};

/// What a raw disk is to be like, beside its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How much of the file is allocated before there is data for it.
    pub preallocation: Preallocation,
}

/// How much of a file is allocated before there is data for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// The room for it, by whoever makes the file.
    Falloc,
    /// All of it, as zeros.
    Full,
}

const PREALLOCATIONS: [(&str, Preallocation); 3] =
    [("off", Preallocation::Off), ("falloc", Preallocation::Falloc), ("full", Preallocation::Full)];

/// What [`Options::set`] takes.
pub const SETTINGS: &[Setting] =
    &[Setting::new("preallocation", Kind::Word(&words(&PREALLOCATIONS)), "Preallocation mode")];

impl Options {
    /// Sets the option `name` to what `value` says. Of a repeated one the last counts.
    ///
    /// ```
    /// use fmt_raw::{Options, Preallocation};
    ///
    /// let mut options = Options::default();
    /// options.set(b"preallocation", b"full").unwrap();
    /// assert_eq!(options.preallocation, Preallocation::Full);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] for what is not among the [`SETTINGS`].
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SettingError> {
        match name {
            b"preallocation" => self.preallocation = setting::word(value, &PREALLOCATIONS)?,
            name => return Err(SettingError::of_name(name)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_refused() {
        let mut options = Options::default();
        assert_eq!(options.set(b"nope", b"1"), Err(SettingError::Unknown));
        assert_eq!(options.set(b"preallocation", b"metadata"), Err(SettingError::Invalid));
        assert!(matches!(options.set(b"nocow", b"on"), Err(SettingError::Unsupported(_))));
        assert_eq!(options, Options::default());
    }
}
