//! Which bytes `qemu-img dd` copies, and how it reads the numbers that say so.
//!
//! `dd` takes three numbers: `bs=` the size of a block, `count=` and `skip=` in blocks. Read from text and applied to
//! the size of a disk, they give one range of bytes, the window. It is not the window of dd(1): there `count` is how
//! much to copy, here it is *where to stop*. `skip=1 count=3` copies two blocks.
//!
//! ```
//! use dd_window::{BlockCount, BlockSize, Blocks, OperandError};
//!
//! let blocks = Blocks {
//!     block_size: BlockSize::parse(b"64k")?,
//!     count: Some(BlockCount::parse(b"3")?),
//!     skip: BlockCount::parse(b"1")?,
//! };
//! let window = blocks.window(1 << 20);
//! assert_eq!(window.range(), 65_536..196_608);
//! assert_eq!(window.output_len(), Some(131_072));
//! # Ok::<(), OperandError>(())
//! ```
//!
//! | layer | | |
//! |---|---|---|
//! | text to bytes | [`parse_size`] | `1.5k` is 1536: any size that qemu-img takes |
//! | text to operands | [`BlockSize`], [`BlockCount`] | the same, kept within an operand's limits |
//! | operands to bytes | [`Blocks`], [`Window`] | the window on a disk of a given size |
//!
//! The behaviour is that of qemu-img 10.1 and later, and is tested against recordings of it. Everything here is pure
//! arithmetic without allocation. Any text and any size give a value or an error: nothing panics, nothing wraps.

#![no_std]
#![forbid(unsafe_code)]

mod operand;
mod size;
mod window;

pub use operand::{BlockCount, BlockSize, OperandError};
pub use size::{SizeError, parse_size};
pub use window::{Blocks, Window};

/// The example in the README, kept true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
