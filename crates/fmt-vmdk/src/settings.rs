//! Options as text: what `-o` says of a VMDK.

use fmt_core::setting::{self, Kind, Setting, SettingError, words};

use crate::options::{Adapter, Options, Subformat};

const SUBFORMATS: [(&str, Subformat); 5] = [
    ("monolithicSparse", Subformat::MonolithicSparse),
    ("monolithicFlat", Subformat::MonolithicFlat),
    ("twoGbMaxExtentSparse", Subformat::TwoGbMaxExtentSparse),
    ("twoGbMaxExtentFlat", Subformat::TwoGbMaxExtentFlat),
    ("streamOptimized", Subformat::StreamOptimized),
];

const ADAPTERS: [(&str, Adapter); 4] = [
    ("ide", Adapter::Ide),
    ("lsilogic", Adapter::LsiLogic),
    ("buslogic", Adapter::BusLogic),
    ("legacyESX", Adapter::LegacyEsx),
];

/// What [`Options::set`] takes.
pub const SETTINGS: &[Setting] = &[
    Setting::new("adapter_type", Kind::Word(&words(&ADAPTERS)), "Virtual adapter type"),
    Setting::new("compat6", Kind::Switch, "VMDK version 6 image"),
    Setting::new("hwversion", Kind::Text, "VMDK hardware version"),
    Setting::new("subformat", Kind::Word(&words(&SUBFORMATS)), "VMDK extent format"),
    Setting::new("toolsversion", Kind::Text, "VMware guest tools version"),
    Setting::new("zeroed_grain", Kind::Switch, "Mark zeros in grain tables instead of writing them"),
];

impl<'n> Options<'n> {
    /// Sets the option `name` to what `value` says. Of a repeated one the last counts.
    ///
    /// ```
    /// use fmt_vmdk::{Options, Subformat};
    ///
    /// let mut options = Options::new(7, b"disk.vmdk");
    /// options.set(b"subformat", b"streamOptimized").unwrap();
    /// assert_eq!(options.subformat, Subformat::StreamOptimized);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] for what is not among the [`SETTINGS`]. What does not go together is told when the options are used.
    pub fn set(&mut self, name: &[u8], value: &'n [u8]) -> Result<(), SettingError> {
        match name {
            b"adapter_type" => self.adapter = setting::word(value, &ADAPTERS)?,
            b"compat6" => self.compat6 = setting::switch(value)?,
            b"hwversion" => self.hw_version = Some(value),
            b"subformat" => self.subformat = setting::word(value, &SUBFORMATS)?,
            b"toolsversion" => self.tools_version = Some(value),
            b"zeroed_grain" => self.zeroed_grain = setting::switch(value)?,
            b"preallocation" => return Err(NO_PREALLOCATION),
            name => return Err(SettingError::of_name(name)),
        }
        Ok(())
    }
}

const NO_PREALLOCATION: SettingError =
    SettingError::Unsupported("subformat=monolithicFlat is a disk all of which is there");

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &'static str) -> Result<Options<'static>, SettingError> {
        let mut options = Options::new(1, b"x");
        options.set(name.as_bytes(), value.as_bytes()).map(|()| options)
    }

    #[test]
    fn every_setting_has_its_field() {
        assert_eq!(set("adapter_type", "legacyESX").unwrap().adapter, Adapter::LegacyEsx);
        assert!(set("compat6", "on").unwrap().compat6);
        assert_eq!(set("hwversion", "7").unwrap().hw_version, Some(&b"7"[..]));
        assert_eq!(set("subformat", "monolithicFlat").unwrap().subformat, Subformat::MonolithicFlat);
        assert_eq!(set("toolsversion", "8").unwrap().tools_version, Some(&b"8"[..]));
        assert!(set("zeroed_grain", "on").unwrap().zeroed_grain);
    }

    #[test]
    fn words_are_those_of_descriptors() {
        for (name, subformat) in SUBFORMATS {
            assert_eq!(subformat.create_type().name(), name);
        }
        for (name, adapter) in ADAPTERS {
            assert_eq!(adapter.name(), name);
        }
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(set("nope", "1").unwrap_err(), SettingError::Unknown);
        for setting in SETTINGS.iter().filter(|setting| setting.kind != Kind::Text) {
            assert_eq!(set(setting.name, "LSILOGIC").unwrap_err(), SettingError::Invalid, "{}", setting.name);
        }
        for name in ["preallocation", "size"] {
            assert!(matches!(set(name, "off"), Err(SettingError::Unsupported(_))), "{name}");
        }
    }
}
