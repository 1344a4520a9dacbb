//! The guest of `instar convert`.

#![no_std]
#![no_main]

guest_rt::command!(guest_ops::convert::run);
