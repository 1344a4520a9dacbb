//! What a file shows depends on its first bytes alone, and a mark of a format is never taken for raw.

#![no_main]

use fmt_core::probe::{PROBE_LEN, probe};
use fmt_core::{Error, Format, ReadAt};
use libfuzzer_sys::fuzz_target;

/// Marks that are enough by themselves not to be raw. With another one elsewhere, the file may show that one's format.
const MARKS: &[&[u8]] = &[
    b"QFI\xfb",
    b"COWD",
    b"KDMV",
    b"# Disk DescriptorFile",
    b"conectix",
    b"vhdxfile",
    b"QED\0",
    b"LUKS\xba\xbe\0\x01",
];

fuzz_target!(|file: &[u8]| {
    let format = probe(file);
    let mut head = [0; PROBE_LEN];
    assert_eq!(file.read_up_to(0, &mut head).map(probe), Ok::<_, Error>(format), "only the head matters");

    let is_marked = MARKS.iter().any(|mark| file.starts_with(mark));
    assert!(!is_marked || format != Format::Raw, "a mark is taken for raw");
    assert_ne!(format, Format::Dmg, "no mark of it is at the beginning");
});
