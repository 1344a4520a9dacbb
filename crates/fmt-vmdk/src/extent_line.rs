//! A descriptor's extent lines: `RW 4192256 SPARSE "disk-s001.vmdk"`.
//!
//! *Virtual Disk Format 5.0* (VMware), "The Extent Description". `qemu-img` leaves out, without a word, the lines that
//! it does not understand, and what follows then moves to another place on the disk. Those lines are refused here.

use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, SECTOR};

use crate::limits::{MAX_DISK_LEN, MAX_EXTENT_NAME_LEN, MAX_EXTENTS};

/// An extent of a disk: so many bytes, in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtentLine {
    /// The length in bytes, not 0. A sparse extent's own header counts more.
    pub len: u64,
    /// How its bytes are stored.
    pub kind: ExtentKind,
    /// The file's name, as it stands in the descriptor: relative to the descriptor's directory, or absolute.
    pub name: Vec<u8>,
}

/// How the bytes of an extent are stored in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtentKind {
    /// As they are, from this byte of the file on.
    Flat(u64),
    /// As they are, on an ESXi host.
    Vmfs,
    /// In grains: the file has a sparse extent's header.
    Sparse,
    /// In grains, on an ESXi host. The header may be that of either kind of sparse extent.
    VmfsSparse,
}

impl ExtentKind {
    /// The name that descriptors give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat(_) => "FLAT",
            Self::Vmfs => "VMFS",
            Self::Sparse => "SPARSE",
            Self::VmfsSparse => "VMFSSPARSE",
        }
    }
}

/// All extent lines of `text`, which begins at byte `at` of its file.
pub(crate) fn parse_all(text: &[u8], at: u64) -> Result<Vec<ExtentLine>, Error> {
    let mut extents = Vec::new();
    let mut rest = text;
    let mut after_blank = false;
    while !rest.is_empty() {
        let place = at.saturating_add((text.len() - rest.len()) as u64);
        let (line, next) = first_line(rest);
        match Access::of(line) {
            Access::ReadWrite if after_blank => {
                return Err(corrupt(
                    place,
                    "a blank line before an extent, which qemu-img takes for another",
                ));
            }
            Access::ReadWrite if extents.len() == MAX_EXTENTS => {
                return Err(Error::new(ErrorKind::TooLarge, place, "the number of extents"));
            }
            Access::ReadWrite => extents.push(parse(line, next, place)?),
            Access::Refused(what) => return Err(Error::new(ErrorKind::UnsupportedFeature, place, what)),
            Access::None => {}
        }
        after_blank = trim_start(line).is_empty();
        rest = next;
    }
    Ok(extents)
}

