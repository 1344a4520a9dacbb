//! The guest of `instar convert` into images that are there.

#![no_std]
#![no_main]

guest_rt::command!(guest_ops::convert::in_place::run);
