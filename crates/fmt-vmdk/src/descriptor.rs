//! The descriptor: text that says what a disk is called, who its parent is and which files it consists of.
//!
//! *Virtual Disk Format 5.0* (VMware), "The Descriptor File". `qemu-img` does not read it line by line: it takes what
//! stands behind the first occurrence of a key, in a comment or a file's name too. The same place is taken here, and
//! where it is not where a line's key stands, the descriptor is refused: two readers would see two disks.

use alloc::vec::Vec;
use core::fmt;

use fmt_core::{Error, ErrorKind, ReadAt};

use crate::extent_line::{self, ExtentLine};
use crate::limits::{IDENTITY_LEN, MAX_DESCRIPTOR_LEN, MAX_PARENT_NAME_LEN};

/// What kind of disk a VMDK is: how its data are spread over files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreateType {
    /// One sparse file, with the descriptor in it.
    MonolithicSparse,
    /// One file of compressed grains, with the descriptor in it.
    StreamOptimized,
    /// A descriptor, and one file that holds the disk as it is.
    MonolithicFlat,
    /// A descriptor, and sparse files of at most 2 GiB.
    TwoGbMaxExtentSparse,
    /// A descriptor, and files of at most 2 GiB that hold the disk as it is.
    TwoGbMaxExtentFlat,
    /// A descriptor, and one file of an ESXi host that holds the disk as it is.
    Vmfs,
    /// A descriptor, and a sparse file of an ESXi host.
    VmfsSparse,
    /// A descriptor, and a space-efficient sparse file of an ESXi host.
    SeSparse,
}

impl CreateType {
    /// Those that a descriptor may tell when it is what the disk is read by.
    const TOLD: [Self; 6] = [
        Self::MonolithicFlat,
        Self::Vmfs,
        Self::VmfsSparse,
        Self::SeSparse,
        Self::TwoGbMaxExtentSparse,
        Self::TwoGbMaxExtentFlat,
    ];

    /// The name that descriptors give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MonolithicSparse => "monolithicSparse",
            Self::StreamOptimized => "streamOptimized",
            Self::MonolithicFlat => "monolithicFlat",
            Self::TwoGbMaxExtentSparse => "twoGbMaxExtentSparse",
            Self::TwoGbMaxExtentFlat => "twoGbMaxExtentFlat",
            Self::Vmfs => "vmfs",
            Self::VmfsSparse => "vmfsSparse",
            Self::SeSparse => "seSparse",
        }
    }
}

impl fmt::Display for CreateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The create types that exist and are not read, `qemu-img` included.
const UNSUPPORTED: [(&str, &str); 13] = [
    ("monolithicSparse", "the create type monolithicSparse in a descriptor without a disk"),
    ("streamOptimized", "the create type streamOptimized in a descriptor without a disk"),
    ("2GbMaxExtentSparse", "the create type 2GbMaxExtentSparse"),
    ("2GbMaxExtentFlat", "the create type 2GbMaxExtentFlat"),
    ("custom", "the create type custom"),
    ("fullDevice", "the create type fullDevice"),
    ("partitionedDevice", "the create type partitionedDevice"),
    ("vmfsPreallocated", "the create type vmfsPreallocated"),
    ("vmfsEagerZeroedThick", "the create type vmfsEagerZeroedThick"),
    ("vmfsThin", "the create type vmfsThin"),
    ("vmfsRaw", "the create type vmfsRaw"),
    ("vmfsRDM", "the create type vmfsRDM"),
    ("vmfsRDMP", "the create type vmfsRDMP"),
];

/// Who a disk is, and on whom it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The content identity, which changes when the disk is written.
    pub cid: u32,
    /// The content identity that the parent had when this disk was made; [`NO_PARENT`] if it has none. What this disk leaves
    /// unallocated may be read from a parent of this [`cid`](Self::cid) only: `qemu-img` fails to read it from any other.
    pub parent_cid: u32,
    /// The parent's name, as it stands in the descriptor.
    pub parent: Option<Vec<u8>>,
}

/// The parent's content identity of a disk that has no parent.
pub const NO_PARENT: u32 = u32::MAX;

impl Identity {
    /// Reads the identity from the descriptor that begins at byte `at` of `source`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] when there is none, or it can be read in more than one way, and those of reading.
    pub fn read<S: ReadAt + ?Sized>(source: &S, at: u64) -> Result<Self, Error> {
        let mut buf = alloc::vec![0; IDENTITY_LEN];
        let text = Text { bytes: until_nul(source.read_up_to(at, &mut buf)?), at };
        // As in `qemu-img`: without a line of its own, "CID" is the end of "parentCID".
        let cid = text.number(b"CID")?.ok_or(text.corrupt(0, "the descriptor has no CID"))?;
        let parent_cid = text.number(b"parentCID")?;
        let parent_cid = parent_cid.ok_or(text.corrupt(0, "the descriptor has no parentCID"))?;
        Ok(Self { cid, parent_cid, parent: text.parent()? })
    }
}

