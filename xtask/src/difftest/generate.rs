//! Random images, of every kind that `qemu-img` makes.

use fastrand::Rng;

use super::image::{Format, Image, Layer, Op, Origin, PIECES_LEN, PIECES_NAMES, Piece};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const SECTOR: u64 = 512;

/// A disk up to this size may be full of data, and may be copied as a whole.
pub(super) const SMALL: u64 = 16 * MIB;

/// The most that is written at once. A cut that begins anywhere in the first half of a file of pieces has as much.
const LONGEST_WRITE: u64 = PIECES_LEN / 2;

const MOST_LAYERS: usize = 4;
const MOST_OPS: usize = 7;

/// An image that has whatever `random` says.
pub(super) fn image(random: &mut Rng) -> Image {
    let mut layers = Vec::new();
    let mut format = any_format(random);
    loop {
        let is_overlay = layers.len() + 1 < MOST_LAYERS && can_have_backing(format) && random.u32(..100) < 35;
        layers.push(layer(random, format, is_overlay));
        if !is_overlay {
            break;
        }
        // A VMDK takes no other parent.
        format = if format == Format::Vmdk { Format::Vmdk } else { any_format(random) };
    }
    fit_sizes(random, &mut layers);
    name_data_files(&mut layers);
    Image { layers }
}

fn any_format(random: &mut Rng) -> Format {
    match random.u32(..100) {
        0..18 => Format::Raw,
        18..54 => Format::Qcow2,
        54..71 => Format::Vmdk,
        71..83 => Format::Vpc,
        83..98 => Format::Vhdx,
        _ => Format::Foreign(choose(random, &["qcow", "qed", "vdi", "parallels"])),
    }
}

fn can_have_backing(format: Format) -> bool {
    matches!(format, Format::Qcow2 | Format::Vmdk)
}

/// Gives each image of a chain a data file of its own.
fn name_data_files(layers: &mut [Layer]) {
    for (depth, layer) in layers.iter_mut().enumerate() {
        for option in layer.options.iter_mut().filter(|option| *option == DATA_FILE) {
            *option = format!("data_file=in{depth}.data");
        }
    }
}

/// Many backing images have the size of what stands on them; chance makes the others shorter or longer.
fn fit_sizes(random: &mut Rng, layers: &mut [Layer]) {
    for depth in 1..layers.len() {
        let wanted = layers[depth - 1].size;
        let below = &mut layers[depth];
        if random.bool() && wanted > 0 && wanted <= largest(below) {
            below.resize(wanted);
        }
    }
}

impl Layer {
    /// Gives the disk another size, and leaves out what would lie outside.
    pub(super) fn resize(&mut self, size: u64) {
        self.size = size;
        self.ops.retain(|op| op.end() <= size);
        if let Origin::Converted { ops, .. } = &mut self.origin {
            ops.retain(|op| op.end() <= size);
        }
    }
}

fn layer(random: &mut Rng, format: Format, is_overlay: bool) -> Layer {
    let options = options(random, format, is_overlay);
    let mut layer = Layer { format, options, size: 0, origin: Origin::Created, ops: Vec::new() };
    layer.size = size(random, format, largest(&layer));
    let is_compressed = layer.option("subformat") == Some("streamOptimized");
    if is_compressed || !is_overlay && format != Format::Raw && layer.size <= SMALL && one_in(random, 5) {
        let compressed = can_compress(&layer) && random.bool();
        layer.origin = Origin::Converted { ops: ops(random, layer.size, &|_, _| None), compressed };
    }
    // Nothing can be written to a stream-optimised disk twice, and much of what was converted stays as it is.
    if !is_compressed && (layer.origin == Origin::Created || random.bool()) {
        layer.ops = ops_of(random, &layer);
    }
    layer
}

fn options(random: &mut Rng, format: Format, is_overlay: bool) -> Vec<String> {
    match format {
        Format::Raw | Format::Foreign(_) => Vec::new(),
        Format::Qcow2 => qcow2_options(random, is_overlay),
        Format::Vmdk => vmdk_options(random, is_overlay),
        Format::Vpc => {
            some(random, &[("subformat", 2, &["dynamic", "fixed", "fixed"]), ("force_size", 2, &["on"])])
        }
        Format::Vhdx => some(
            random,
            &[
                ("subformat", 3, &["dynamic", "fixed"]),
                ("block_size", 2, &["1M", "2M", "4M", "8M", "16M", "32M", "64M", "128M", "256M"]),
                ("log_size", 4, &["1M", "2M", "8M", "16M"]),
                ("block_state_zero", 3, &["off"]),
            ],
        ),
    }
}

