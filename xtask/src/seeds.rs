//! Inputs for the fuzz targets that read images, made from small ones of `qemu-img`. `fuzz/README.md` says what they are.

mod commands;
mod images;
mod readers;

use std::fs;

use anyhow::{Result, ensure};

use crate::{no_operands, workspace};

/// The longest input, in bytes: longer ones take too long to change here and there.
const MAX_LEN: usize = 64 << 10;

/// Makes the images anew, and puts them where the fuzz targets begin.
pub(crate) fn run(operands: &[&str]) -> Result<()> {
    no_operands(operands)?;
    readers::make()?;
    commands::make()
}

/// Puts an input where `target` begins.
fn put(target: &str, name: &str, input: &[u8]) -> Result<()> {
    ensure!(input.len() <= MAX_LEN, "{name}: {} bytes are too much", input.len());
    let to = workspace::root().join("fuzz/seeds").join(target);
    fs::create_dir_all(&to)?;
    Ok(fs::write(to.join(name), input)?)
}
