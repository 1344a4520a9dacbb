//! Options as text: what `-o` says of a qcow2 image.

use fmt_core::Codec;
use fmt_core::setting::{self, Kind, Setting, SettingError, words};

use crate::header::Version;
use crate::options::{Options, Preallocation};

const VERSIONS: [(&str, Version); 4] =
    [("0.10", Version::V2), ("1.1", Version::V3), ("v2", Version::V2), ("v3", Version::V3)];

const CODECS: [(&str, Codec); 2] = [("zlib", Codec::Deflate), ("zstd", Codec::Zstd)];

const PREALLOCATIONS: [(&str, Preallocation); 4] = [
    ("off", Preallocation::Off),
    ("metadata", Preallocation::Metadata),
    ("falloc", Preallocation::Metadata),
    ("full", Preallocation::Full),
];

/// What [`Options::set`] takes.
pub const SETTINGS: &[Setting] = &[
    Setting::new("cluster_size", Kind::Size, "qcow2 cluster size"),
    Setting::new("compat", Kind::Word(&words(&VERSIONS)), "Compatibility level (v2 [0.10] or v3 [1.1])"),
    Setting::new(
        "compression_type",
        Kind::Word(&words(&CODECS)),
        "Compression method used for image cluster compression",
    ),
    Setting::new("extended_l2", Kind::Switch, "Extended L2 tables"),
    Setting::new("lazy_refcounts", Kind::Switch, "Postpone refcount updates"),
    Setting::new("preallocation", Kind::Word(&words(&PREALLOCATIONS)), "Preallocation mode"),
    Setting::new("refcount_bits", Kind::Number, "Width of a reference count entry in bits"),
];

impl Options<'_> {
    /// Sets the option `name` to what `value` says. Of a repeated one the last counts.
    ///
    /// Files are not set by name: whoever has opened them calls [`backing_file`](Self::backing_file) and
    /// [`data_file`](Self::data_file). `preallocation=falloc` is [`Preallocation::Metadata`]: the room in the file is the
    /// caller's affair.
    ///
    /// ```
    /// use fmt_qcow2::Options;
    ///
    /// let mut options = Options::default();
    /// options.set(b"cluster_size", b"2M").unwrap();
    /// assert_eq!(options.block_len().unwrap(), 2 << 20);
    /// assert!(options.set(b"cluster_size", b"big").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] for what is not among the [`SETTINGS`]. What does not go together is told when the options are used.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SettingError> {
        *self = match name {
            b"cluster_size" => self.cluster_size(setting::size(value)?),
            b"compat" => self.version(setting::word(value, &VERSIONS)?),
            b"compression_type" => self.codec(setting::word(value, &CODECS)?),
            b"extended_l2" => self.extended_l2(setting::switch(value)?),
            b"lazy_refcounts" => self.lazy_refcounts(setting::switch(value)?),
            b"preallocation" => self.preallocation(setting::word(value, &PREALLOCATIONS)?),
            b"refcount_bits" => self.refcount_bits(setting::number(value)?),
            b"encryption" => return Err(NO_ENCRYPTION),
            name if name.starts_with(b"encrypt.") => return Err(NO_ENCRYPTION),
            name => return Err(SettingError::of_name(name)),
        };
        Ok(())
    }
}

const NO_ENCRYPTION: SettingError = SettingError::Unsupported("images are not encrypted");

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &[(&str, &str)]) -> Result<Options<'static>, SettingError> {
        let mut options = Options::default();
        settings.iter().try_for_each(|(name, value)| options.set(name.as_bytes(), value.as_bytes()))?;
        Ok(options)
    }

    #[test]
    fn every_setting_has_its_setter() {
        let options = Options::default();
        for (name, value, expected) in [
            ("cluster_size", "4k", options.cluster_size(4096)),
            ("compat", "0.10", options.version(Version::V2)),
            ("compat", "v2", options.version(Version::V2)),
            ("compression_type", "zstd", options.codec(Codec::Zstd)),
            ("extended_l2", "on", options.extended_l2(true)),
            ("lazy_refcounts", "yes", options.lazy_refcounts(true)),
            ("preallocation", "falloc", options.preallocation(Preallocation::Metadata)),
            ("preallocation", "full", options.preallocation(Preallocation::Full)),
            ("refcount_bits", "0x10", options.refcount_bits(16)),
        ] {
            assert_eq!(set(&[(name, value)]), Ok(expected), "{name}={value}");
        }
    }

    #[test]
    fn every_setting_is_known() {
        for setting in SETTINGS {
            let wrong = set(&[(setting.name, "\u{1}")]);
            assert_eq!(wrong, Err(SettingError::Invalid), "{}", setting.name);
        }
    }

    #[test]
    fn the_last_counts() {
        assert_eq!(set(&[("compat", "0.10"), ("compat", "1.1")]), Ok(Options::default()));
    }

    #[test]
    fn others_are_refused() {
        for name in ["nope", "backing_file", "data_file"] {
            assert_eq!(set(&[(name, "1")]), Err(SettingError::Unknown));
        }
        for name in ["encryption", "encrypt.format", "size", "nocow", "extent_size_hint"] {
            assert!(matches!(set(&[(name, "off")]), Err(SettingError::Unsupported(_))), "{name}");
        }
    }
}
