//! Compressed images that are large enough for several decoders.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use testkit::tool::require_tool;

/// Several batches for each decoder, and an end that fills no cluster.
const LEN: usize = (24 << 20) + 1000;

const MIB: usize = 1 << 20;

/// Lines that differ, and compress; among them a hole, and what does not compress.
fn content() -> Vec<u8> {
    let lines = (0u64..)
        .flat_map(|n| format!("line {n}, {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes());
    let mut bytes: Vec<u8> = lines.take(LEN).collect();
    bytes[7 * MIB..9 * MIB + 4096].fill(0);
    let mut noise = 1u64;
    for (at, byte) in bytes[13 * MIB..16 * MIB].iter_mut().enumerate() {
        // A few pieces of 256 KiB, not all of them.
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if at / (256 << 10) % 2 == 0 {
            *byte = noise.to_le_bytes()[7];
        }
    }
    bytes
}

/// A directory with "disk", and "image" that holds it in compressed clusters.
fn scene(format: &str, options: &str) -> io::Result<TempDir> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("disk"), content())?;
    let args = ["convert", "-c", "-f", "raw", "-O", format, "-o", options, "disk", "image"];
    let made = run(dir.path(), "qemu-img", &args);
    assert!(made.status.success(), "{made:?}");
    Ok(dir)
}

fn run(dir: &Path, program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    Command::new(program).args(args).current_dir(dir).output().expect("the program can be started")
}

fn copy(dir: &Path, sandbox: &str, output_format: &str, output: &str) -> Output {
    let of = format!("of={output}");
    let args = ["--sandbox", sandbox, "dd", "-O", output_format, "bs=64k", "if=image", &of];
    run(dir, env!("CARGO_BIN_EXE_instar"), &args)
}

/// The same on one processor.
fn copy_alone(dir: &Path, output: &str) -> Output {
    let (instar, of) = (env!("CARGO_BIN_EXE_instar"), format!("of={output}"));
    run(dir, "taskset", &["--cpu-list", &first_processor(), instar, "dd", "-O", "raw", "if=image", &of])
}

/// One that this process may run on.
fn first_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells about processes");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    first.expect("there is a processor").to_owned()
}

fn has_tools() -> bool {
    ["qemu-img", "taskset"].iter().all(|name| require_tool(name).is_some())
}

/// Those that run here.
fn sandboxes() -> Vec<&'static str> {
    if Path::new("/dev/kvm").exists() {
        return vec!["kvm", "process"];
    }
    assert!(std::env::var_os("CI").is_none(), "/dev/kvm is required in CI");
    eprintln!("SKIPPED: there is no /dev/kvm, so no image was decompressed in a virtual machine");
    vec!["process"]
}

#[test]
fn every_sandbox_writes_what_qemu_img_does() -> io::Result<()> {
    if !has_tools() {
        return Ok(());
    }
    for (format, options) in [
        ("qcow2", "compression_type=zlib"),
        ("qcow2", "compression_type=zstd"),
        ("qcow2", "compression_type=zlib,cluster_size=4k"),
        ("qcow2", "compression_type=zstd,cluster_size=512"),
        ("qcow2", "compression_type=zlib,cluster_size=2M"),
        ("qcow2", "compression_type=zstd,cluster_size=2M"),
        ("vmdk", "subformat=streamOptimized"),
    ] {
        let dir = scene(format, options)?;
        let dir = dir.path();
        let theirs =
            run(dir, "qemu-img", &["dd", "-f", format, "-O", "raw", "bs=65536", "if=image", "of=theirs"]);
        assert!(theirs.status.success(), "{options}: {theirs:?}");
        let theirs = fs::read(dir.join("theirs"))?;
        for sandbox in sandboxes() {
            let outcome = copy(dir, sandbox, "raw", "ours");
            assert!(outcome.status.success(), "{options}, {sandbox}: {outcome:?}");
            assert!(fs::read(dir.join("ours"))? == theirs, "{options}, {sandbox}");
        }
        let outcome = copy_alone(dir, "alone");
        assert!(outcome.status.success(), "{options}: {outcome:?}");
        assert!(fs::read(dir.join("alone"))? == theirs, "{options}");
    }
    Ok(())
}

