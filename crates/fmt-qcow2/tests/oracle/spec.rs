//! Options as qemu-img takes them, so that both are given the same; and images written with them.

use fmt_core::{Codec, DiskPlan, Error, Extent, PackingPlan, Source, Zeros};
use fmt_qcow2::{Options, Preallocation, Qcow2Plan, Version};

use crate::common::Lab;
use crate::common::sink::{OUTPUT, OUTPUT_DATA, Sink};
use crate::write::INPUT;

/// The options `text`, `KEY=VALUE,…`, with zeros left out.
pub(crate) fn options(text: &str) -> Options<'_> {
    let find = |key: &str| text.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let mut options = Options::default().zeros(Zeros::Absent);
    for (key, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let on = value == "on";
        options = match key {
            "compat" if value == "0.10" => options.version(Version::V2),
            "compat" => options.version(Version::V3),
            "cluster_size" => options.cluster_size(size(value)),
            "extended_l2" => options.extended_l2(on),
            "refcount_bits" => options.refcount_bits(value.parse().unwrap()),
            "lazy_refcounts" => options.lazy_refcounts(on),
            "compression_type" => options.codec(if value == "zstd" { Codec::Zstd } else { Codec::Deflate }),
            "preallocation" => options.preallocation(match value {
                "off" => Preallocation::Off,
                "full" => Preallocation::Full,
                _ => Preallocation::Metadata,
            }),
            "backing_file" => options.backing_file(value.as_bytes(), find("backing_fmt").map(str::as_bytes)),
            "data_file" => {
                options.data_file(OUTPUT_DATA, value.as_bytes(), find("data_file_raw") == Some("on"))
            }
            "backing_fmt" | "data_file_raw" => options,
            _ => panic!("{key}"),
        };
    }
    options
}

fn size(text: &str) -> u64 {
    let (digits, unit) = match text.strip_suffix(['k', 'M']) {
        Some(digits) if text.ends_with('k') => (digits, 1 << 10),
        Some(digits) => (digits, 1 << 20),
        None => (text, 1),
    };
    digits.parse::<u64>().unwrap() * unit
}

/// A sink for `image`, whose external data file is `data`.
pub(crate) fn sink<'i>(lab: &Lab, input: &'i [u8], device: bool) -> Sink<'i> {
    Sink::create(&lab.path("image"), input, device).with_data(&lab.path("data"))
}

/// Writes `image`, and returns the length of the file.
pub(crate) fn write(
    lab: &Lab,
    size: u64,
    options: &Options<'_>,
    input: &[u8],
    extents: &[Extent],
) -> Result<u64, Error> {
    let sink = sink(lab, input, false);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, size, options)?;
    for &extent in extents {
        plan.extent(extent)?;
    }
    plan.finish()?;
    Ok(sink.close())
}

/// Writes `disk` to `image` as `convert -c` does, and returns the length of the file. Clusters whose numbers are `absent`
/// are left to the backing file.
#[track_caller]
pub(crate) fn write_packed(
    lab: &Lab,
    disk: &[u8],
    options: &Options<'_>,
    device: bool,
    absent: &dyn Fn(u64) -> bool,
) -> u64 {
    let sink = sink(lab, disk, device);
    let mut plan = Qcow2Plan::begin(&sink, OUTPUT, disk.len() as u64, options).unwrap();
    let (unit_len, codec) = (plan.unit_len() as usize, plan.codec());
    for (index, cluster) in (0..).zip(disk.chunks(unit_len)) {
        let (start, len) = (index * unit_len as u64, cluster.len() as u64);
        let mut source = Source::Data { file: INPUT, offset: start };
        if absent(index) {
            source = Source::Unallocated;
        } else if cluster.iter().all(|&byte| byte == 0) {
            source = Source::Zero;
        } else if let Some(bytes) = compress(cluster, unit_len, codec) {
            plan.packed(start, sink.stage(&bytes), u32::try_from(bytes.len()).unwrap()).unwrap();
            continue;
        }
        plan.extent(Extent { start, len, source }).unwrap();
    }
    plan.finish().unwrap();
    sink.close()
}

/// The cluster, compressed, if that makes it smaller.
fn compress(cluster: &[u8], unit_len: usize, codec: Codec) -> Option<Vec<u8>> {
    let mut whole = cluster.to_vec();
    whole.resize(unit_len, 0);
    let bytes = match codec {
        Codec::Zstd => zstd::bulk::compress(&whole, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap(),
        _ => miniz_oxide::deflate::compress_to_vec(&whole, 6),
    };
    (bytes.len() < unit_len).then_some(bytes)
}
