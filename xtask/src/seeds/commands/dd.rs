//! Requests to `dd`.

use testkit::differencing::Format;

use super::super::images::Image;
use super::{Content, File, bytes, image, padded, pattern};

pub(super) struct Seed {
    pub(super) name: &'static str,
    input_format: &'static str,
    output_format: &'static str,
    block_size: u64,
    count: u64,
    skip: u64,
    pub(super) files: &'static [File],
}

/// Everything, from a format that is told by the input to a raw output.
const ANY: Seed = Seed {
    name: "",
    input_format: "",
    output_format: "raw",
    block_size: 512,
    count: u64::MAX,
    skip: 0,
    files: &[],
};

/// Everything, as it is.
const RAW: Seed = Seed { input_format: "raw", ..ANY };

const PATTERN: &[File] = &[pattern("0", 3000)];
const HOLE: &[File] = &[File { hole: 1 << 40, ..pattern("0", 3000) }];
const QCOW2_HEAD: &[File] = &[File { hole: 600, ..bytes("0", b"QFI\xfb\0\0\0\x03") }];
const SMALL_CLUSTERS: &[File] = &[image(
    "qcow2",
    "0",
    "-o cluster_size=512",
    "64k",
    &["write 0 1k", "write -c 2k 512", "write -z 4k 512"],
)];
const VHDX: &[File] = &[image("vhdx", "0", "-o block_size=1M", "3M", &["write 0 512", "write 2M 8k"])];

const FLAT_DESCRIPTOR: &[u8] = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
    createType=\"monolithicFlat\"\nRW 8 FLAT \"1\" 1\nddb.adapterType=\"ide\"\n";

pub(super) const SEEDS: &[Seed] = &[
    Seed { name: "raw-everything", files: PATTERN, ..RAW },
    Seed { name: "probed-as-raw", files: PATTERN, ..ANY },
    Seed { name: "empty", files: &[pattern("0", 0)], ..ANY },
    Seed { name: "window", block_size: 1000, count: 3, skip: 1, files: PATTERN, ..RAW },
    Seed { name: "skip-past-end", skip: 99, files: PATTERN, ..RAW },
    Seed { name: "data-then-hole", files: HOLE, ..RAW },
    Seed { name: "window-in-hole", block_size: (1 << 31) - 1, skip: 3, files: HOLE, ..RAW },
    Seed { name: "longest-file", files: &[File { hole: u64::MAX, ..pattern("0", 0) }], ..RAW },
    Seed { name: "block-size-zero", block_size: 0, files: PATTERN, ..RAW },
    Seed { name: "unknown-format", input_format: "qcow9", files: PATTERN, ..RAW },
    Seed { name: "no-output-format", output_format: "", files: PATTERN, ..RAW },
    Seed { name: "dmg-by-name", files: &[pattern("0.dmg", 3000)], ..ANY },
    Seed { name: "to-qcow2", output_format: "qcow2", files: PATTERN, ..RAW },
    Seed { name: "to-vmdk", output_format: "vmdk", files: PATTERN, ..RAW },
    Seed { name: "empty-to-vmdk", output_format: "vmdk", files: &[pattern("0", 0)], ..ANY },
    Seed { name: "to-vpc", output_format: "vpc", files: PATTERN, ..RAW },
    Seed { name: "to-vhdx", output_format: "vhdx", files: PATTERN, ..RAW },
    Seed { name: "qcow2-head-alone", files: QCOW2_HEAD, ..ANY },
    Seed { name: "qcow2-taken-for-raw-when-told-so", files: QCOW2_HEAD, ..RAW },
    Seed { name: "qcow2-small-clusters", files: SMALL_CLUSTERS, ..ANY },
    Seed { name: "qcow2-compressed-to-vhdx", output_format: "vhdx", files: SMALL_CLUSTERS, ..ANY },
    Seed {
        name: "vmdk-descriptor-alone",
        files: &[bytes("0", b"# Disk DescriptorFile\nversion=1\n")],
        ..ANY
    },
    Seed { name: "vmdk-flat", files: &[bytes("0", FLAT_DESCRIPTOR), pattern("1", 5000)], ..ANY },
    Seed {
        name: "vmdk-compressed-to-qcow2",
        output_format: "qcow2",
        files: &[image("vmdk", "0", "-o subformat=streamOptimized", "256k", &["write 64k 64k"])],
        ..ANY
    },
    Seed {
        name: "vmdk-chain",
        files: &[
            image("vmdk", "0", "-F vmdk -b 1", "", &["write 64k 512"]),
            image("vmdk", "1", "", "256k", &["write 128k 512"]),
        ],
        ..ANY
    },
    Seed {
        name: "vpc-empty-to-vmdk",
        output_format: "vmdk",
        files: &[image("vpc", "0", "-o force_size=on", "1M", &[])],
        ..ANY
    },
    Seed { name: "vpc-chain", files: &[child(Format::Vhd), parent(Format::Vhd)], ..ANY },
    Seed { name: "vhdx-everything", files: VHDX, ..ANY },
    Seed { name: "vhdx-window-to-vpc", output_format: "vpc", skip: 4090, count: 4110, files: VHDX, ..ANY },
    Seed {
        name: "vhdx-log",
        files: &[File {
            name: "0",
            content: Content::Logged(
                Image::new("vhdx", "0", "-o block_size=1M", "3M", &["write 0 512"]),
                "write 2M 4k",
            ),
            hole: 0,
        }],
        ..ANY
    },
    Seed {
        name: "vhdx-chain-to-qcow2",
        output_format: "qcow2",
        files: &[child(Format::Vhdx), parent(Format::Vhdx)],
        ..ANY
    },
    Seed {
        name: "qcow2-chain",
        files: &[
            image("qcow2", "0", "-o cluster_size=4k -F qcow2 -b 1", "", &["write 0 1k"]),
            image(
                "qcow2",
                "1",
                "-o cluster_size=512 -F raw -b 2",
                "32k",
                &["write 8k 512", "write -z 12k 512"],
            ),
            pattern("2", 5000),
        ],
        ..ANY
    },
    Seed {
        name: "qcow2-chain-without-end",
        files: &[
            image("qcow2", "0", "-o cluster_size=512 -u -F qcow2 -b 1", "32k", &[]),
            image("qcow2", "1", "-o cluster_size=512 -u -F qcow2 -b 0", "32k", &[]),
        ],
        ..ANY
    },
    Seed {
        name: "qcow2-on-what-is-not-there",
        files: &[image("qcow2", "0", "-o cluster_size=512 -u -F raw -b 1", "32k", &[])],
        ..ANY
    },
    Seed {
        name: "qcow2-data-file-to-vmdk",
        output_format: "vmdk",
        files: &[
            image("qcow2", "0", "-o cluster_size=4k,data_file=1", "32k", &["write 4k 512"]),
            pattern("1", 9000),
        ],
        ..ANY
    },
];

/// An image that stands on [`parent`].
const fn child(format: Format) -> File {
    File { name: "0", content: Content::Child(format), hole: 0 }
}

const fn parent(format: Format) -> File {
    File { name: "1", content: Content::Parent(format), hole: 0 }
}

impl Seed {
    /// The case before the files.
    pub(super) fn request(&self) -> Vec<u8> {
        let formats = [padded::<16>(self.input_format), padded(self.output_format)].concat();
        let numbers = [self.block_size, self.count, self.skip].map(u64::to_le_bytes).concat();
        [formats, numbers].concat()
    }
}
