//! Inputs for the fuzz targets that read images, made from small ones of `qemu-img`. `fuzz/README.md` says what they are.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{command, no_operands, workspace};

/// An image to begin with.
struct Seed {
    target: &'static str,
    name: &'static str,
    /// What `qemu-img create` is given behind `-f FORMAT`, before the file's name.
    options: &'static str,
    size: &'static str,
    /// What `qemu-io` is told.
    writes: &'static [&'static str],
}

const SEEDS: &[Seed] = &[
    Seed::new("qcow2", "usual", "", "1M", &["write 0 512", "write -z 128k 64k"]),
    Seed::new("qcow2", "version-2", "-o compat=0.10", "1M", &["write 64k 512"]),
    Seed::new("qcow2", "small-clusters", "-o cluster_size=512", "64k", &["write 0 1k", "write 40k 512"]),
    Seed::new("qcow2", "compressed", "-o cluster_size=4k", "64k", &["write -c 0 4k", "write -c 4k 4k"]),
    Seed::new("qcow2", "compressed-zstd", "-o compression_type=zstd", "1M", &["write -c 0 64k"]),
    Seed::new("qcow2", "subclusters", "-o extended_l2=on", "1M", &["write 2k 2k", "write -z 8k 4k"]),
    Seed::new("qcow2", "backing-file", "-u -F raw -b base.raw", "1M", &[]),
    Seed::new("qcow2", "large", "-o cluster_size=2M", "1P", &["write 1023T 512"]),
    Seed::new("vmdk", "usual", "", "1M", &["write 0 512", "write 512k 512"]),
    Seed::new("vmdk", "zeroed-grain", "-o zeroed_grain=on", "1M", &["write -z 64k 64k", "write 0 512"]),
    Seed::new("vmdk", "stream-optimized", "-o subformat=streamOptimized", "1M", &["write 0 64k"]),
    Seed::new("vmdk", "flat-descriptor", "-o subformat=monolithicFlat", "1M", &[]),
    Seed::new("vmdk", "split-descriptor", "-o subformat=twoGbMaxExtentSparse", "5G", &[]),
    Seed::new("vmdk", "large", "", "50G", &["write 40G 512"]),
    Seed::new("vpc", "dynamic", "", "10M", &["write 0 512", "write 4M 512"]),
    Seed::new("vpc", "dynamic-exact-size", "-o force_size=on", "5M", &["write 3M 512"]),
    Seed::new("vpc", "fixed", "-o subformat=fixed", "1M", &["write 0 512"]),
    Seed::new("vpc", "large", "", "10G", &["write 8G 512"]),
    Seed::new("vhdx", "dynamic", "", "20M", &["write 0 512", "write 16M 512"]),
    Seed::new("vhdx", "fixed", "-o subformat=fixed,block_size=1M", "2M", &["write 1M 512"]),
    Seed::new("vhdx", "large", "-o block_size=256M", "500G", &["write 400G 512"]),
];

/// Where the disk is looked at: at its start, a little behind, and somewhere.
const PLACES: [u64; 4] = [0, 64 << 10, 4 << 20, 0x5555_5555_5555_5555];

const SECTOR: usize = 512;

impl Seed {
    const fn new(
        target: &'static str,
        name: &'static str,
        options: &'static str,
        size: &'static str,
        writes: &'static [&'static str],
    ) -> Self {
        Self { target, name, options, size, writes }
    }

    /// The file of the image.
    fn image(&self, dir: &Path) -> Result<Vec<u8>> {
        let file = format!("{}.{}", self.name, self.target);
        let mut create = tool("qemu-img", dir);
        create.args(["create", "-q", "-f", self.target]).args(self.options.split_whitespace());
        command::run(create.args([&file, self.size]))?;
        for write in self.writes {
            let mut io = tool("qemu-io", dir);
            command::run(io.args(["-f", self.target, "-c", write, &file]).stdout(Stdio::null()))?;
        }
        fs::read(dir.join(&file)).with_context(|| file)
    }
}

/// Makes the images anew, and puts them where the fuzz targets begin.
pub(crate) fn run(operands: &[&str]) -> Result<()> {
    no_operands(operands)?;
    let dir = tempfile::tempdir()?;
    for seed in SEEDS {
        let image = seed.image(dir.path())?;
        let target = if seed.target == "vpc" { "vhd" } else { seed.target };
        let to = workspace::root().join("fuzz/seeds").join(format!("read_{target}"));
        fs::create_dir_all(&to)?;
        let input = packed(&image);
        ensure!(input.len() <= 64 << 10, "{}: {} bytes are too much", seed.name, input.len());
        fs::write(to.join(seed.name), input)?;
    }
    Ok(())
}

/// The image as the targets take it: places to look at, the file's length, and what is not zero.
fn packed(image: &[u8]) -> Vec<u8> {
    let numbers = PLACES.into_iter().chain([image.len() as u64]);
    let mut input: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    for (at, sector) in (0_u64..).step_by(SECTOR).zip(image.chunks(SECTOR)) {
        if let Some(last) = sector.iter().rposition(|&byte| byte != 0) {
            let bytes = &sector[..=last];
            input.extend(at.to_le_bytes());
            // A sector is shorter than 64 KiB.
            input.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
            input.extend(bytes);
        }
    }
    input
}

fn tool(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(dir);
    command
}
