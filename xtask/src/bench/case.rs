//! What is measured, and what is hoped for.

/// One copy by each tool.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) input: Input,
    /// The format that instar and qemu-img write.
    pub(super) output_format: &'static str,
    /// The block size that instar is given; by default 512.
    pub(super) instar_bs: Option<&'static str>,
    /// The block size that qemu-img is given. It makes a request for each block.
    pub(super) qemu_bs: Option<&'static str>,
    /// How often each tool runs.
    pub(super) rounds: usize,
    /// The goal in memory, in either sandbox: the most of the other tool's time that instar may take.
    pub(super) goals: Goals,
}

/// What the disk has in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// So many bytes that do not compress.
    Random(u64),
    /// So many bytes, none of them stored.
    Hole(u64),
    /// So many bytes of words, in a qcow2 image whose clusters are all compressed.
    Compressed(u64),
}

impl Input {
    /// The format of the file.
    pub(super) const fn format(self) -> &'static str {
        match self {
            Self::Random(_) | Self::Hole(_) => "raw",
            Self::Compressed(_) => "qcow2",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Goals {
    pub(super) qemu: Option<f64>,
    pub(super) cp: Option<f64>,
}

impl Goals {
    const NONE: Self = Self { qemu: None, cp: None };
}

/// The most memory that instar may take in any case, in bytes.
pub(super) const PEAK_GOAL: u64 = 24 * MIB;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "1 MiB",
        output_format: "raw",
        input: Input::Random(MIB),
        instar_bs: None,
        qemu_bs: None,
        rounds: 25,
        goals: Goals { qemu: Some(0.6), cp: None },
    },
    Case {
        name: "64 MiB",
        output_format: "raw",
        input: Input::Random(64 * MIB),
        instar_bs: None,
        qemu_bs: None,
        rounds: 5,
        goals: Goals { qemu: Some(0.02), cp: None },
    },
    Case {
        name: "1 GiB bs=2M",
        output_format: "raw",
        input: Input::Random(GIB),
        instar_bs: Some("2M"),
        qemu_bs: Some("2M"),
        rounds: 5,
        goals: Goals { qemu: Some(0.7), cp: Some(1.1) },
    },
    Case {
        name: "1 GiB, qemu-img bs=2M",
        output_format: "raw",
        input: Input::Random(GIB),
        instar_bs: None,
        qemu_bs: Some("2M"),
        rounds: 5,
        goals: Goals::NONE,
    },
    Case {
        name: "1 GiB hole bs=2M",
        output_format: "raw",
        input: Input::Hole(GIB),
        instar_bs: Some("2M"),
        qemu_bs: Some("2M"),
        rounds: 5,
        goals: Goals::NONE,
    },
];

/// A raw disk of 1 GiB into each format, and back from compressed clusters.
pub(super) const FORMATS: &[Case] = &[
    format("raw to qcow2", Input::Random(GIB), "qcow2", 0.7),
    format("raw to vmdk", Input::Random(GIB), "vmdk", 0.25),
    format("raw to vpc", Input::Random(GIB), "vpc", 0.6),
    format("raw to vhdx", Input::Random(GIB), "vhdx", 0.6),
    format("compressed qcow2 to raw", Input::Compressed(GIB), "raw", 1.0),
];

const fn format(name: &'static str, input: Input, output_format: &'static str, goal: f64) -> Case {
    let goals = Goals { qemu: Some(goal), cp: None };
    Case { name, input, output_format, instar_bs: Some("2M"), qemu_bs: Some("2M"), rounds: 5, goals }
}