/// What the first word of a line says about it.
enum Access {
    ReadWrite,
    Refused(&'static str),
    /// It is no extent line.
    None,
}

impl Access {
    fn of(line: &[u8]) -> Self {
        match word(trim_start(line)).0 {
            b"RW" => Self::ReadWrite,
            b"RDONLY" => Self::Refused("an extent with the access RDONLY"),
            b"NOACCESS" => Self::Refused("an extent with the access NOACCESS"),
            _ => Self::None,
        }
    }
}

/// The extent of a line that begins with its access. What follows in the next lines decides, as in `qemu-img`, whether
/// a number is missing.
fn parse(line: &[u8], next: &[u8], at: u64) -> Result<ExtentLine, Error> {
    let (_, rest) = word(trim_start(line));
    let (sectors, rest) = word(trim_start(rest));
    let (kind, rest) = kind_word(trim_start(rest));
    if kind == b"ZERO" {
        return Err(Error::new(ErrorKind::UnsupportedFeature, at, "a ZERO extent"));
    }
    let (name, rest) =
        name(trim_start(rest)).ok_or(corrupt(at, "an extent line without a name in quotes"))?;
    let (offset, _) = word(trim_start(rest));

    let sectors = decimal(sectors).filter(|&sectors| sectors != 0);
    let len = sectors.ok_or(corrupt(at, "an extent line without a number of sectors"))?.checked_mul(SECTOR);
    let len = len.filter(|&len| len <= MAX_DISK_LEN);
    let len = len.ok_or(Error::new(ErrorKind::TooLarge, at, "the extent"))?;
    let kind = match kind {
        b"FLAT" => ExtentKind::Flat(flat_offset(offset, at)?),
        b"VMFS" => ExtentKind::Vmfs,
        b"SPARSE" => ExtentKind::Sparse,
        b"VMFSSPARSE" => ExtentKind::VmfsSparse,
        b"SESPARSE" => return Err(Error::new(ErrorKind::UnsupportedFeature, at, "a SESPARSE extent")),
        _ => {
            return Err(Error::new(
                ErrorKind::UnsupportedFeature,
                at,
                "an extent of a kind that is not known",
            ));
        }
    };
    if !matches!(kind, ExtentKind::Flat(_)) {
        let rest = trim_start(rest);
        let follows = if rest.is_empty() { trim_start(next) } else { rest };
        if starts_with_number(follows) {
            return Err(corrupt(at, "a number follows an extent that has none"));
        }
    }
    if name.len() > MAX_EXTENT_NAME_LEN {
        return Err(Error::new(ErrorKind::TooLarge, at, "the extent's name"));
    }
    Ok(ExtentLine { len, kind, name: name.to_vec() })
}

fn flat_offset(sectors: &[u8], at: u64) -> Result<u64, Error> {
    let sectors = decimal(sectors).ok_or(corrupt(at, "a FLAT extent without an offset"))?;
    sectors.checked_mul(SECTOR).ok_or(corrupt(at, "a FLAT extent's offset is beyond any file"))
}

/// The name in quotes that `text` begins with, and what follows it.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| matches!(byte, b'"' | b'\r'))?;
    let (name, rest) = text.split_at_checked(end)?;
    let rest = rest.strip_prefix(b"\"")?;
    (!name.is_empty()).then_some((name, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| text.as_bytes().iter().all(u8::is_ascii_digit))
}

fn starts_with_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    digits.first().is_some_and(u8::is_ascii_digit)
}

/// The first line of `text` without its end, and what follows.
fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    (line, rest.get(1..).unwrap_or_default())
}

/// The word that `text` begins with, and what follows.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&byte| is_blank(byte)).unwrap_or(text.len()))
}

