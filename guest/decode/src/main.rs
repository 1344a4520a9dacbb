//! The guest that decompresses, for all commands.

#![no_std]
#![no_main]

guest_rt::decoder!();