/// A descriptor that names the files a disk consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// What kind of disk it is.
    pub create_type: CreateType,
    /// The disk's extents, in order; at least one.
    pub extents: Vec<ExtentLine>,
}

impl Descriptor {
    /// Reads the descriptor that begins at byte `at` of `source` and ends with the file, or with a zero byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotThisFormat`] for what tells no create type, [`ErrorKind::UnsupportedFeature`] for create types
    /// and extents that are not read, by name, [`ErrorKind::TooLarge`] for more than
    /// [`MAX_DESCRIPTOR_LEN`] bytes or [`MAX_EXTENTS`](crate::limits::MAX_EXTENTS) extents, [`ErrorKind::Corrupt`] for
    /// what cannot be read or can be read in more than one way, and those of reading.
    pub fn read<S: ReadAt + ?Sized>(source: &S, at: u64) -> Result<Self, Error> {
        let rest = usize::try_from(source.file_len().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut buf = alloc::vec![0; rest.min(MAX_DESCRIPTOR_LEN)];
        let bytes = source.read_up_to(at, &mut buf)?;
        let text = Text { bytes: until_nul(bytes), at };
        let create_type = text.create_type()?;
        if text.bytes.len() == bytes.len() && rest > bytes.len() {
            return Err(Error::new(ErrorKind::TooLarge, at, "the descriptor"));
        }
        let extents = extent_line::parse_all(text.bytes, at)?;
        if extents.is_empty() {
            return Err(text.corrupt(0, "the descriptor names no extent"));
        }
        Ok(Self { create_type, extents })
    }
}

/// The text of the descriptor that begins at byte `at` of `source` as it is with the content identity `cid`; and zeros
/// behind it, where the text was longer.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] where no line of its own tells the identity; [`ErrorKind::TooLarge`] for a text that does not end
/// where [`Identity::read`] ends; those of reading.
pub(crate) fn with_cid<S: ReadAt + ?Sized>(source: &S, at: u64, cid: u32) -> Result<Vec<u8>, Error> {
    const KEY: &[u8] = b"CID";
    let mut buf = alloc::vec![0; IDENTITY_LEN];
    let text = Text { bytes: until_nul(source.read_up_to(at, &mut buf)?), at };
    if text.bytes.len() == IDENTITY_LEN {
        return Err(Error::new(ErrorKind::TooLarge, at, "the descriptor"));
    }
    // As it is read, the first is what counts, be it the end of the parent's.
    let place = text.place(KEY).filter(|&place| text.line_before(place).trim_ascii_start().is_empty());
    let missing =
        text.corrupt(0, "the descriptor has no line that tells its CID and comes before the parent's");
    let old = place.and_then(|place| text.value(place, KEY)).ok_or(missing)?;
    let start = place.unwrap_or_default() + KEY.len() + 1;
    let end = start + old.trim_ascii_end().len();
    let (head, rest) =
        (text.bytes.get(..start).unwrap_or_default(), text.bytes.get(end..).unwrap_or_default());
    let mut new = [head, alloc::format!("{cid:x}").as_bytes(), rest].concat();
    new.resize(new.len().max(text.bytes.len()), 0);
    Ok(new)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

/// A descriptor's text.
struct Text<'b> {
    bytes: &'b [u8],
    /// Where it begins in the file.
    at: u64,
}

impl<'b> Text<'b> {
    fn create_type(&self) -> Result<CreateType, Error> {
        let Some(place) = self.place(b"createType") else {
            return Err(Error::new(ErrorKind::NotThisFormat, self.at, "vmdk"));
        };
        let name = self.quoted(place, b"createType")?;
        if let Some(known) = CreateType::TOLD.into_iter().find(|told| told.name().as_bytes() == name) {
            return Ok(known);
        }
        let what = UNSUPPORTED.iter().find(|(unsupported, _)| unsupported.as_bytes() == name);
        let what = what.map_or("a create type that is not known", |(_, what)| what);
        Err(Error::new(ErrorKind::UnsupportedFeature, self.file_offset(place), what))
    }

