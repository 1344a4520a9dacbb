//! What the user of `convert` reads: help, and every message, word for word.

use testkit::messages;

fn page(lines: &[&[&str]]) -> String {
    messages::page(env!("CARGO_BIN_EXE_instar"), lines)
}

#[test]
fn help() {
    insta::assert_snapshot!(page(&[&["convert", "--help"]]));
}

#[test]
fn help_about_formats() {
    insta::assert_snapshot!(page(&[
        &["convert", "-O", "raw", "-o", "help"],
        &["convert", "-O", "qcow2", "-o", "compat=v3,help", "disk.raw", "out"],
        &["convert", "-O", "vmdk", "-o", "?"],
        &["convert", "-O", "vpc", "-o", "help"],
        &["convert", "-O", "vhdx", "-o", "help"],
        &["convert", "-O", "vdi", "-o", "help"],
        &["convert", "-O", "nosuch", "-o", "help"],
    ]));
}

#[test]
fn usage() {
    insta::assert_snapshot!(page(&[
        &["convert"],
        &["convert", "disk.raw"],
        &["convert", "--nosuch", "disk.raw", "out"],
        &["convert", "-m", "0", "disk.raw", "out"],
        &["convert", "-m", "17", "disk.raw", "out"],
        &["convert", "-m", "1k", "disk.raw", "out"],
        &["convert", "-r", "x", "disk.raw", "out"],
        &["convert", "-r", "-5", "disk.raw", "out"],
        &["convert", "-S", "513", "disk.raw", "out"],
        &["convert", "-S", "32M", "disk.raw", "out"],
        &["convert", "-S", "x", "disk.raw", "out"],
        &["convert", "-t", "nosuch", "disk.raw", "out"],
        &["convert", "-T", "nosuch", "disk.raw", "out"],
    ]));
}

#[test]
fn what_does_not_go_together() {
    insta::assert_snapshot!(page(&[
        &["convert", "--target-is-zero", "disk.raw", "out"],
        &["convert", "-n", "-O", "qcow2", "-o", "cluster_size=4k", "disk.raw", "out"],
        &["convert", "-n", "-O", "qcow2", "-B", "disk.raw", "-F", "raw", "disk.raw", "out"],
        &["convert", "-n", "disk.raw", "out"],
        &["convert", "-c", "disk.raw", "out"],
        &["convert", "-c", "-O", "vhdx", "disk.raw", "out"],
        &["convert", "-c", "-O", "vmdk", "disk.raw", "out"],
        &["convert", "-c", "-O", "qcow2", "-o", "preallocation=full", "disk.raw", "out"],
        &["convert", "-C", "-S", "4k", "disk.raw", "out"],
        &["convert", "-C", "-c", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-C", "--salvage", "disk.raw", "out"],
        &["convert", "--image-opts", "-f", "raw", "driver=raw,file.filename=disk.raw", "out"],
        &["convert", "--image-opts", "driver=raw,file.filename=disk.raw", "file.filename=link.raw", "out"],
    ]));
}

#[test]
fn backing_files_and_snapshots() {
    insta::assert_snapshot!(page(&[
        &["convert", "-B", "disk.raw", "disk.raw", "out"],
        &["convert", "-B", "disk.raw", "-F", "raw", "-O", "vpc", "disk.raw", "out"],
        &["convert", "-B", "disk.raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-F", "raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "nosuch", "-F", "raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "directory", "-F", "raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "", "-F", "raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "link.raw", "-F", "raw", "-O", "qcow2", "apple.dmg", "disk.raw"],
        &["convert", "-B", "nbd:x", "-F", "raw", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "disk.raw", "-F", "nosuch", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-B", "disk.raw", "-F", "raw", "-O", "qcow2", "disk.raw", "link.raw", "out"],
        &["convert", "-l", "1", "disk.raw", "link.raw", "out"],
        &["convert", "-l", "", "disk.raw", "out"],
        &["convert", "-l", "no such\nthing", "disk.raw", "out"],
        &["convert", "-l", "snapshot.id=1", "-f", "vpc", "disk.raw", "out"],
        &["convert", "-l", "snapshot.nosuch=1", "disk.raw", "out"],
    ]));
}

#[test]
fn options_of_formats() {
    insta::assert_snapshot!(page(&[
        &["convert", "-o", "nope=1", "disk.raw", "out"],
        &["convert", "-o", "", "disk.raw", "out"],
        &["convert", "-o", "size=1M", "disk.raw", "out"],
        &["convert", "-o", "nocow=on", "disk.raw", "out"],
        &["convert", "-o", "preallocation=metadata", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "cluster_size=64kB", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "cluster_size=1000", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "refcount_bits=x", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "extended_l2=maybe", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "compat=0.10,lazy_refcounts=on", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "encryption=on", "disk.raw", "out"],
        &["convert", "-O", "qcow2", "-o", "data_file_raw=maybe", "disk.raw", "out"],
        &["convert", "-O", "vmdk", "-o", "preallocation=full", "disk.raw", "out"],
        &["convert", "-O", "vpc", "-o", "preallocation=full", "disk.raw", "out"],
        &["convert", "-O", "vhdx", "-o", "log_size=5G", "disk.raw", "out"],
        &["convert", "-O", "vhdx", "-o", "block_size=3M", "disk.raw", "out"],
        &["convert", "-O", "qed", "disk.raw", "out"],
    ]));
}

#[test]
fn what_is_not_supported() {
    insta::assert_snapshot!(page(&[
        &["convert", "--bitmaps", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "--skip-broken-bitmaps", "disk.raw", "out"],
        &["convert", "-n", "--target-image-opts", "disk.raw", "driver=raw,file.filename=out"],
        &["convert", "--object", "secret,id=s,data=passphrase", "disk.raw", "out"],
    ]));
}

#[test]
fn files() {
    insta::assert_snapshot!(page(&[
        &["convert", "nosuch", "out"],
        &["convert", "disk.raw", "link.raw"],
        &["convert", "disk.raw", "nbd:x"],
        &["convert", "disk.qcow2", "out"],
        &["convert", "disk.raw", "/dev/null"],
        &["convert", "--max-output", "1k", "disk.raw", "out"],
        &["convert", "--max-output", "1k", "-O", "qcow2", "disk.raw", "out"],
        &["convert", "-p", "disk.raw", "out"],
        &["convert", "-p", "-q", "disk.raw", "out"],
        &["convert", "disk.raw", "out"],
    ]));
}
