//! The guests, built in the open and measured.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use guest_abi::layout::IMAGE_MAX_LEN;
use guest_build::{GUESTS, Guest};

use crate::{no_operands, workspace};

pub(crate) fn build_guests(args: &[&str]) -> Result<()> {
    no_operands(args)?;
    for (guest, path) in build()? {
        let len = fs::metadata(&path).with_context(|| guest.package)?.len();
        println!("{}  {len} bytes", path.display());
    }
    Ok(())
}

/// Prints how much memory each guest takes, and fails if that is more than any may.
pub(crate) fn check_sizes(args: &[&str]) -> Result<()> {
    no_operands(args)?;
    let mut sizes = Vec::new();
    for (guest, path) in build()? {
        let elf = fs::read(&path).with_context(|| path.display().to_string())?;
        sizes.push(Size::of(guest.package, &elf)?);
    }
    println!("{:<16}{:>12}{:>14}", "guest", "loaded KiB", "% of the cap");
    for size in &sizes {
        println!("{:<16}{:>12.1}{:>14.1}", size.guest, size.kib(), size.percent());
    }
    sizes.iter().try_for_each(Size::check)
}

fn build() -> Result<impl Iterator<Item = (&'static Guest, PathBuf)>> {
    let target_dir = workspace::target_dir().join("guests");
    guest_build::build(workspace::root(), &target_dir)?;
    Ok(GUESTS.iter().map(move |guest| (guest, guest.path(&target_dir))))
}

#[derive(Debug)]
struct Size {
    guest: &'static str,
    /// In bytes, when it is loaded.
    loaded: u64,
}

impl Size {
    fn of(guest: &'static str, elf: &[u8]) -> Result<Self> {
        let loaded = guest_build::loaded_size(elf).with_context(|| format!("{guest} is not a guest"))?;
        Ok(Self { guest, loaded })
    }

    fn check(&self) -> Result<()> {
        let Self { guest, loaded } = self;
        ensure!(*loaded <= IMAGE_MAX_LEN, "{guest} takes {loaded} bytes, and may take {IMAGE_MAX_LEN}");
        Ok(())
    }

    fn kib(&self) -> f64 {
        self.loaded as f64 / 1024.0
    }

    fn percent(&self) -> f64 {
        self.loaded as f64 * 100.0 / IMAGE_MAX_LEN as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of an ELF file of 64 bits, little-endian, for x86-64: its header, and one segment to load, which
    /// takes `memsz` bytes at the address of every guest.
    fn elf(memsz: u64) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        put(&mut elf, &[2, 62], 2); // executable, x86-64
        put(&mut elf, &[1], 4);
        put(&mut elf, &[0x40_0000, 64, 0], 8); // entry, offsets of the segments' and the sections' headers
        put(&mut elf, &[0], 4);
        put(&mut elf, &[64, 56, 1, 0, 0, 0], 2); // sizes and numbers of headers
        put(&mut elf, &[1, 5], 4); // to load, readable and executable
        put(&mut elf, &[0, 0x40_0000, 0x40_0000, 0, memsz, 4096], 8);
        elf
    }

    fn put(elf: &mut Vec<u8>, fields: &[u64], len: usize) {
        elf.extend(fields.iter().flat_map(|field| field.to_le_bytes().into_iter().take(len)));
    }

    #[test]
    fn a_guest_may_take_all_that_there_is() {
        let size = Size::of("just-right", &elf(IMAGE_MAX_LEN)).unwrap();
        assert_eq!(size.loaded, IMAGE_MAX_LEN);
        size.check().unwrap();
    }

    #[test]
    fn a_guest_that_takes_more_fails() {
        let size = Size::of("too-large", &elf(IMAGE_MAX_LEN + 1)).unwrap();
        assert_eq!(
            size.check().unwrap_err().to_string(),
            "too-large takes 397312 bytes, and may take 393216"
        );
        assert!(Size::of("enormous", &elf(u64::MAX)).unwrap().check().is_err());
    }

    #[test]
    fn what_is_no_guest_fails() {
        let whole = elf(4096);
        for garbage in [b"".as_slice(), b"#!/bin/sh\n", &[0xff; 4096], &whole[..63], &whole[..119]] {
            assert!(Size::of("garbage", garbage).is_err(), "{} bytes", garbage.len());
        }
    }
}
