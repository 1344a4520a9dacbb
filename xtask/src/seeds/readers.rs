//! An image for each of the targets that read one.

use anyhow::Result;

use super::images::{Image, pieces};
use super::put;

/// The file's name is that of the input.
const IMAGES: &[Image] = &[
    Image::new("qcow2", "usual", "", "1M", &["write 0 512", "write -z 128k 64k"]),
    Image::new("qcow2", "version-2", "-o compat=0.10", "1M", &["write 64k 512"]),
    Image::new("qcow2", "small-clusters", "-o cluster_size=512", "64k", &["write 0 1k", "write 40k 512"]),
    Image::new("qcow2", "compressed", "-o cluster_size=4k", "64k", &["write -c 0 4k", "write -c 4k 4k"]),
    Image::new("qcow2", "compressed-zstd", "-o compression_type=zstd", "1M", &["write -c 0 64k"]),
    Image::new("qcow2", "subclusters", "-o extended_l2=on", "1M", &["write 2k 2k", "write -z 8k 4k"]),
    Image::new("qcow2", "backing-file", "-u -F raw -b base.raw", "1M", &[]),
    Image::new("qcow2", "large", "-o cluster_size=2M", "1P", &["write 1023T 512"]),
    Image::new("vmdk", "usual", "", "1M", &["write 0 512", "write 512k 512"]),
    Image::new("vmdk", "zeroed-grain", "-o zeroed_grain=on", "1M", &["write -z 64k 64k", "write 0 512"]),
    Image::new("vmdk", "stream-optimized", "-o subformat=streamOptimized", "1M", &["write 0 64k"]),
    Image::new("vmdk", "flat-descriptor", "-o subformat=monolithicFlat", "1M", &[]),
    Image::new("vmdk", "split-descriptor", "-o subformat=twoGbMaxExtentSparse", "5G", &[]),
    Image::new("vmdk", "large", "", "50G", &["write 40G 512"]),
    Image::new("vpc", "dynamic", "", "10M", &["write 0 512", "write 4M 512"]),
    Image::new("vpc", "dynamic-exact-size", "-o force_size=on", "5M", &["write 3M 512"]),
    Image::new("vpc", "fixed", "-o subformat=fixed", "1M", &["write 0 512"]),
    Image::new("vpc", "large", "", "10G", &["write 8G 512"]),
    Image::new("vhdx", "dynamic", "", "20M", &["write 0 512", "write 16M 512"]),
    Image::new("vhdx", "fixed", "-o subformat=fixed,block_size=1M", "2M", &["write 1M 512"]),
    Image::new("vhdx", "large", "-o block_size=256M", "500G", &["write 400G 512"]),
];

/// Where the disk is looked at: at its start, a little behind, and somewhere.
const PLACES: [u64; 4] = [0, 64 << 10, 4 << 20, 0x5555_5555_5555_5555];

pub(super) fn make() -> Result<()> {
    for image in IMAGES {
        // Each has a directory: names come again.
        let dir = tempfile::tempdir()?;
        let format = if image.format == "vpc" { "vhd" } else { image.format };
        put(&format!("read_{format}"), image.file, &input(&image.make(dir.path())?))?;
    }
    Ok(())
}

/// Places to look at, the file's length, and what is not zero.
fn input(file: &[u8]) -> Vec<u8> {
    let numbers = PLACES.into_iter().chain([file.len() as u64]);
    numbers.map(u64::to_le_bytes).map(Vec::from).chain(pieces(file)).flatten().collect()
}
