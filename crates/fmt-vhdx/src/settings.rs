//! Options as text: what `-o` says of a VHDX.

use fmt_core::setting::{self, Kind, Setting, SettingError, words};

use crate::layout::{Options, Subformat};
use crate::raw::MIB;

const SUBFORMATS: [(&str, Subformat); 2] = [("dynamic", Subformat::Dynamic), ("fixed", Subformat::Fixed)];

/// The largest block that there is, which stands for all that is larger.
const LARGEST_BLOCK: u64 = 256 * MIB;

/// What [`Options::set`] takes.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "block_size",
        Kind::Size,
        "Size of a block: 1M to 256M; 0 is the one that fits the disk's size",
    ),
    Setting::new("block_state_zero", Kind::Switch, "Say of blocks that are not there that they are zeros"),
    Setting::new("log_size", Kind::Size, "Size of the log: at least 1M"),
    Setting::new("subformat", Kind::Word(&words(&SUBFORMATS)), "Type of virtual hard disk format"),
];

impl Options {
    /// Sets the option `name` to what `value` says. Of a repeated one the last counts.
    ///
    /// Sizes are rounded up to whole MiB; a block of more than 256 MiB is one of 256 MiB.
    ///
    /// ```
    /// use fmt_vhdx::{Guid, Options};
    ///
    /// let mut options = Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]));
    /// options.set(b"block_size", b"2M").unwrap();
    /// assert_eq!(options.block_size, Some(2 << 20));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] for what is not among the [`SETTINGS`], and for a log that is empty or does not fit 32 bits. What
    /// else is out of range is told when the options are used.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SettingError> {
        match name {
            b"block_size" => self.block_size = block_size(setting::size(value)?),
            b"block_state_zero" => self.block_state_zero = setting::switch(value)?,
            b"log_size" => self.log_size = log_size(setting::size(value)?)?,
            b"subformat" => self.subformat = setting::word(value, &SUBFORMATS)?,
            b"preallocation" => return Err(NO_PREALLOCATION),
            name => return Err(SettingError::of_name(name)),
        }
        Ok(())
    }
}

const NO_PREALLOCATION: SettingError =
    SettingError::Unsupported("subformat=fixed is a disk all of which is allocated");

/// `None` for 0, which leaves it to the size of the disk.
fn block_size(bytes: u64) -> Option<u32> {
    let size = bytes.min(LARGEST_BLOCK).next_multiple_of(MIB);
    u32::try_from(size).ok().filter(|&size| size != 0)
}

fn log_size(bytes: u64) -> Result<u32, SettingError> {
    let size = bytes.checked_next_multiple_of(MIB).and_then(|size| u32::try_from(size).ok());
    size.filter(|&size| size != 0).ok_or(SettingError::OutOfRange("from 1 MiB to less than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Guid;

    const OPTIONS: Options = Options::new(Guid([1; 16]), Guid([2; 16]), Guid([3; 16]));

    fn set(name: &str, value: &str) -> Result<Options, SettingError> {
        let mut options = OPTIONS;
        options.set(name.as_bytes(), value.as_bytes()).map(|()| options)
    }

    #[test]
    fn every_setting_has_its_field() {
        assert_eq!(set("block_size", "4M"), Ok(Options { block_size: Some(4 << 20), ..OPTIONS }));
        assert_eq!(set("block_state_zero", "on"), Ok(Options { block_state_zero: true, ..OPTIONS }));
        assert_eq!(set("log_size", "2M"), Ok(Options { log_size: 2 << 20, ..OPTIONS }));
        assert_eq!(set("subformat", "fixed"), Ok(Options { subformat: Subformat::Fixed, ..OPTIONS }));
    }

    #[test]
    fn sizes_are_whole_mebibytes() {
        for (size, expected) in [
            ("0", None),
            ("1", Some(1 << 20)),
            ("1025k", Some(2 << 20)),
            ("257M", Some(256 << 20)),
            ("15E", Some(256 << 20)),
        ] {
            assert_eq!(set("block_size", size).unwrap().block_size, expected, "{size}");
        }
        assert_eq!(set("log_size", "1").unwrap().log_size, 1 << 20);
        assert_eq!(set("log_size", "4095M").unwrap().log_size, 4095 << 20);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(set("nope", "1"), Err(SettingError::Unknown));
        for setting in SETTINGS {
            assert_eq!(set(setting.name, "x"), Err(SettingError::Invalid), "{}", setting.name);
        }
        for size in ["0", "4G", "4294967295", "18446744073709551615"] {
            assert!(matches!(set("log_size", size), Err(SettingError::OutOfRange(_))), "{size}");
        }
        for name in ["preallocation", "size"] {
            assert!(matches!(set(name, "off"), Err(SettingError::Unsupported(_))), "{name}");
        }
    }
}
