//! The descriptor as it is written. Its lines and their order are those that `qemu-img` writes.

use alloc::format;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, SECTOR};

use crate::descriptor::NO_PARENT;
use crate::layout::{DESCRIPTOR_LEN, part_len, parts};
use crate::limits::{MAX_DESCRIPTOR_LEN, MAX_EXTENT_NAME_LEN, MAX_PARENT_NAME_LEN};
use crate::options::Options;

const SECTORS_PER_TRACK: u64 = 63;

/// The descriptor of a disk of `size` bytes, in whole sectors.
pub(crate) fn descriptor(size: u64, options: &Options<'_>) -> Result<Vec<u8>, Error> {
    let mut text = identity(options)?;
    text.extend_from_slice(b"\n# Extent description\n");
    for index in 0..parts(size, options.subformat)? {
        let sectors = part_len(size, options.subformat, index) / SECTOR;
        let kind = if options.subformat.is_flat() { "FLAT" } else { "SPARSE" };
        text.extend_from_slice(format!("RW {sectors} {kind} \"").as_bytes());
        text.extend_from_slice(&extent_name(options, index)?);
        text.extend_from_slice(if options.subformat.is_flat() { b"\" 0\n" } else { b"\"\n" });
    }
    text.extend_from_slice(&data_base(size, options)?);
    let max_len = match options.subformat.extent_file(0) {
        Some(_) => MAX_DESCRIPTOR_LEN as u64,
        None => DESCRIPTOR_LEN,
    };
    if text.len() as u64 > max_len {
        return Err(Error::new(ErrorKind::TooLarge, 0, "the descriptor"));
    }
    Ok(text)
}

/// Who the disk is, and on whom it stands.
fn identity(options: &Options<'_>) -> Result<Vec<u8>, Error> {
    let Options { cid, parent, subformat, .. } = options;
    let parent_cid = parent.map_or(NO_PARENT, |parent| parent.cid);
    let mut text = format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:x}\n\
         parentCID={parent_cid:x}\n\
         createType=\"{create_type}\"\n",
        create_type = subformat.create_type(),
    )
    .into_bytes();
    if let Some(parent) = parent {
        let name = nonempty(parent.name, MAX_PARENT_NAME_LEN, "a VMDK's parent without a name")?;
        text.extend_from_slice(b"parentFileNameHint=\"");
        text.extend_from_slice(sayable(name, "the parent's name, in a VMDK's descriptor")?);
        text.push(b'"');
    }
    Ok(text)
}

/// What a virtual machine has to know.
fn data_base(size: u64, options: &Options<'_>) -> Result<Vec<u8>, Error> {
    let hw_version = options.hw_version.unwrap_or(if options.compat6 { b"6" } else { b"4" });
    let heads = options.adapter.heads();
    let geometry = format!(
        "\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.adapterType = \"{adapter}\"\n\
         ddb.toolsVersion = \"",
        cylinders = size / (heads * SECTORS_PER_TRACK * SECTOR),
        adapter = options.adapter.name(),
    );
    let parts = [
        b"\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"",
        sayable(hw_version, "the hardware version, in a VMDK's descriptor")?,
        geometry.as_bytes(),
        sayable(options.tools_version.unwrap_or(b"2147483647"), "the tools version, in a VMDK's descriptor")?,
        b"\"\n",
    ];
    Ok(parts.concat())
}

/// What stands in the quotes of an extent's line.
fn extent_name(options: &Options<'_>, index: u32) -> Result<Vec<u8>, Error> {
    let name = nonempty(options.name, MAX_EXTENT_NAME_LEN, "a VMDK without a name")?;
    let Some(file) = options.subformat.extent_file(index) else { return Ok(harmless(name)) };
    let what = "a name with this character, for a VMDK of several files";
    // What stands before a colon would be a protocol, and before a slash a directory.
    if name.iter().any(|byte| matches!(byte, b':' | b'/')) {
        return Err(Error::new(ErrorKind::UnsupportedFeature, 0, what));
    }
    let name = file.name(sayable(name, what)?);
    nonempty(&name, MAX_EXTENT_NAME_LEN, "a VMDK without a name")?;
    Ok(name)
}

fn nonempty<'n>(name: &'n [u8], max_len: usize, without: &'static str) -> Result<&'n [u8], Error> {
    match name.len() {
        0 => Err(Error::new(ErrorKind::UnsupportedFeature, 0, without)),
        len if len > max_len => Err(Error::new(ErrorKind::TooLarge, 0, "a file's name, for a VMDK")),
        _ => Ok(name),
    }
}

