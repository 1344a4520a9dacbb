//! What is measured, and what is hoped for.

/// Some cases that have the same rivals.
#[derive(Debug)]
pub(super) struct Suite {
    /// What instar is compared with, for the table's head.
    pub(super) rivals: [&'static str; 2],
    pub(super) cases: &'static [Case],
    /// What is to be known about the cases, for the table's foot.
    pub(super) notes: &'static str,
}

/// One copy by each tool.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) input: Input,
    /// The format that instar and qemu-img write.
    pub(super) output_format: &'static str,
    pub(super) task: Task,
    /// How often each tool runs.
    pub(super) rounds: usize,
    /// The goals in memory, in either sandbox: the most of each rival's time that instar may take.
    pub(super) goals: [Option<f64>; 2],
    /// The most memory that instar may take, in bytes.
    pub(super) peak_goal: u64,
}

/// What instar and qemu-img are told to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Dd {
        /// The block size that instar is given; by default 512.
        instar_bs: Option<&'static str>,
        /// The block size that qemu-img is given. It makes a request for each block.
        qemu_bs: Option<&'static str>,
    },
    /// With options for both.
    Convert(&'static [&'static str]),
}

/// What the disk has in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// So many bytes that do not compress.
    Random(u64),
    /// So many bytes, none of them stored.
    Hole(u64),
    /// So many bytes of words, which compress to about a half.
    Words(u64),
    /// So many bytes, of which the first MiB of each GiB is stored, and does not compress.
    Sparse(u64),
    /// So many bytes that do not compress, in a qcow2 image.
    Image(u64),
    /// So many bytes of words, in a qcow2 image whose clusters are all compressed in this way.
    Compressed(u64, &'static str),
}

impl Input {
    /// The format of the file.
    pub(super) const fn format(self) -> &'static str {
        match self {
            Self::Random(_) | Self::Hole(_) | Self::Words(_) | Self::Sparse(_) => "raw",
            Self::Image(_) | Self::Compressed(..) => "qcow2",
        }
    }
}

const NO_GOALS: [Option<f64>; 2] = [None, None];

const PEAK_GOAL: u64 = 24 * MIB;

/// The same where instar compresses.
const PACKING_PEAK_GOAL: u64 = 32 * MIB;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

pub(super) const DD: Suite = Suite { rivals: ["qemu-img", "cp"], cases: DD_CASES, notes: DD_NOTES };

/// A raw disk of 1 GiB into each format, and back from compressed clusters.
pub(super) const DD_FORMATS: Suite =
    Suite { rivals: ["qemu-img", "cp"], cases: DD_FORMAT_CASES, notes: DD_NOTES };

pub(super) const CONVERT: Suite =
    Suite { rivals: ["qemu-img", "-m 16 -W"], cases: CONVERT_CASES, notes: CONVERT_NOTES };

const DD_NOTES: &str = "\
Tools run with their default block size, 512 bytes, where none is given; cp has none.
instar and qemu-img end when the output is on the medium (fdatasync), cp does not wait for that.";

const CONVERT_NOTES: &str = "\
qemu-img runs with its defaults, and with 16 coroutines that write in any order: a goal is for the faster of the two.
No tool waits until the output is on the medium.";

const DD_CASES: &[Case] = &[
    Case {
        name: "1 MiB",
        output_format: "raw",
        input: Input::Random(MIB),
        task: Task::Dd { instar_bs: None, qemu_bs: None },
        rounds: 25,
        goals: [Some(0.6), None],
        peak_goal: PEAK_GOAL,
    },
    Case {
        name: "64 MiB",
        output_format: "raw",
        input: Input::Random(64 * MIB),
        task: Task::Dd { instar_bs: None, qemu_bs: None },
        rounds: 5,
        goals: [Some(0.02), None],
        peak_goal: PEAK_GOAL,
    },
    Case {
        name: "1 GiB bs=2M",
        output_format: "raw",
        input: Input::Random(GIB),
        task: Task::Dd { instar_bs: Some("2M"), qemu_bs: Some("2M") },
        rounds: 5,
        goals: [Some(0.7), Some(1.1)],
        peak_goal: PEAK_GOAL,
    },
    Case {
        name: "1 GiB, qemu-img bs=2M",
        output_format: "raw",
        input: Input::Random(GIB),
        task: Task::Dd { instar_bs: None, qemu_bs: Some("2M") },
        rounds: 5,
        goals: NO_GOALS,
        peak_goal: PEAK_GOAL,
    },
    Case {
        name: "1 GiB hole bs=2M",
        output_format: "raw",
        input: Input::Hole(GIB),
        task: Task::Dd { instar_bs: Some("2M"), qemu_bs: Some("2M") },
        rounds: 5,
        goals: NO_GOALS,
        peak_goal: PEAK_GOAL,
    },
];

const DD_FORMAT_CASES: &[Case] = &[
    dd("raw to qcow2", Input::Random(GIB), "qcow2", 0.7),
    dd("raw to vmdk", Input::Random(GIB), "vmdk", 0.25),
    dd("raw to vpc", Input::Random(GIB), "vpc", 0.6),
    dd("raw to vhdx", Input::Random(GIB), "vhdx", 0.6),
    dd("compressed qcow2 to raw", Input::Compressed(GIB, "zlib"), "raw", 1.0),
];

const fn dd(name: &'static str, input: Input, output_format: &'static str, goal: f64) -> Case {
    let task = Task::Dd { instar_bs: Some("2M"), qemu_bs: Some("2M") };
    Case { name, input, output_format, task, rounds: 5, goals: [Some(goal), None], peak_goal: PEAK_GOAL }
}

const CONVERT_CASES: &[Case] = &[
    convert("raw to raw", Input::Random(GIB), "raw", 0.8),
    convert("raw to qcow2", Input::Random(GIB), "qcow2", 0.8),
    convert("qcow2 to raw", Input::Image(GIB), "raw", 0.8),
    convert("raw to vmdk", Input::Random(GIB), "vmdk", 0.5),
    convert("raw to vhdx", Input::Random(GIB), "vhdx", 0.6),
    convert("raw to vpc", Input::Random(GIB), "vpc", 0.6),
    pack("raw to qcow2 -c, zlib", &["-c", "-o", "compression_type=zlib"], 0.9),
    pack("raw to qcow2 -c, zstd", &["-c", "-o", "compression_type=zstd"], 1.0),
    convert("zlib qcow2 to raw", Input::Compressed(GIB, "zlib"), "raw", 0.7),
    convert("zstd qcow2 to raw", Input::Compressed(GIB, "zstd"), "raw", 0.7),
    convert("sparse raw to qcow2", Input::Sparse(TIB), "qcow2", 0.8),
];

const fn convert(name: &'static str, input: Input, output_format: &'static str, goal: f64) -> Case {
    let (task, goals) = (Task::Convert(&[]), [Some(goal), Some(goal)]);
    Case { name, input, output_format, task, rounds: 5, goals, peak_goal: PEAK_GOAL }
}

const fn pack(name: &'static str, options: &'static [&'static str], goal: f64) -> Case {
    let case = convert(name, Input::Words(GIB), "qcow2", goal);
    Case { task: Task::Convert(options), peak_goal: PACKING_PEAK_GOAL, ..case }
}
