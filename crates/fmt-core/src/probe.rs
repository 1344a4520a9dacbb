//! Which format a file's first bytes show.

use crate::Format;

/// How many bytes of a file's beginning [`probe()`] looks at.
pub const PROBE_LEN: usize = 512;

/// The format that the first bytes of a file show. Give [`PROBE_LEN`] bytes, or the whole file if it is shorter.
///
/// What carries no known mark is [`Format::Raw`]. The marks are those that `qemu-img` goes by, with one difference:
/// where a mark of a format that can name other files (qcow2, VMDK) is there and the version beside it is not
/// one that exists, the answer is that format, whose reader then refuses the header. Taking such a file for raw would
/// let a machine that owns the disk decide what the next reader sees in it.
///
/// A fixed VHD has its only mark at its end, and reads as raw here as it does in `qemu-img`.
#[must_use]
pub fn probe(head: &[u8]) -> Format {
    let head = head.get(..PROBE_LEN).unwrap_or(head);
    MARKS.iter().find(|mark| (mark.shows)(head)).map_or(Format::Raw, |mark| mark.format)
}

struct Mark {
    format: Format,
    shows: fn(&[u8]) -> bool,
}

const MARKS: [Mark; 11] = [
    Mark { format: Format::Qcow, shows: |head| head.starts_with(b"QFI\xfb\0\0\0\x01") },
    Mark { format: Format::Qcow2, shows: |head| head.starts_with(b"QFI\xfb") },
    Mark { format: Format::Vmdk, shows: is_vmdk },
    Mark { format: Format::Vpc, shows: |head| head.starts_with(b"conectix") },
    Mark { format: Format::Vhdx, shows: |head| head.starts_with(b"vhdxfile") },
    Mark { format: Format::Qed, shows: |head| head.starts_with(b"QED\0") },
    Mark { format: Format::Vdi, shows: |head| holds(head, 0x40, b"\x7f\x10\xda\xbe") },
    Mark { format: Format::Parallels, shows: is_parallels },
    // Version 2 names no other file, and `qemu-img` copies it as the raw disk it is.
    Mark { format: Format::Luks, shows: |head| head.starts_with(b"LUKS\xba\xbe\0\x01") },
    Mark { format: Format::Bochs, shows: is_bochs },
    Mark { format: Format::Cloop, shows: |head| head.starts_with(CLOOP) },
];

const CLOOP: &[u8] =
    b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

/// Whether `bytes` stand at byte `at` of `head`.
fn holds(head: &[u8], at: usize, bytes: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(bytes))
}

fn is_vmdk(head: &[u8]) -> bool {
    head.starts_with(b"COWD")
        || head.starts_with(b"KDMV")
        || head.starts_with(b"# Disk DescriptorFile")
        || is_vmdk_descriptor(head)
}

/// A descriptor is text: comments and blank lines, then its version.
fn is_vmdk_descriptor(head: &[u8]) -> bool {
    let mut lines = head.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let text = line.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        text.unwrap_or(b"?")
    });
    let first = lines.find(|line| !line.starts_with(b"#") && !line.trim_ascii().is_empty());
    matches!(first, Some(b"version=1" | b"version=2" | b"version=3"))
}

fn is_parallels(head: &[u8]) -> bool {
    let named = head.starts_with(b"WithoutFreeSpace") || head.starts_with(b"WithouFreSpacExt");
    named && holds(head, 16, &[2, 0, 0, 0])
}

fn is_bochs(head: &[u8]) -> bool {
    let version = holds(head, 64, &[0, 0, 1, 0]) || holds(head, 64, &[0, 0, 2, 0]);
    version
        && head.starts_with(b"Bochs Virtual HD Image\0")
        && holds(head, 32, b"Redolog\0")
        && holds(head, 48, b"Growing\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(head: &[u8], format: Format) {
        assert_eq!(probe(head), format, "{:?}", head.escape_ascii().to_string());
    }

    #[test]
    fn each_mark_is_recognised() {
        shows(b"QFI\xfb\0\0\0\x02", Format::Qcow2);
        shows(b"QFI\xfb\0\0\0\x03", Format::Qcow2);
        shows(b"QFI\xfb\0\0\0\x01", Format::Qcow);
        shows(b"COWD", Format::Vmdk);
        shows(b"KDMV", Format::Vmdk);
        shows(b"conectix", Format::Vpc);
        shows(b"vhdxfile", Format::Vhdx);
        shows(b"QED\0", Format::Qed);
        shows(b"WithoutFreeSpace\x02\0\0\0", Format::Parallels);
        shows(b"WithouFreSpacExt\x02\0\0\0", Format::Parallels);
        shows(b"LUKS\xba\xbe\0\x01", Format::Luks);
        shows(CLOOP, Format::Cloop);
    }

    #[test]
    fn marks_behind_other_bytes_are_recognised() {
        let mut vdi = [b' '; PROBE_LEN];
        vdi[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
        shows(&vdi, Format::Vdi);

        let mut bochs = [0; PROBE_LEN];
        bochs[..22].copy_from_slice(b"Bochs Virtual HD Image");
        bochs[32..39].copy_from_slice(b"Redolog");
        bochs[48..55].copy_from_slice(b"Growing");
        shows(&bochs, Format::Raw);
        bochs[66] = 2;
        shows(&bochs, Format::Bochs);
    }

    /// Measured with `qemu-img info`.
    #[test]
    fn vmdk_descriptors_are_recognised_as_text() {
        shows(b"# Disk DescriptorFile\nversion=1\n", Format::Vmdk);
        shows(b"# Disk DescriptorFile\r\nversion=3\r\n", Format::Vmdk);
        shows(b"# any comment\n \nversion=2\n", Format::Vmdk);
        shows(b"version=1\n", Format::Vmdk);
        shows(b"# any comment\nversion=4\n", Format::Raw);
        shows(b"# any comment\nversion=1", Format::Raw);
        shows(b"# any comment\nversion=11\n", Format::Raw);
    }

    /// A header that a guest wrote into its raw disk must not be read as raw when it is nearly right.
    #[test]
    fn a_broken_header_is_not_raw() {
        shows(b"QFI\xfb\0\0\0\x09", Format::Qcow2);
        shows(b"QFI\xfb\0\0\0\0", Format::Qcow2);
        shows(b"QFI\xfb", Format::Qcow2);
        shows(b"# Disk DescriptorFile\nversion=9\n", Format::Vmdk);
    }

    /// Formats that name no other file are told by mark and version, as `qemu-img` does.
    #[test]
    fn what_carries_no_whole_mark_is_raw() {
        shows(b"", Format::Raw);
        shows(b"COW", Format::Raw);
        shows(b"LUKS\xba\xbe\0\x02", Format::Raw);
        shows(b"WithoutFreeSpace\x01\0\0\0", Format::Raw);
        shows(&[0; PROBE_LEN], Format::Raw);
        // An ISO 9660 image has its mark at byte 32769.
        shows(&[0; 40_000], Format::Raw);
    }

    #[test]
    fn bytes_beyond_the_probed_ones_do_not_matter() {
        let mut text = [b'#'; PROBE_LEN + 20];
        text[PROBE_LEN - 1] = b'\n';
        text[PROBE_LEN..PROBE_LEN + 10].copy_from_slice(b"version=1\n");
        shows(&text, Format::Raw);
    }
}