/// A kind is at most ten letters long, and a name may follow it without a blank between them only then.
fn kind_word(text: &[u8]) -> (&[u8], &[u8]) {
    let (kind, rest) = word(text);
    match text.strip_prefix(b"VMFSSPARSE") {
        Some(rest) if rest.starts_with(b"\"") => text.split_at(text.len() - rest.len()),
        _ => (kind, rest),
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    text.get(blanks..).unwrap_or_default()
}

/// The blanks of C, of which Rust leaves out the vertical tab.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Corrupt, TooLarge, UnsupportedFeature};

    fn lines(text: &str) -> Result<Vec<(u64, ExtentKind, Vec<u8>)>, ErrorKind> {
        let lines = parse_all(text.as_bytes(), 0).map_err(|error| error.kind)?;
        Ok(lines.into_iter().map(|line| (line.len / SECTOR, line.kind, line.name)).collect())
    }

    /// Each measured with `qemu-img info`.
    #[test]
    fn extents_are_read_as_qemu_img_reads_them() {
        let a = |kind| Ok(alloc::vec![(100, kind, b"a".to_vec())]);
        assert_eq!(lines("RW 100 FLAT \"a\" 7\n"), a(ExtentKind::Flat(7 * 512)));
        assert_eq!(lines("  \tRW\t100\tFLAT\t\"a\"7\r\n"), a(ExtentKind::Flat(7 * 512)));
        assert_eq!(lines("RW 100 FLAT \"a\" 0 hello"), a(ExtentKind::Flat(0)));
        assert_eq!(lines("RW 100 VMFS \"a\"\n"), a(ExtentKind::Vmfs));
        assert_eq!(lines("RW 100 SPARSE \"a\" # b\n"), a(ExtentKind::Sparse));
        assert_eq!(lines("RW 100 VMFSSPARSE\"a\"\n"), a(ExtentKind::VmfsSparse));
        assert_eq!(
            lines("# RW 1 VMFS \"b\"\nrw 1 VMFS \"b\"\nRWX 1\nRW 100 VMFS \"a\""),
            a(ExtentKind::Vmfs)
        );
        assert_eq!(lines("RW 9 SPARSE \"é ;'\\\"\nRW 1 VMFS \"b\"\n\n").unwrap()[0].2, "é ;'\\".as_bytes());
        for refused in [
            "RW 100 FLAT \"a\"\n",
            "RW 100 FLAT \"a\" -1\n",
            "RW 100 VMFS \"a\" 0\n",
            "RW 100 SPARSE \"a\" 0\n",
            "RW 100 SPARSE \"a\"\n \n12\n",
            "RW 100 FLAT \"a 0\n",
        ] {
            assert_eq!(lines(refused), Err(Corrupt), "{refused}");
        }
    }

    /// `qemu-img` leaves these lines out, or reads them as something else.
    #[test]
    fn what_would_move_the_rest_of_the_disk_is_refused() {
        for (line, kind) in [
            ("RW 100 ZERO", UnsupportedFeature),
            ("RW 100 ZERO \"z\"", UnsupportedFeature),
            ("RDONLY 100 FLAT \"a\" 0", UnsupportedFeature),
            ("NOACCESS 100 FLAT \"a\" 0", UnsupportedFeature),
            ("RW 100 OTHER \"a\"", UnsupportedFeature),
            ("RW 100 SESPARSE \"a\"", UnsupportedFeature),
            ("RW 0 FLAT \"a\" 0", Corrupt),
            ("RW -5 FLAT \"a\" 0", Corrupt),
            ("RW +5 FLAT \"a\" 0", Corrupt),
            ("RW 0x10 FLAT \"a\" 0", Corrupt),
            ("RW 1 FLAT \"a\" 0x10", Corrupt),
            ("RW 1 FLAT \"\" 0", Corrupt),
            ("RW 1 FLAT a 0", Corrupt),
            ("RW 1 SPARSE \"a", Corrupt),
            ("RW", Corrupt),
        ] {
            assert_eq!(lines(line), Err(kind), "{line}");
        }
    }

    /// `qemu-img` reads the extent twice, because its pattern's first blank matches a line's end.
    #[test]
    fn a_blank_line_before_an_extent_is_refused() {
        assert_eq!(lines("#\n\nRW 1 VMFS \"a\"\n"), Err(Corrupt));
        assert_eq!(lines("#\n \r\nRW 1 VMFS \"a\"\n"), Err(Corrupt));
        assert!(lines("#\n\n#\nRW 1 VMFS \"a\"\n").is_ok());
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(lines("RW 99999999999999999999999 VMFS \"a\""), Err(Corrupt));
        assert_eq!(lines("RW 18014398509481983 VMFS \"a\""), Err(TooLarge));
        assert_eq!(lines("RW 18014398507384832 VMFS \"a\"").unwrap()[0].0, MAX_DISK_LEN / 512);
        assert_eq!(lines("RW 1 FLAT \"a\" 36028797018963968"), Err(Corrupt));
        let named =
            |len| lines(&alloc::format!("RW 1 VMFS \"{}\"", "n".repeat(len))).map(|lines| lines.len());
        assert_eq!(named(511), Ok(1));
        assert_eq!(named(512), Err(TooLarge));
        let many = |count| lines(&"RW 1 VMFS \"a\"\n".repeat(count)).map(|lines| lines.len());
        assert_eq!(many(MAX_EXTENTS), Ok(MAX_EXTENTS));
        assert_eq!(many(MAX_EXTENTS + 1), Err(TooLarge));
    }
}
