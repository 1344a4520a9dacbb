//! What instar reads and `qemu-img` does not, and why that is right.

struct Known {
    format: &'static str,
    /// What the case is about: a part of its name.
    case: &'static str,
    /// A part of what `qemu-img` says.
    said: &'static str,
    when: When,
    why: &'static str,
}

enum When {
    Always,
    /// When a part of the disk is read.
    Part,
    /// When nothing was to be read.
    Empty,
}

const SECOND_REGION_TABLE: &str = "the second region table is there for when the first is broken";

const KNOWN: &[Known] = &[
    Known {
        format: "qcow2",
        case: "bitmaps: ",
        said: "itmap",
        when: When::Always,
        why: "bitmaps are no part of the disk, and those that are broken are left alone",
    },
    Known {
        format: "vhdx",
        case: "region table[0]",
        said: "Invalid argument",
        when: When::Always,
        why: SECOND_REGION_TABLE,
    },
    Known {
        format: "vhdx",
        case: "unsealed",
        said: "Invalid argument",
        when: When::Always,
        why: SECOND_REGION_TABLE,
    },
    Known {
        format: "vhdx",
        case: "log descriptor[0].place = at region table",
        said: "Invalid argument",
        when: When::Always,
        why: SECOND_REGION_TABLE,
    },
    Known {
        format: "vhdx",
        case: "log entry[0].last length = ",
        said: "Invalid argument",
        when: When::Always,
        why: "that length overflows in qemu-img, whose repair then cuts the file off",
    },
    Known {
        format: "vhdx",
        case: "metadata",
        said: "Invalid argument",
        when: When::Empty,
        why: "a disk may be empty",
    },
    Known {
        format: "vhdx",
        case: "BAT entry",
        said: "VHDX BAT entry",
        when: When::Part,
        why: "blocks that are not copied are not looked at",
    },
];

/// Why instar may read `len` bytes where `qemu-img` refuses with the words `said`; `whole` if that was the whole disk.
pub(super) fn why_read(format: &str, case: &str, said: &str, whole: bool, len: u64) -> Option<&'static str> {
    let fits = |known: &&Known| {
        let holds = match known.when {
            When::Always => true,
            When::Part => !whole,
            When::Empty => len == 0,
        };
        holds && known.format == format && case.contains(known.case) && said.contains(known.said)
    };
    KNOWN.iter().find(fits).map(|known| known.why)
}
