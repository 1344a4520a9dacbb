//! Requests to `convert` into images that are there.

use guest_abi::convert::PACK;

use super::convert::{self, CHAIN};
use super::{File, image, padded, pattern};

/// How many places of an image a case can change, and how many bytes of each.
const CHANGES: usize = 4;
const CHANGE_LEN: usize = 8;

pub(super) struct Seed {
    pub(super) name: &'static str,
    /// How the image is made that is there.
    pub(super) made: convert::Seed,
    inputs: u32,
    input_format: &'static str,
    /// As it is made, if there is no name.
    output_format: &'static str,
    cut: u64,
    /// Places, in bytes of the pages that are not zeros, and what is put there.
    changes: &'static [(u64, &'static [u8])],
    /// What is written.
    pub(super) files: &'static [File],
}

/// A raw disk into an image that holds a larger one.
const ANY: Seed = Seed {
    name: "",
    made: MADE,
    inputs: 1,
    input_format: "raw",
    output_format: "",
    cut: 0,
    changes: &[],
    files: &[File { hole: 40_000, ..pattern("0", 2500) }],
};

const MADE: convert::Seed = convert::Seed {
    output_format: "qcow2",
    files: &[File { hole: 300_000, ..pattern("0", 9000) }],
    ..convert::RAW
};

const SMALL_CLUSTERS: convert::Seed =
    convert::Seed { options: "cluster_size\x00512\0refcount_bits\x0064\0", ..MADE };
const SUBCLUSTERS: convert::Seed =
    convert::Seed { options: "extended_l2\0on\0cluster_size\x0016k\0", ..MADE };
const OVERLAY: convert::Seed = convert::Seed { backing: "below", backing_format: "raw", ..MADE };
const VMDK: convert::Seed = convert::Seed { output_format: "vmdk", ..MADE };
const ZEROED_GRAIN: convert::Seed = convert::Seed { options: "zeroed_grain\0on\0", ..VMDK };
const VPC: convert::Seed = convert::Seed { output_format: "vpc", ..MADE };
const VHDX: convert::Seed =
    convert::Seed { output_format: "vhdx", options: "block_size\x001M\0log_size\x001M\0", ..MADE };

/// An image that is not ours.
const GIVEN: convert::Seed = convert::Seed { output_format: "raw", leaves_zeros: false, ..convert::RAW };
const SNAPSHOT: &[File] = &[image(
    "qcow2",
    "0",
    "",
    "1M",
    &["write -P 1 0 1k", "write -c -P 2 128k 64k", "snapshot one", "write -P 3 0 512", "write -z 64k 64k"],
)];

const SPARSE: &[File] =
    &[image("qcow2", "0", "-o cluster_size=512", "8k", &["write 1k 512", "write -z 4k 512"])];

const ZEROS: &[File] = &[File { hole: 200_000, ..pattern("0", 0) }];