/// The output's blocks are smaller than the units, as large, and larger.
#[test]
fn every_format_can_be_written_from_what_is_compressed() -> io::Result<()> {
    if !has_tools() {
        return Ok(());
    }
    for options in ["cluster_size=4k", "cluster_size=64k", "cluster_size=2M"] {
        let dir = scene("qcow2", options)?;
        let dir = dir.path();
        for format in ["qcow2", "vmdk", "vpc", "vhdx"] {
            let outcome = copy(dir, "auto", format, "output");
            assert!(outcome.status.success(), "{options}, {format}: {outcome:?}");
            let compared = run(dir, "qemu-img", &["compare", "-f", format, "-F", "raw", "output", "disk"]);
            assert!(compared.status.success(), "{options}, {format}: {compared:?}");
        }
    }
    Ok(())
}

#[test]
fn what_is_broken_is_told_whoever_finds_it() -> io::Result<()> {
    if !has_tools() {
        return Ok(());
    }
    // A deflate block of the reserved type, another magic number than Zstandard's, and a block of the reserved type.
    for (compression, broken) in [("zlib", &[0xff][..]), ("zstd", &[0xff]), ("zstd", &frame(&[0x07, 0, 0]))] {
        let dir = scene("qcow2", &format!("compression_type={compression}"))?;
        let dir = dir.path();
        let at = overwrite_cluster(&dir.join("image"), 180, broken)?;
        for sandbox in sandboxes() {
            let outcome = copy(dir, sandbox, "raw", "output");
            assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
            let said = String::from_utf8_lossy(&outcome.stderr);
            let expected = format!(
                "'image' is corrupt at byte {at}: a compressed cluster cannot be decompressed\n  'output' is incomplete\n"
            );
            assert!(said.contains(&expected), "{said}");
        }
    }
    Ok(())
}

/// What frames claim is bounded, and a decoder has the memory for the largest windows, one after the other.
#[test]
fn the_largest_windows_are_no_matter_for_a_decoder() -> io::Result<()> {
    if !has_tools() {
        return Ok(());
    }
    let dir = scene("qcow2", "compression_type=zstd")?;
    let dir = dir.path();
    // Half a cluster in an RLE block, and again.
    let halves = [0x02, 0x00, 0x04, b'-', 0x03, 0x00, 0x04, b'-'];
    for cluster in (0..100).step_by(2) {
        overwrite_cluster(&dir.join("image"), cluster, &frame(&halves))?;
        overwrite_cluster(&dir.join("image"), cluster + 1, &frame_with_size(&halves))?;
    }
    let mut expected = content();
    expected[..100 * (64 << 10)].fill(b'-');
    for sandbox in sandboxes() {
        let outcome = copy(dir, sandbox, "raw", "output");
        assert!(outcome.status.success(), "{sandbox}: {outcome:?}");
        let output = fs::read(dir.join("output"))?;
        assert!(output[..LEN] == expected, "{sandbox}");
    }
    Ok(())
}

/// A frame of these blocks with a window of 4 MiB, the largest that is taken (RFC 8878, 3.1.1).
fn frame(blocks: &[u8]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x60], blocks].concat()
}

/// The same with the size of a cluster of 64 KiB, less the 256 that two bytes say implicitly.
fn frame_with_size(blocks: &[u8]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x40, 0x60, 0x00, 0xff], blocks].concat()
}

/// Makes the compressed cluster `number` of `image` begin with these bytes. Returns where it is.
fn overwrite_cluster(image: &Path, number: u64, bytes: &[u8]) -> io::Result<u64> {
    let file = File::options().read(true).write(true).open(image)?;
    let read = |at| -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_be_bytes(bytes))
    };
    // The header's l1_table_offset, the first L1 entry, and the L2 entry; clusters of 64 KiB have 54 bits for the offset.
    let l2_table = read(read(40)?)? & 0x00ff_ffff_ffff_fe00;
    let entry = read(l2_table + 8 * number)?;
    assert_eq!(entry >> 62, 1, "cluster {number} is compressed");
    let at = entry & ((1 << 54) - 1);
    file.write_all_at(bytes, at)?;
    Ok(at)
}
