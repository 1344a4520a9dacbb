//! Random arguments of `convert`.

use fastrand::Rng;

use super::command::{Argument, Input};
use super::generate::{SMALL, choose, one_in};

pub(super) const FILES: &[&str] = &["in.img", "out.img"];

/// Formats, and options that each is given at times.
const OUTPUTS: &[(&str, &[&str])] = &[
    ("raw", &["preallocation=falloc"]),
    (
        "qcow2",
        &[
            "compat=0.10",
            "cluster_size=512",
            "cluster_size=4k",
            "cluster_size=2M",
            "extended_l2=on",
            "lazy_refcounts=on",
            "refcount_bits=1",
            "refcount_bits=64",
            "compression_type=zstd",
            "preallocation=metadata",
        ],
    ),
    ("vmdk", &["adapter_type=lsilogic", "compat6=on", "zeroed_grain=on", "subformat=streamOptimized"]),
    ("vpc", &["force_size=on"]),
    ("vhdx", &["block_size=1M", "block_size=32M", "log_size=2M", "subformat=fixed"]),
];

/// How many zeros are left out.
const SPARSE_SIZES: &[&str] = &["512", "4k", "64k", "1M", "16M"];

pub(super) fn arguments(random: &mut Rng, input: &Input) -> Vec<Argument> {
    if input.size > SMALL {
        // All of such a disk would take hours to look at: both only have to refuse to touch it.
        return vec![vec!["-m".into(), "17".into()]];
    }
    let mut arguments = Vec::new();
    if random.bool() {
        arguments.push(vec!["-f".into(), input.format.to_string()]);
    }
    let (format, options) = choose(random, OUTPUTS);
    arguments.push(vec!["-O".into(), format.into()]);
    if random.bool() {
        arguments.push(vec!["-o".into(), choose(random, options).into()]);
    }
    if format == "qcow2" && one_in(random, 4) {
        arguments.push(vec!["-c".into()]);
    } else if one_in(random, 3) {
        arguments.push(vec!["-S".into(), choose(random, SPARSE_SIZES).into()]);
    } else if one_in(random, 6) {
        arguments.push(vec!["-S".into(), "0".into()]);
    }
    if one_in(random, 6) {
        arguments.push(vec!["-m".into(), random.u32(1..=16).to_string()]);
    }
    if one_in(random, 6) {
        arguments.push(vec!["-W".into()]);
    }
    arguments
}
