//! The guest of `instar dd`.

#![no_std]
#![no_main]

guest_rt::command!(guest_ops::dd::run);