pub(super) const SEEDS: &[Seed] = &[
    Seed { name: "qcow2", ..ANY },
    Seed { name: "qcow2-small-clusters", made: SMALL_CLUSTERS, ..ANY },
    Seed {
        name: "qcow2-large-clusters",
        made: convert::Seed { options: "cluster_size\x002M\0", ..MADE },
        ..ANY
    },
    Seed { name: "qcow2-subclusters", made: SUBCLUSTERS, ..ANY },
    Seed {
        name: "qcow2-version-2-preallocated",
        made: convert::Seed {
            options: "compat\x000.10\0preallocation\0metadata\0cluster_size\x004k\0",
            ..MADE
        },
        ..ANY
    },
    Seed { name: "qcow2-packed", made: convert::Seed { flags: PACK, ..MADE }, ..ANY },
    Seed {
        name: "qcow2-packed-zstd",
        made: convert::Seed { flags: PACK, options: "compression_type\0zstd\0cluster_size\x0032k\0", ..MADE },
        ..ANY
    },
    Seed { name: "qcow2-overlay", made: OVERLAY, ..ANY },
    Seed {
        name: "qcow2-overlay-subclusters",
        made: convert::Seed { options: "extended_l2\0on\0", ..OVERLAY },
        ..ANY
    },
    Seed {
        name: "qcow2-overlay-version-2",
        made: convert::Seed { options: "compat\x000.10\0cluster_size\x00512\0", ..OVERLAY },
        ..ANY
    },
    Seed { name: "qcow2-data-file", made: convert::Seed { data_file: "data", ..MADE }, ..ANY },
    Seed {
        name: "qcow2-with-snapshot",
        made: convert::Seed { files: SNAPSHOT, ..GIVEN },
        output_format: "qcow2",
        ..ANY
    },
    Seed { name: "vmdk", made: VMDK, ..ANY },
    Seed { name: "vmdk-zeroed-grain", made: ZEROED_GRAIN, ..ANY },
    Seed {
        name: "vmdk-stream",
        made: convert::Seed { options: "subformat\0streamOptimized\0", ..VMDK },
        ..ANY
    },
    Seed { name: "vpc", made: VPC, ..ANY },
    Seed { name: "vpc-fixed", made: convert::Seed { options: "subformat\0fixed\0", ..VPC }, ..ANY },
    Seed { name: "vhdx", made: VHDX, ..ANY },
    Seed {
        name: "vhdx-fixed",
        made: convert::Seed { options: "subformat\0fixed\0block_size\x001M\0", ..VHDX },
        ..ANY
    },
    Seed { name: "too-small", made: convert::Seed { files: &[pattern("0", 700)], ..MADE }, ..ANY },
    Seed { name: "taken-for-another", output_format: "vhdx", ..ANY },
    Seed { name: "cut-off", cut: 600, made: SMALL_CLUSTERS, ..ANY },
    Seed { name: "zeros-onto-qcow2", files: ZEROS, ..ANY },
    Seed { name: "zeros-onto-vmdk", made: VMDK, files: ZEROS, ..ANY },
    Seed { name: "zeros-onto-vmdk-zeroed-grain", made: ZEROED_GRAIN, files: ZEROS, ..ANY },
    Seed { name: "sparse-onto-data", input_format: "qcow2", files: SPARSE, ..ANY },
    Seed { name: "chain", made: VPC, input_format: "", files: CHAIN, ..ANY },
    Seed {
        name: "several-inputs",
        made: SMALL_CLUSTERS,
        inputs: 2,
        files: &[pattern("0", 700), File { hole: 2000, ..pattern("1", 512) }],
        ..ANY
    },
    // Refcounts and L2 entries of the first clusters.
    Seed { name: "qcow2-refcounts-changed", changes: &[(0x2000, &[0, 9]), (0x2006, &[0, 0])], ..ANY },
    Seed { name: "qcow2-data-among-tables", changes: &[(0x4005, &[1])], ..ANY },
    Seed { name: "vpc-block-among-tables", made: VPC, changes: &[(0x600, &[0, 0, 0, 1])], ..ANY },
];

impl Seed {
    /// The case before the files.
    pub(super) fn request(&self) -> Vec<u8> {
        let formats = [padded::<16>(self.input_format), padded(self.output_format)];
        let mut changes: Vec<u8> =
            self.changes.iter().flat_map(|&(place, bytes)| change(place, bytes)).collect();
        changes.resize(CHANGES * change(0, &[]).len(), 0);
        let numbers = [self.inputs.to_le_bytes().to_vec(), formats.concat(), self.cut.to_le_bytes().to_vec()];
        [self.made.request(), numbers.concat(), changes].concat()
    }
}

fn change(place: u64, bytes: &[u8]) -> Vec<u8> {
    let mut padded = [0; CHANGE_LEN];
    padded[..bytes.len()].copy_from_slice(bytes);
    [place.to_le_bytes(), (bytes.len() as u64).to_le_bytes(), padded].concat()
}
