//! The compiled guests, as bytes: the build script compiles them, so that an ordinary `cargo build` of instar is all
//! there is to do.

#![forbid(unsafe_code)]

/// The guest of `instar convert`, an ELF file.
pub static CONVERT: &[u8] = include_bytes!(env!("INSTAR_GUEST_CONVERT"));

/// The guest of `instar dd`, an ELF file.
pub static DD: &[u8] = include_bytes!(env!("INSTAR_GUEST_DD"));

/// The guest that decompresses for all commands, an ELF file.
pub static DECODE: &[u8] = include_bytes!(env!("INSTAR_GUEST_DECODE"));

/// The guest of `instar convert` into images that are there, an ELF file.
pub static UPDATE: &[u8] = include_bytes!(env!("INSTAR_GUEST_UPDATE"));
