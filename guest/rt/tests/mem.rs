//! The memory functions, as a hosted program under names of their own: guests are nothing that a test can be in.

#[path = "../src/mem.rs"]
mod mem;
