//! Requests to `convert`.

use guest_abi::convert::{DATA_FILE_RAW, PACK};

use super::{File, bytes, image, padded, pattern};

/// How much room a case has for texts, in bytes.
const TEXT_LEN: usize = 96;

pub(super) struct Seed {
    pub(super) name: &'static str,
    pub(super) inputs: u32,
    pub(super) flags: u32,
    pub(super) leaves_zeros: bool,
    /// Names and values, each ended by a zero byte.
    pub(super) options: &'static str,
    pub(super) snapshot: &'static str,
    pub(super) backing: &'static str,
    pub(super) data_file: &'static str,
    pub(super) input_format: &'static str,
    pub(super) output_format: &'static str,
    pub(super) backing_format: &'static str,
    pub(super) files: &'static [File],
}

/// One input of any format to a raw output.
pub(super) const ANY: Seed = Seed {
    name: "",
    inputs: 1,
    flags: 0,
    leaves_zeros: true,
    options: "",
    snapshot: "",
    backing: "",
    data_file: "",
    input_format: "",
    output_format: "raw",
    backing_format: "",
    files: &[],
};

/// A raw input with holes.
pub(super) const RAW: Seed = Seed { input_format: "raw", files: ISLANDS, ..ANY };

const ISLANDS: &[File] = &[File { hole: 300_000, ..pattern("0", 3000) }];
const ACROSS_PARTS: &[File] = &[File { hole: (4 << 30) + 70_000, ..pattern("0", 3000) }];
const SNAPSHOT: &[File] = &[image(
    "qcow2",
    "0",
    "-o cluster_size=4k",
    "64k",
    &["write -P 1 0 4k", "snapshot one", "write -P 2 0 4k", "write -P 3 32k 512"],
)];
pub(super) const CHAIN: &[File] = &[
    image("qcow2", "0", "-o cluster_size=4k -F qcow2 -b 1", "", &["write 0 1k", "write -z 8k 4k"]),
    image("qcow2", "1", "-o cluster_size=512", "32k", &["write 8k 512", "write -z 12k 512"]),
];