/// The option, before it is known which image of a chain has it.
const DATA_FILE: &str = "data_file=";

fn qcow2_options(random: &mut Rng, is_overlay: bool) -> Vec<String> {
    if one_in(random, 6) {
        let mut options = some(random, &[("cluster_size", 2, CLUSTER_SIZES)]);
        options.push("compat=0.10".into());
        return options;
    }
    let mut options = some(
        random,
        &[
            ("refcount_bits", 3, &["1", "2", "4", "8", "16", "32", "64"]),
            ("lazy_refcounts", 5, &["on"]),
            ("compression_type", 3, &["zstd"]),
        ],
    );
    if one_in(random, 4) {
        options.push("extended_l2=on".into());
        options.extend(some(random, &[("cluster_size", 2, &["16k", "32k", "64k", "128k", "1M", "2M"])]));
    } else {
        options.extend(some(random, &[("cluster_size", 2, CLUSTER_SIZES)]));
    }
    if !is_overlay && one_in(random, 8) {
        options.push(choose(random, &["preallocation=metadata", "preallocation=full"]).into());
    }
    if one_in(random, 8) {
        options.push(DATA_FILE.into());
        if !is_overlay && random.bool() {
            options.push("data_file_raw=on".into());
        }
    }
    options
}

const CLUSTER_SIZES: &[&str] =
    &["512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M"];

fn vmdk_options(random: &mut Rng, is_overlay: bool) -> Vec<String> {
    let sparse = &["monolithicSparse", "twoGbMaxExtentSparse"][..];
    let all = &[
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
        "streamOptimized",
    ];
    let mut options = some(random, &[("subformat", 1, if is_overlay { sparse } else { all })]);
    if !options[0].ends_with("Flat") {
        options.extend(some(random, &[("zeroed_grain", 3, &["on"]), ("compat6", 6, &["on"])]));
    }
    options
}