    fn parent(&self) -> Result<Option<Vec<u8>>, Error> {
        const KEY: &[u8] = b"parentFileNameHint";
        let Some(place) = self.place(KEY) else { return Ok(None) };
        let name = self.quoted(place, KEY)?;
        if name.len() > MAX_PARENT_NAME_LEN {
            return Err(Error::new(ErrorKind::TooLarge, self.file_offset(place), "the parent's name"));
        }
        Ok(Some(name).filter(|name| !name.is_empty()).map(<[u8]>::to_vec))
    }

    /// The hexadecimal number behind the first occurrence of `key`, which may be the end of a longer key.
    fn number(&self, key: &[u8]) -> Result<Option<u32>, Error> {
        let Some(place) = self.place(key) else { return Ok(None) };
        let line = self.line_before(place).trim_ascii_start();
        if !(line.is_empty() || line == b"parent") {
            return Err(self.corrupt(place, "a content identity stands where no line's key is"));
        }
        let bad = self.corrupt(place, "a content identity is not a hexadecimal number of 32 bits");
        let value = self.value(place, key).ok_or(bad)?.trim_ascii_start();
        let value = value.strip_prefix(b"0x").or(value.strip_prefix(b"0X")).unwrap_or(value);
        let digits = value.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = value.get(..digits).and_then(|digits| core::str::from_utf8(digits).ok());
        u32::from_str_radix(digits.unwrap_or_default(), 16).map(Some).map_err(|_| bad)
    }

    /// The value in quotes of `key`, which stands at `place`.
    fn quoted(&self, place: usize, key: &[u8]) -> Result<&'b [u8], Error> {
        if !self.line_before(place).trim_ascii_start().is_empty() {
            return Err(self.corrupt(place, "a key of the descriptor stands where no line begins"));
        }
        let value = self.value(place, key).and_then(|value| value.strip_prefix(b"\""));
        let mut parts = value.unwrap_or_default().split(|&byte| byte == b'"');
        match (parts.next(), parts.next()) {
            (Some(inner), Some(_)) => Ok(inner),
            _ => Err(self.corrupt(place, "a value of the descriptor is not in quotes")),
        }
    }

    /// Where `key` occurs first.
    fn place(&self, key: &[u8]) -> Option<usize> {
        self.bytes.windows(key.len()).position(|window| window == key)
    }