pub(super) const SEEDS: &[Seed] = &[
    Seed { name: "raw", ..RAW },
    Seed { name: "no-input", inputs: 0, ..RAW },
    Seed { name: "to-qcow2", output_format: "qcow2", ..RAW },
    Seed { name: "to-qcow2-dense", leaves_zeros: false, output_format: "qcow2", ..RAW },
    Seed {
        name: "to-qcow2-small-clusters",
        options: "cluster_size\x00512\0compat\x000.10\0refcount_bits\x0016\0",
        output_format: "qcow2",
        ..RAW
    },
    Seed {
        name: "to-qcow2-subclusters",
        options: "extended_l2\0on\0cluster_size\x0016k\0preallocation\0metadata\0",
        output_format: "qcow2",
        ..RAW
    },
    Seed { name: "to-qcow2-data-file", data_file: "data", output_format: "qcow2", ..RAW },
    Seed {
        name: "to-qcow2-data-file-raw",
        flags: DATA_FILE_RAW,
        options: "cluster_size\x004k\0",
        data_file: "data",
        output_format: "qcow2",
        ..RAW
    },
    Seed {
        name: "to-qcow2-data-file-full",
        options: "preallocation\0full\0",
        data_file: "data",
        output_format: "qcow2",
        ..RAW
    },
    Seed { name: "to-qcow2-data-file-packed", flags: PACK, data_file: "data", output_format: "qcow2", ..RAW },
    Seed { name: "to-vhdx-data-file", data_file: "data", output_format: "vhdx", ..RAW },
    Seed { name: "chain-to-qcow2-data-file", data_file: "1", output_format: "qcow2", files: CHAIN, ..ANY },
    Seed {
        name: "overlay-with-data-file",
        backing: "below",
        backing_format: "raw",
        data_file: "data",
        output_format: "qcow2",
        ..RAW
    },
    Seed { name: "to-qcow2-packed", flags: PACK, output_format: "qcow2", ..RAW },
    Seed {
        name: "to-qcow2-packed-zstd",
        flags: PACK,
        options: "compression_type\0zstd\0cluster_size\x004k\0",
        output_format: "qcow2",
        ..RAW
    },
    Seed { name: "raw-packed", flags: PACK, ..RAW },
    Seed { name: "to-vmdk", output_format: "vmdk", ..RAW },
    Seed { name: "to-vmdk-zeroed-grain", options: "zeroed_grain\0on\0", output_format: "vmdk", ..RAW },
    Seed {
        name: "to-vmdk-stream",
        options: "subformat\0streamOptimized\0adapter_type\0lsilogic\0",
        output_format: "vmdk",
        ..RAW
    },
    Seed { name: "to-vmdk-flat", options: "subformat\0monolithicFlat\0", output_format: "vmdk", ..RAW },
    Seed {
        name: "to-vmdk-parts",
        options: "subformat\0twoGbMaxExtentSparse\0",
        output_format: "vmdk",
        files: ACROSS_PARTS,
        ..RAW
    },
    Seed {
        name: "to-vmdk-flat-parts",
        options: "subformat\0twoGbMaxExtentFlat\0",
        output_format: "vmdk",
        files: ACROSS_PARTS,
        ..RAW
    },
    Seed { name: "to-vpc", output_format: "vpc", ..RAW },
    Seed { name: "to-vpc-exact-size", options: "force_size\0on\0", output_format: "vpc", ..RAW },
    Seed { name: "to-vpc-fixed", options: "subformat\0fixed\0", output_format: "vpc", ..RAW },
    Seed { name: "to-vhdx", output_format: "vhdx", ..RAW },
    Seed {
        name: "to-vhdx-without-zero-blocks",
        options: "block_size\x001M\0block_state_zero\0off\0log_size\x002M\0",
        output_format: "vhdx",
        ..RAW
    },
    Seed { name: "to-vhdx-fixed", options: "subformat\0fixed\0", output_format: "vhdx", ..RAW },
    Seed { name: "unknown-option", options: "colour\0red\0", output_format: "qcow2", ..RAW },
    Seed {
        name: "several-inputs",
        inputs: 3,
        output_format: "qcow2",
        files: &[pattern("0", 700), bytes("1", b"one sector"), File { hole: 70_000, ..pattern("2", 100) }],
        ..RAW
    },
    Seed {
        name: "several-formats",
        inputs: 3,
        output_format: "vmdk",
        files: &[
            image("qcow2", "0", "-o cluster_size=4k", "64k", &["write 8k 512", "write -c 16k 4k"]),
            pattern("1", 700),
            image("vmdk", "2", "", "128k", &["write 64k 512"]),
        ],
        ..ANY
    },
    Seed { name: "snapshot-by-name", snapshot: "one", files: SNAPSHOT, ..ANY },
    Seed {
        name: "snapshot-by-id",
        snapshot: "snapshot.id=1,snapshot.name=one",
        output_format: "vhdx",
        files: SNAPSHOT,
        ..ANY
    },
    Seed { name: "snapshot-that-is-not-there", snapshot: "two", files: SNAPSHOT, ..ANY },
    Seed { name: "snapshot-of-raw", snapshot: "one", ..RAW },
    Seed { name: "chain", files: CHAIN, ..ANY },
    Seed { name: "chain-to-vpc", output_format: "vpc", files: CHAIN, ..ANY },
    Seed { name: "chain-packed", flags: PACK, output_format: "qcow2", files: CHAIN, ..ANY },
    Seed { name: "overlay-of-raw", backing: "below", backing_format: "raw", output_format: "qcow2", ..RAW },
    Seed {
        name: "overlay-of-raw-version-2",
        options: "compat\x000.10\0",
        backing: "below",
        output_format: "qcow2",
        ..RAW
    },
    Seed {
        name: "overlay-of-raw-subclusters-packed",
        flags: PACK,
        options: "extended_l2\0on\0",
        backing: "below",
        output_format: "qcow2",
        ..RAW
    },
    Seed {
        name: "overlay-of-chain",
        backing: "1",
        backing_format: "qcow2",
        output_format: "qcow2",
        files: CHAIN,
        ..ANY
    },
    Seed { name: "overlay-of-another-format", backing: "below", output_format: "vmdk", ..RAW },
    Seed {
        name: "packed-again",
        flags: PACK,
        options: "cluster_size\x0016k\0",
        output_format: "qcow2",
        files: &[image(
            "qcow2",
            "0",
            "-o cluster_size=4k",
            "64k",
            &["write -c 0 4k", "write 8k 8k", "write -c 20k 4k"],
        )],
        ..ANY
    },
    Seed {
        name: "vhdx-to-vmdk-stream",
        options: "subformat\0streamOptimized\0",
        output_format: "vmdk",
        files: &[image("vhdx", "0", "-o block_size=1M", "3M", &["write 0 512", "write 2M 8k"])],
        ..ANY
    },
];

impl Seed {
    /// The case before the files.
    pub(super) fn request(&self) -> Vec<u8> {
        let texts = [self.options, self.snapshot, self.backing, self.data_file];
        let lens = texts.map(|text| u32::try_from(text.len()).unwrap_or(u32::MAX));
        let numbers = [self.inputs, self.flags, u32::from(self.leaves_zeros)].into_iter().chain(lens);
        let formats =
            [padded::<16>(self.input_format), padded(self.output_format), padded(self.backing_format)];
        let numbers: Vec<_> = numbers.flat_map(u32::to_le_bytes).collect();
        [numbers, formats.concat(), padded::<TEXT_LEN>(&texts.concat()).to_vec()].concat()
    }
}
