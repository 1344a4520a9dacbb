//! Small images of `qemu-img`, and how inputs describe files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command;

/// An image to begin with.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) format: &'static str,
    /// The file's name.
    pub(super) file: &'static str,
    /// What `qemu-img create` is given behind `-f FORMAT`, before the file's name.
    pub(super) options: &'static str,
    /// Nothing if it is that of the backing image.
    pub(super) size: &'static str,
    /// What `qemu-io` is told; or `snapshot NAME`.
    pub(super) writes: &'static [&'static str],
}

const SECTOR: usize = 512;

/// The sector where `qemu-img` puts the BAT of a VHDX.
const VHDX_BAT_SECTOR: u64 = (2 << 20) / SECTOR as u64;

impl Image {
    pub(super) const fn new(
        format: &'static str,
        file: &'static str,
        options: &'static str,
        size: &'static str,
        writes: &'static [&'static str],
    ) -> Self {
        Self { format, file, options, size, writes }
    }

    /// Makes the file of the image in `dir`.
    pub(super) fn make(&self, dir: &Path) -> Result<Vec<u8>> {
        let mut create = tool("qemu-img", dir);
        create.args(["create", "-q", "-f", self.format]).args(self.options.split_whitespace());
        command::run(create.arg(self.file).args(self.size.split_whitespace()))?;
        for write in self.writes {
            match write.strip_prefix("snapshot ") {
                Some(name) => command::run(tool("qemu-img", dir).args(["snapshot", "-c", name, self.file]))?,
                None => self.write(dir, write)?,
            }
        }
        fs::read(dir.join(self.file)).with_context(|| self.file)
    }

    fn write(&self, dir: &Path, write: &str) -> Result<()> {
        let mut io = tool("qemu-io", dir);
        command::run(io.args(["-f", self.format, "-c", write, self.file]).stdout(Stdio::null()))
    }
}

/// Writes into the VHDX `file` while every write of its BAT fails, so that the log is all that knows of a new block.
pub(super) fn write_into_log(dir: &Path, file: &str, write: &str) -> Result<Vec<u8>> {
    let fault =
        format!(r#"{{"event":"none","iotype":"write","errno":5,"sector":{VHDX_BAT_SECTOR},"once":false}}"#);
    let base = format!(r#"{{"driver":"file","filename":"{file}"}}"#);
    let faulty = format!(r#"{{"driver":"blkdebug","image":{base},"inject-error":[{fault}]}}"#);
    let image = format!(r#"json:{{"driver":"vhdx","file":{faulty}}}"#);
    let status = tool("qemu-io", dir).args(["-c", write, &image]).stdout(Stdio::null()).status()?;
    ensure!(!status.success(), "{file}: the BAT has been written");
    fs::read(dir.join(file)).with_context(|| file.to_owned())
}

/// The pieces of a file as the targets take them: what is not zero, as the byte offset, the length, and the bytes.
pub(super) fn pieces(file: &[u8]) -> Vec<Vec<u8>> {
    let sectors = (0_u64..).step_by(SECTOR).zip(file.chunks(SECTOR));
    let piece = |(at, sector): (u64, &[u8])| {
        let last = sector.iter().rposition(|&byte| byte != 0)?;
        let bytes = &sector[..=last];
        // A sector is shorter than 64 KiB.
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        Some([&at.to_le_bytes()[..], &len.to_le_bytes(), bytes].concat())
    };
    sectors.filter_map(piece).collect()
}

fn tool(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(dir);
    command
}