/// Of options with their values, each one with a chance of one in so many.
fn some(random: &mut Rng, options: &[(&str, u32, &[&'static str])]) -> Vec<String> {
    let mut chosen = Vec::new();
    for (name, chance, values) in options {
        if one_in(random, *chance) {
            chosen.push(format!("{name}={}", choose(random, values)));
        }
    }
    chosen
}

/// The largest disk that is tried with these options: what QEMU can make, in a short time, without filling the medium.
fn largest(layer: &Layer) -> u64 {
    let has_small_clusters = layer
        .option("cluster_size")
        .is_some_and(|size| matches!(size, "512" | "1k" | "2k" | "4k" | "8k" | "16k" | "32k"));
    match layer.format {
        Format::Foreign(_) => SMALL,
        Format::Qcow2 if layer.option("preallocation").is_some() => SMALL,
        Format::Raw => 10 * TIB,
        // A snapshot of more takes QEMU an hour.
        Format::Qcow2 if has_small_clusters => 10 * GIB,
        Format::Qcow2 => 10 * TIB,
        Format::Vmdk if layer.option("subformat") == Some("streamOptimized") => SMALL,
        Format::Vmdk => 20 * GIB,
        Format::Vpc | Format::Vhdx if layer.option("subformat") == Some("fixed") => 20 * GIB,
        Format::Vpc => 2040 * GIB,
        Format::Vhdx => 10 * TIB,
    }
}

fn size(random: &mut Rng, format: Format, largest: u64) -> u64 {
    let size = match random.u32(..100) {
        0 if matches!(format, Format::Raw | Format::Qcow2) => return 0,
        0..8 => random.u64(1..=8 * KIB),
        8..35 => random.u64(8 * KIB..512 * KIB),
        35..82 => random.u64(512 * KIB..SMALL),
        _ => logarithmic(random, SMALL, 10 * TIB),
    };
    let size = size.min(largest);
    match random.u32(..4) {
        // To the byte, where the format can.
        0 if format == Format::Raw => size,
        0 => size.next_multiple_of(64 * KIB),
        _ => size.next_multiple_of(SECTOR),
    }
}

fn can_compress(layer: &Layer) -> bool {
    let is_set = |name| layer.option(name).is_some();
    layer.format == Format::Qcow2 && !is_set("data_file") && !is_set("preallocation")
}

/// What can be done to the disk of `layer`.
fn ops_of(random: &mut Rng, layer: &Layer) -> Vec<Op> {
    let cluster = layer.option("cluster_size").map_or(64 * KIB, bytes);
    // A snapshot counts every cluster once more, and one that compressed data shares has a high count already.
    let has_snapshots = layer.format == Format::Qcow2
        && layer.option("data_file").is_none()
        && !matches!(layer.option("refcount_bits"), Some("1" | "2" | "4"));
    let compresses = can_compress(layer) && layer.origin == Origin::Created;
    let special = |random: &mut Rng, before: &[Op]| match random.u32(..10) {
        0..2 if compresses => compressed_write(random, layer.size, cluster, before),
        2 if has_snapshots => Some(Op::Snapshot),
        _ => None,
    };
    ops(random, layer.size, &special)
}

/// A compressed write covers whole clusters, in which there is nothing yet.
fn compressed_write(random: &mut Rng, size: u64, cluster: u64, before: &[Op]) -> Option<Op> {
    let clusters = random.u64(1..=(LONGEST_WRITE / cluster).clamp(1, 4));
    let len = clusters * cluster;
    let places = (size / cluster).checked_sub(clusters)?;
    let at = random.u64(..=places) * cluster;
    let is_free = before.iter().all(|op| op.end() <= at || op.start() / cluster * cluster >= at + len);
    (len <= LONGEST_WRITE && is_free).then(|| Op::Write { at, len, piece: piece(random), compressed: true })
}

fn ops(random: &mut Rng, size: u64, special: &dyn Fn(&mut Rng, &[Op]) -> Option<Op>) -> Vec<Op> {
    let number = random.usize(..=MOST_OPS);
    let mut ops: Vec<Op> = Vec::new();
    if size == 0 {
        return ops;
    }
    for _ in 0..number {
        let op = special(random, &ops).unwrap_or_else(|| {
            let last = ops.last().map_or(0, Op::end);
            plain_op(random, size, last)
        });
        ops.push(op);
    }
    ops
}

fn plain_op(random: &mut Rng, size: u64, last: u64) -> Op {
    let longest = LONGEST_WRITE.min(size);
    let len = logarithmic(random, 1, longest + 1);
    let at = match random.u32(..6) {
        0 => 0,
        1 => size - len,
        // Where the one before ended, or a little further.
        2 => (last + random.u64(..=4096)).min(size - len),
        _ => random.u64(..=size - len),
    };
    // A small part of what is written is not about sectors.
    let (at, len) = if one_in(random, 4) { (at, len) } else { to_sectors(at, len, size) };
    match random.u32(..10) {
        0 => Op::Zero { at, len, unmap: true },
        1 => Op::Zero { at, len, unmap: false },
        2 => Op::Discard { at, len },
        _ => Op::Write { at, len, piece: piece(random), compressed: false },
    }
}

fn to_sectors(at: u64, len: u64, size: u64) -> (u64, u64) {
    let at = at / SECTOR * SECTOR;
    (at, len.next_multiple_of(SECTOR).min(size - at))
}

fn piece(random: &mut Rng) -> Piece {
    match random.u32(..4) {
        0 => Piece::Constant(random.u8(1..)),
        1 => Piece::Cut(PIECES_NAMES[1], random.u64(..PIECES_LEN / 2)),
        _ => Piece::Cut(PIECES_NAMES[0], random.u64(..PIECES_LEN / 2)),
    }
}

/// A number from `from` to `to`, as likely to have few digits as many.
pub(super) fn logarithmic(random: &mut Rng, from: u64, to: u64) -> u64 {
    let (low, high) = (from.ilog2(), to.ilog2());
    let power = 1 << random.u32(low..=high);
    random.u64(power..power * 2).clamp(from, to - 1)
}

pub(super) fn one_in(random: &mut Rng, number: u32) -> bool {
    random.u32(..number) == 0
}

pub(super) fn choose<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

/// `64k`, as `qemu-img` reads it.
fn bytes(size: &str) -> u64 {
    let digits = size.trim_end_matches(['k', 'M']);
    let unit = if size.ends_with('M') {
        MIB
    } else if size.ends_with('k') {
        KIB
    } else {
        1
    };
    digits.parse::<u64>().expect("the sizes that are chosen from are numbers") * unit
}