    /// What stands in the line before `place`.
    fn line_before(&self, place: usize) -> &'b [u8] {
        let before = self.bytes.get(..place).unwrap_or_default();
        before.rsplit(|&byte| byte == b'\n').next().unwrap_or(before)
    }

    /// What stands in the line behind `key` and the sign after it.
    fn value(&self, place: usize, key: &[u8]) -> Option<&'b [u8]> {
        let rest = self.bytes.get(place.checked_add(key.len())?..)?;
        rest.split(|&byte| byte == b'\n').next()?.strip_prefix(b"=")
    }

    fn file_offset(&self, place: usize) -> u64 {
        self.at.saturating_add(place as u64)
    }

    const fn corrupt(&self, place: usize, what: &'static str) -> Error {
        Error::new(ErrorKind::Corrupt, self.at.saturating_add(place as u64), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n";

    fn identity(text: &str) -> Result<Identity, ErrorKind> {
        Identity::read(text.as_bytes(), 0).map_err(|error| error.kind)
    }

    fn cids(text: &str) -> Result<(u32, u32), ErrorKind> {
        identity(text).map(|identity| (identity.cid, identity.parent_cid))
    }

    /// Each measured with `qemu-img info`.
    #[test]
    fn content_identities_are_read_as_qemu_img_reads_them() {
        assert_eq!(cids(HEAD), Ok((0x1234_5678, NO_PARENT)));
        assert_eq!(cids(&HEAD.replace('\n', "\r\n")), Ok((0x1234_5678, NO_PARENT)));
        assert_eq!(cids("  CID=  0x12xyz\n\tparentCID=ab"), Ok((0x12, 0xab)));
        // A missing CID is found in the parent's.
        assert_eq!(cids("parentCID=fffffffe\n"), Ok((0xffff_fffe, 0xffff_fffe)));
        assert_eq!(cids("parentCID=1\nCID=2\n"), Ok((1, 1)));
        for refused in
            ["", "CID=1\n", "CID = 1\nparentCID=2\n", "CID=\"1\"\nparentCID=2\n", "CID=\nparentCID=2\n"]
        {
            assert_eq!(cids(refused), Err(ErrorKind::Corrupt), "{refused}");
        }
    }

    /// `qemu-img` reads these, as something or other.
    #[test]
    fn ambiguous_identities_are_refused() {
        for refused in
            ["# CID a\nCID=1\nparentCID=2\n", "CID=123456789\nparentCID=2\n", "CID=-1\nparentCID=2\n"]
        {
            assert_eq!(cids(refused), Err(ErrorKind::Corrupt), "{refused}");
        }
    }

    #[test]
    fn parents_are_named_in_bytes() {
        let parent = |line: &str| identity(&[HEAD, line, "\n"].concat()).map(|identity| identity.parent);
        assert_eq!(parent("parentFileNameHint=\"p 'ä.vmdk\""), Ok(Some("p 'ä.vmdk".into())));
        assert_eq!(parent(""), Ok(None));
        assert_eq!(parent("parentFileNameHint=\"\""), Ok(None));
        assert_eq!(parent("parentFileNameHint=\"p"), Err(ErrorKind::Corrupt));
        assert_eq!(parent("parentFileNameHint = \"p\""), Err(ErrorKind::Corrupt));
        assert_eq!(parent("# parentFileNameHint=\"p\""), Err(ErrorKind::Corrupt));
        let long = |len| parent(&alloc::format!("parentFileNameHint=\"{}\"", "p".repeat(len)));
        assert_eq!(long(4095).unwrap().unwrap().len(), 4095);
        assert_eq!(long(4096), Err(ErrorKind::TooLarge));
    }

    #[test]
    fn a_content_identity_is_put_in_its_place() {
        let put = |text: &str| with_cid(text.as_bytes(), 0, 0xab).map_err(|error| error.kind);
        assert_eq!(put(HEAD).unwrap(), (HEAD.replace("12345678", "ab") + "\0\0\0\0\0\0").as_bytes());
        assert_eq!(put("CID=1\nparentCID=2\n").unwrap(), b"CID=ab\nparentCID=2\n");
        assert_eq!(put("CID= 0x1 2\r\nparentCID=3\0\0").unwrap(), b"CID=ab\r\nparentCID=3\0\0\0\0");
        for refused in ["parentCID=1\n", "parentCID=1\nCID=2\n", "CID: 1\n", "# CID=1\n", ""] {
            assert_eq!(put(refused), Err(ErrorKind::Corrupt), "{refused}");
        }
        let long = HEAD.to_owned() + &"#".repeat(IDENTITY_LEN - HEAD.len());
        assert_eq!(put(&long), Err(ErrorKind::TooLarge));
    }

    fn create_type(text: &str) -> Result<CreateType, (ErrorKind, &'static str)> {
        let text = [text, "\nRW 1 VMFS \"x\"\n"].concat();
        Descriptor::read(text.as_bytes(), 0)
            .map(|it| it.create_type)
            .map_err(|error| (error.kind, error.what))
    }

    #[test]
    fn create_types_are_known_by_name() {
        for told in CreateType::TOLD {
            assert_eq!(create_type(&alloc::format!("createType=\"{told}\"")), Ok(told));
        }
        for (name, what) in UNSUPPORTED {
            let refused = Err((ErrorKind::UnsupportedFeature, what));
            assert_eq!(create_type(&alloc::format!("createType=\"{name}\"")), refused);
        }
        let unknown = Err((ErrorKind::UnsupportedFeature, "a create type that is not known"));
        assert_eq!(create_type("createType=\"\""), unknown);
        assert_eq!(create_type("version=1"), Err((ErrorKind::NotThisFormat, "vmdk")));
        for refused in
            ["createType = \"vmfs\"", "#createType=\"vmfs\"", "createType=vmfs", "createType=\"vmfs"]
        {
            assert_eq!(create_type(refused).unwrap_err().0, ErrorKind::Corrupt, "{refused}");
        }
    }

    #[test]
    fn descriptors_end_with_a_zero_byte_and_are_not_long() {
        let text = "createType=\"vmfs\"\nRW 1 VMFS \"x\"\n";
        let read = |text: &str| Descriptor::read(text.as_bytes(), 0).map(|it| it.extents.len());
        assert_eq!(read(&[text, "\0", "RW 1 VMFS \"y\"\n"].concat()), Ok(1));
        assert_eq!(read("createType=\"vmfs\"\n\0RW 1 VMFS \"y\"\n").unwrap_err().kind, ErrorKind::Corrupt);
        let fill = |len: usize| text.to_owned() + &"#".repeat(len - text.len());
        assert_eq!(read(&fill(MAX_DESCRIPTOR_LEN)), Ok(1));
        assert_eq!(read(&fill(MAX_DESCRIPTOR_LEN + 1)).unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(read(&(fill(1000) + "\0" + &"#".repeat(MAX_DESCRIPTOR_LEN))), Ok(1));
    }

    use alloc::borrow::ToOwned;
}
