//! What the user reads: help, and every message, word for word.

use testkit::messages;

fn page(lines: &[&[&str]]) -> String {
    messages::page(env!("CARGO_BIN_EXE_instar"), lines)
}

#[test]
fn help() {
    insta::assert_snapshot!(page(&[&["--help"], &["dd", "--help"], &["dd", "-h"]]));
}

#[test]
fn usage() {
    insta::assert_snapshot!(page(&[
        &[],
        &["nosuch"],
        &["dd"],
        &["dd", "if=disk.raw"],
        &["dd", "of=out"],
        &["dd", "--nosuch", "if=disk.raw", "of=out"],
        &["dd", "--sandbox", "none", "if=disk.raw", "of=out"],
        &["dd", "if=disk.raw", "of=out", "-f"],
        &["dd", "seek=1", "if=disk.raw", "of=out"],
        &["dd", "disk.raw", "out"],
        &["dd", "\x1b[2J=1", "if=disk.raw", "of=out"],
        &["dd", "--\r\x1b[2Jx\u{202e}", "if=disk.raw", "of=out"],
    ]));
}

#[test]
fn numbers() {
    insta::assert_snapshot!(page(&[
        &["dd", "bs=0", "if=disk.raw", "of=out"],
        &["dd", "bs=2G", "if=disk.raw", "of=out"],
        &["dd", "bs=1kB", "if=disk.raw", "of=out"],
        &["dd", "count=-1", "if=disk.raw", "of=out"],
        &["dd", "skip=", "if=disk.raw", "of=out"],
        &["dd", "--max-output", "1Z", "if=disk.raw", "of=out"],
        &["dd", "--max-output", "1023", "if=disk.raw", "of=out"],
    ]));
}

#[test]
fn formats() {
    insta::assert_snapshot!(page(&[
        &["dd", "if=disk.qcow2", "of=out"],
        &["dd", "if=apple.dmg", "of=out"],
        &["dd", "-f", "vmdk", "if=disk.raw", "of=out"],
        &["dd", "-f", "nosuch", "if=disk.raw", "of=out"],
        &["dd", "-f", "vdi", "if=disk.raw", "of=out"],
        &["dd", "-O", "qed", "if=disk.raw", "of=out"],
        &["dd", "-O", "vmdk", "if=disk.raw", "of=out", "count=0"],
        &["dd", "-O", "nosuch", "if=disk.raw", "of=out"],
    ]));
}

#[test]
fn descriptions() {
    insta::assert_snapshot!(page(&[
        &["dd", "--image-opts", "-f", "raw", "if=driver=raw,file.filename=disk.raw", "of=out"],
        &["dd", "--image-opts", "if=disk.raw", "of=out"],
        &["dd", "--image-opts", "if=driver=raw,filename=disk.raw", "of=out"],
        &["dd", "--image-opts", "if=driver=file,file.filename=disk.raw", "of=out"],
        &["dd", "--image-opts", "if=driver=qcow2,file.driver=file", "of=out"],
        &["dd", "--image-opts", "if=driver=nbd,host=x", "of=out"],
        &["dd", "--image-opts", "if=driver=nbd,file.filename=disk.raw", "of=out"],
        &["dd", "--image-opts", "if=driver=raw,file.filename=disk.raw,offset=512", "of=out"],
        &["dd", "--image-opts", "if=driver=raw,file.filename=disk.raw,cache.direct=on", "of=out"],
        &["dd", "--image-opts", "if=file.driver=qcow2,file.file.filename=x", "of=out"],
        &["dd", "--image-opts", "-U", "if=file.filename=disk.raw,force-share=off", "of=out"],
        &["dd", "--image-opts", "if=driver=raw,file.filename=nosuch", "of=out"],
        &["dd", "if=json:{'driver': 'raw'}", "of=out"],
        &["dd", "if=json:[]", "of=out"],
        &["dd", r#"if=json:{"driver": 5}"#, "of=out"],
        &["dd", r#"if=json:{"driver": "raw", "driver": "raw"}"#, "of=out"],
        &["dd", r#"if=json:{"\u001b[2J": "x"}"#, "of=out"],
        &["dd", "if=disk.raw", r#"of=json:{"driver": "raw"}"#],
        &["dd", "--object", "secret,id=s,data=passphrase", "if=disk.raw", "of=out"],
    ]));
}

#[test]
fn files() {
    insta::assert_snapshot!(page(&[
        &["dd", "if=nosuch", "of=out"],
        &["dd", "if=a \"name\"\x1b[2J", "of=out"],
        &["dd", "if=a\u{202e}:b", "of=out"],
        &["dd", "if=directory", "of=out"],
        &["dd", "if=", "of=out"],
        &["dd", "if=nbd://host/disk", "of=out"],
        &["dd", "if=disk.raw", "of=disk.raw"],
        &["dd", "if=disk.raw", "of=file:link.raw"],
        &["dd", "if=disk.raw", "of=directory"],
        &["dd", "if=disk.raw", "of=nosuch/out"],
        &["dd", "if=disk.raw", "of=/dev/null"],
        &["dd", "if=/dev/null", "of=out"],
        &["dd", "if=disk.raw", "of=out", "skip=9"],
        &["dd", "if=disk.raw", "of=out"],
    ]));
}