/// `text`, if it may stand in a descriptor's quotes.
fn sayable<'t>(text: &'t [u8], what: &'static str) -> Result<&'t [u8], Error> {
    let odd = (0..text.len()).any(|at| is_odd(text, at));
    if odd { Err(Error::new(ErrorKind::UnsupportedFeature, 0, what)) } else { Ok(text) }
}

/// The name of a file that holds the whole disk, for people: readers take the file that they are in.
fn harmless(name: &[u8]) -> Vec<u8> {
    name.iter().enumerate().map(|(at, &byte)| if is_odd(name, at) { b'_' } else { byte }).collect()
}

/// Whether the byte at `at` may not stand in a descriptor's quotes.
///
/// There is no way to escape a character, so it is what would end the quotes or the line; and the beginning of a key for
/// which `qemu-img` searches the whole text, or a file's name could give its disk a parent.
fn is_odd(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    rest.first().is_some_and(|&byte| byte.is_ascii_control() || byte == b'"')
        || rest.starts_with(b"parentFileNameHint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Parent, Subformat};

    #[test]
    fn odd_names_become_harmless_or_are_refused() {
        assert_eq!(harmless(b"a disk's.vmdk"), b"a disk's.vmdk");
        assert_eq!(harmless("плита\u{7f}.vmdk".as_bytes()), "плита_.vmdk".as_bytes());
        assert_eq!(harmless(b"a\"b\nc\r\0\xff"), b"a_b_c__\xff");
        assert_eq!(harmless(b"parentFileNameHint=xetc"), b"_arentFileNameHint=xetc");

        let named = |subformat, name| {
            let options = Options { subformat, ..Options::new(1, name) };
            descriptor(1 << 20, &options).map_err(|error| error.kind)
        };
        let refused = Err(ErrorKind::UnsupportedFeature);
        let too_large = Err(ErrorKind::TooLarge);
        for name in [b"a\"b".as_slice(), b"a\nb", b"parentFileNameHint=x", b"nbd:a", b"d/a"] {
            assert!(named(Subformat::MonolithicSparse, name).is_ok());
            assert_eq!(named(Subformat::MonolithicFlat, name), refused);
        }
        for subformat in [Subformat::MonolithicSparse, Subformat::TwoGbMaxExtentSparse] {
            assert_eq!(named(subformat, b""), refused);
            assert_eq!(named(subformat, &[b'n'; 512]), too_large);
        }
        assert!(named(Subformat::MonolithicSparse, &[b'n'; 511]).is_ok());
        assert!(named(Subformat::MonolithicFlat, &[b'n'; 506]).is_ok());
        assert_eq!(named(Subformat::MonolithicFlat, &[b'n'; 507]), too_large);
    }

    #[test]
    fn descriptors_have_a_length() {
        let len = |options: &Options<'_>| {
            descriptor(1 << 40, options).map(|text| text.len()).map_err(|error| error.kind)
        };
        let parent = Parent { cid: 7, name: &[b'p'; 4095] };
        let options = Options { parent: Some(parent), ..Options::new(0xad4c_db96, &[b'n'; 511]) };
        assert!(len(&options).unwrap() < 20 * 512);
        let versions = Options { tools_version: Some(&[b't'; 6000]), ..options };
        assert_eq!(len(&versions), Err(ErrorKind::TooLarge));
        let many = Options { subformat: Subformat::TwoGbMaxExtentSparse, ..Options::new(1, &[b'n'; 506]) };
        assert_eq!(len(&many), Err(ErrorKind::TooLarge));
        assert!(len(&Options { name: &[b'n'; 400], ..many }).is_ok());
    }

    #[test]
    fn versions_and_parents_are_text() {
        let odd: [(&[u8], ErrorKind); 4] = [
            (b"\"", ErrorKind::UnsupportedFeature),
            (b"\n", ErrorKind::UnsupportedFeature),
            (b"parentFileNameHint=\"x", ErrorKind::UnsupportedFeature),
            (&[b'p'; 10240], ErrorKind::TooLarge),
        ];
        for (text, kind) in odd {
            let refuses = |options: Options<'_>| {
                assert_eq!(descriptor(512, &options).unwrap_err().kind, kind, "{text:?}");
            };
            refuses(Options { hw_version: Some(text), ..Options::new(1, b"n") });
            refuses(Options { tools_version: Some(text), ..Options::new(1, b"n") });
            refuses(Options { parent: Some(Parent { cid: 1, name: text }), ..Options::new(1, b"n") });
        }
    }
}
