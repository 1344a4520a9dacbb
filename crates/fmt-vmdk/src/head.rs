//! The first bytes of a sparse extent that is written: header and embedded descriptor.

use alloc::format;
use alloc::vec::Vec;

use fmt_core::{Error, ErrorKind, SECTOR};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::descriptor::NO_PARENT;
use crate::layout::{DESCRIPTOR_SECTORS, GRAIN_LEN, GTES_PER_GT, HEAD_LEN, Layout};
use crate::limits::MAX_EXTENT_NAME_LEN;
use crate::plan::Options;
use crate::raw::{self, Flags};

const HEADS: u64 = 16;
const SECTORS_PER_TRACK: u64 = 63;

/// The header and the descriptor of a monolithicSparse disk.
pub(crate) fn monolithic_sparse(layout: &Layout, options: &Options<'_>) -> Result<Vec<u8>, Error> {
    let header = raw::SparseHeader {
        magic: raw::SPARSE_MAGIC,
        version: U32::new(1),
        flags: U32::new((Flags::NEWLINES | Flags::REDUNDANT).bits()),
        capacity: U64::new(layout.size / SECTOR),
        grain_size: U64::new(GRAIN_LEN / SECTOR),
        descriptor_offset: U64::new(1),
        descriptor_size: U64::new(DESCRIPTOR_SECTORS),
        #[expect(clippy::cast_possible_truncation, reason = "512")]
        num_gtes_per_gt: U32::new(GTES_PER_GT as u32),
        rgd_offset: U64::new(layout.rgd_at / SECTOR),
        gd_offset: U64::new(layout.gd_at / SECTOR),
        overhead: U64::new(layout.grains_at / SECTOR),
        newlines: raw::NEWLINES,
        compress_algorithm: U16::new(0),
        ..raw::SparseHeader::default()
    };
    let mut head = header.as_bytes().to_vec();
    descriptor(&mut head, layout.size, options)?;
    // The text is far shorter than its place.
    #[expect(clippy::cast_possible_truncation, reason = "21 sectors")]
    head.resize(HEAD_LEN as usize, 0);
    Ok(head)
}

/// The text, whose lines and order are those that `qemu-img` writes.
fn descriptor(text: &mut Vec<u8>, size: u64, options: &Options<'_>) -> Result<(), Error> {
    let Options { cid, .. } = options;
    let before = format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:x}\n\
         parentCID={NO_PARENT:x}\n\
         createType=\"monolithicSparse\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"",
        sectors = size / SECTOR,
    );
    let after = format!(
        "\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.virtualHWVersion = \"4\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.adapterType = \"ide\"\n\
         ddb.toolsVersion = \"2147483647\"\n",
        cylinders = size / (HEADS * SECTORS_PER_TRACK * SECTOR),
    );
    text.extend_from_slice(before.as_bytes());
    text.extend_from_slice(&harmless(options.name)?);
    text.extend_from_slice(after.as_bytes());
    Ok(())
}

/// The name as it may stand in a descriptor's quotes.
///
/// The name of a monolithicSparse file is for people: readers take the file that they are in. There is no way to escape
/// a character, so what would end the quotes or the line becomes `_`; and so does the beginning of a key for which
/// `qemu-img` searches the whole text, or a file's name could give its disk a parent.
fn harmless(name: &[u8]) -> Result<Vec<u8>, Error> {
    const PARENT: &[u8] = b"parentFileNameHint";
    if name.is_empty() {
        return Err(Error::new(ErrorKind::UnsupportedFeature, 0, "a VMDK without a name"));
    }
    if name.len() > MAX_EXTENT_NAME_LEN {
        return Err(Error::new(ErrorKind::TooLarge, 0, "the file's name, for a VMDK"));
    }
    let begins_key = |at: usize| name.get(at..).is_some_and(|rest| rest.starts_with(PARENT));
    let byte = |(at, &byte): (usize, &u8)| {
        let odd = byte.is_ascii_control() || byte == b'"' || begins_key(at);
        if odd { b'_' } else { byte }
    };
    Ok(name.iter().enumerate().map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_become_harmless() {
        let name = |name: &[u8]| harmless(name).unwrap();
        assert_eq!(name(b"a disk's.vmdk"), b"a disk's.vmdk");
        assert_eq!(name("плита\u{7f}.vmdk".as_bytes()), "плита_.vmdk".as_bytes());
        assert_eq!(name(b"a\"b\nc\r\0\xff"), b"a_b_c__\xff");
        assert_eq!(name(b"parentFileNameHint=xetc"), b"_arentFileNameHint=xetc");
        assert_eq!(harmless(b"").unwrap_err().kind, ErrorKind::UnsupportedFeature);
        assert_eq!(harmless(&[b'n'; 511]).unwrap().len(), 511);
        assert_eq!(harmless(&[b'n'; 512]).unwrap_err().kind, ErrorKind::TooLarge);
    }

    #[test]
    fn the_head_fills_its_place() {
        let layout = Layout::new(1 << 30).unwrap();
        let head = monolithic_sparse(&layout, &Options::new(0xad4c_db96, &[b'n'; 511])).unwrap();
        assert_eq!(head.len(), 21 * 512);
        assert!(head.ends_with(&[0; 512]));
    }
}
