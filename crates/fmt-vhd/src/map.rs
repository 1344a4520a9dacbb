//! Where a VHD disk's bytes are.

use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, ReadAt, SECTOR, Source};

use crate::blocks::Blocks;
use crate::footer::{DiskType, Footer};
use crate::header::Header;
use crate::parent::Parent;
use crate::raw;

/// A VHD disk: the blocks of `source`.
///
/// What no block of a dynamic disk holds reads as zeros. In a differencing disk what is not written is
/// [`Source::Unallocated`]: the [`parent`](Self::parent)'s, and it is for the caller to find that.
///
/// # Where this differs from `qemu-img`
///
/// `qemu-img` reads a differencing image as if it had no parent and no bitmaps. This does as the specification says.
///
/// It agrees with `qemu-img` where that goes its own way: the sector bitmaps of a dynamic disk are not looked at, of
/// the two footers of such an image only the first counts, and blocks may overlap each other.
///
/// What `qemu-img` refuses is refused. So is some of what it reads: a dynamic disk header whose checksum is wrong,
/// versions and disk types that do not exist, blocks of less than 4096 bytes, headers or tables that are not aligned to
/// sectors, what overlaps a header or the table, a file that ends within a block's last sector, a fixed disk that is
/// larger than its file, and a file that ends as a fixed image and begins as another.
#[derive(Debug)]
pub struct VhdMap<S> {
    source: S,
    file: FileId,
    footer: Footer,
    /// `None` in a fixed image.
    blocks: Option<Blocks>,
}

impl<S: ReadAt> VhdMap<S> {
    /// Opens the image in `source`. The extents will say that the data is in `file`.
    ///
    /// The whole block allocation table is read once, through a window.
    ///
    /// # Errors
    ///
    /// Those of [`Footer::parse`] and [`Header::read`]; [`ErrorKind::Corrupt`] for a block, or a fixed disk, that does
    /// not lie in the file, and for two footers of which one is a fixed image's and one is not.
    pub fn open(source: S, file: FileId) -> Result<Self, Error> {
        let mut buf = [0; size_of::<raw::Footer>()];
        let first = match Footer::parse(source.read_up_to(0, &mut buf)?, 0) {
            Err(error) if error.kind == ErrorKind::NotThisFormat => None,
            first => Some(first?),
        };
        let last_at = last_footer_at(source.file_len());
        let last = Footer::parse(source.read_up_to(last_at, &mut buf)?, last_at);
        match first {
            Some(footer) => Self::open_dynamic(source, file, footer, last.ok()),
            None => Self::open_fixed(source, file, last?, last_at),
        }
    }

    fn open_fixed(source: S, file: FileId, footer: Footer, footer_at: u64) -> Result<Self, Error> {
        let corrupt = |what| Err(Error::new(ErrorKind::Corrupt, footer_at, what));
        if footer.disk_type() != DiskType::Fixed {
            return corrupt("the copy of the footer at the start of the file is missing");
        }
        if footer.size() > footer_at {
            return corrupt("the disk is larger than the file");
        }
        Ok(Self { source, file, footer, blocks: None })
    }

    fn open_dynamic(source: S, file: FileId, footer: Footer, last: Option<Footer>) -> Result<Self, Error> {
        let corrupt = |what| Err(Error::new(ErrorKind::Corrupt, 0, what));
        if footer.disk_type() == DiskType::Fixed {
            return corrupt("the footer of a fixed disk stands at the start of the file");
        }
        // A machine can write what it likes to the start of its fixed disk, an image of another disk for example.
        if last.is_some_and(|last| last.disk_type() == DiskType::Fixed) {
            return corrupt(
                "the footer at the end of the file is that of a fixed disk, the one at its start is not",
            );
        }
        let header = Header::read(&source, &footer)?;
        let blocks = Blocks::open(&source, header)?;
        Ok(Self { source, file, footer, blocks: Some(blocks) })
    }

    /// The footer.
    #[must_use]
    pub const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The dynamic disk header; `None` in a fixed image.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.blocks.as_ref().map(Blocks::header)
    }

    /// The byte offset in the file behind all blocks, the table and the header; `None` in a fixed image.
    pub(crate) fn blocks_end(&self) -> Option<u64> {
        self.blocks.as_ref().map(Blocks::end)
    }

    /// What a differencing image says about its parent; `None` in any other.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.header().and_then(Header::parent)
    }

    /// The file that the image is in, as it was given to [`open`](Self::open).
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }
}

impl<S: ReadAt> DiskMap for VhdMap<S> {
    fn virtual_size(&self) -> u64 {
        self.footer.size()
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        let size = self.footer.size();
        if at >= size {
            return Err(Error::new(ErrorKind::Io, at, "there is nothing behind the end of the disk"));
        }
        match &mut self.blocks {
            None => Ok(Extent { start: 0, len: size, source: Source::Data { file: self.file, offset: 0 } }),
            Some(blocks) => blocks.extent_at(&self.source, self.file, at, size),
        }
    }
}

/// Where the last footer begins in a file of `file_len` bytes. Footers before Virtual PC 2004 lacked their last byte.
pub(crate) const fn last_footer_at(file_len: u64) -> u64 {
    file_len.saturating_sub(1) / SECTOR * SECTOR
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::parent::Platform;
    use crate::testing::{BODY, IMAGE, Image, disk_bytes, fixed_image};

    const BLOCK: u32 = 4096;
    const ALL: &[u8] = &[0xff];

    fn data(offset: u64) -> Source {
        Source::Data { file: IMAGE, offset }
    }

    fn extents(image: &[u8]) -> Vec<Extent> {
        let mut map = VhdMap::open(image, IMAGE).unwrap();
        map.extents(0..u64::MAX).collect::<Result<_, _>>().unwrap()
    }

    #[track_caller]
    fn refused(image: &[u8], at: u64, what: &str) {
        let error = VhdMap::open(image, IMAGE).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.at), (ErrorKind::Corrupt, at), "{error}");
        assert!(error.what.contains(what), "{error}");
    }

    #[test]
    fn blocks_are_where_the_table_says() {
        let image = Image::new(5 * 4096 - 512, BLOCK).block(4, ALL).block(1, ALL).bytes();
        let expected = [
            Extent { start: 0, len: 4096, source: Source::Zero },
            Extent { start: 4096, len: 4096, source: data(2048 + 512 + 4096 + 512) },
            Extent { start: 8192, len: 8192, source: Source::Zero },
            Extent { start: 16384, len: 3584, source: data(2048 + 512) },
        ];
        assert_eq!(extents(&image), expected);
    }

    #[test]
    fn nothing_is_behind_the_disk() {
        let image = Image::new(4096, BLOCK).bytes();
        let mut map = VhdMap::open(image.as_slice(), IMAGE).unwrap();
        assert_eq!(map.extent_at(4096).unwrap_err().kind, ErrorKind::Io);
        assert_eq!(map.extent_at(u64::MAX).unwrap_err().kind, ErrorKind::Io);
    }

    /// `qemu-img` reads a sector whose bit is 0 as it stands in the block.
    #[test]
    fn the_bitmap_of_a_dynamic_disk_does_not_count() {
        let with = Image::new(4096, BLOCK).block(0, ALL).bytes();
        let without = Image::new(4096, BLOCK).block(0, &[0]).bytes();
        assert_eq!(extents(&with), extents(&without));
    }

    /// Checked once with an independent reader (7-Zip), which gave the same bytes for such a pair of images.
    #[test]
    fn the_bitmap_of_a_differencing_disk_decides_sector_by_sector() {
        let image = Image::new(2 * 4096, BLOCK).block(1, &[0b0110_0001, 0xff]).differencing().bytes();
        let block = 2048 + 512;
        let expected = [
            Extent { start: 0, len: 4096, source: Source::Unallocated },
            Extent { start: 4096, len: 512, source: Source::Unallocated },
            Extent { start: 4096 + 512, len: 1024, source: data(block + 512) },
            Extent { start: 4096 + 1536, len: 2048, source: Source::Unallocated },
            Extent { start: 4096 + 3584, len: 512, source: data(block + 3584) },
        ];
        assert_eq!(extents(&image), expected);
    }

    #[test]
    fn a_question_in_the_middle_of_a_run_of_sectors_is_answered() {
        let image = Image::new(4096, BLOCK).block(0, &[0b0111_1111]).differencing().bytes();
        let mut map = VhdMap::open(image.as_slice(), IMAGE).unwrap();
        let expected = Extent { start: 1024, len: 3072, source: data(2048 + 512 + 1024) };
        assert_eq!(map.extent_at(1030), Ok(expected));
    }

    /// A bitmap of eight sectors, so that it takes more than one look.
    #[test]
    fn large_bitmaps_are_seen_to_their_end() {
        let image = Image::new(16 << 20, 16 << 20).block(0, ALL).differencing().bytes();
        assert_eq!(extents(&image).iter().map(|extent| extent.len).sum::<u64>(), 16 << 20);
        let disk = disk_bytes(&image, None).unwrap();
        assert_eq!(disk[..], image[2048 + 4096..][..16 << 20]);
    }

    #[test]
    fn the_parent_comes_back_as_bytes() {
        let mut image = Image::new(4096, BLOCK).differencing();
        image.header.parent_unique_id = [7; 16];
        image.header.parent_time_stamp.set(77);
        image.header.parent_unicode_name[..4].copy_from_slice(b"\0p\0q");
        let locator = &mut image.header.parent_locators[3];
        locator.platform_code = *b"W2ru";
        locator.platform_data_length.set(4);
        locator.platform_data_offset.set(2048);
        image.body = b".\0p\0".to_vec();
        image.body.resize(512, 0);
        let bytes = image.bytes();
        let map = VhdMap::open(bytes.as_slice(), IMAGE).unwrap();
        let parent = map.parent().unwrap();
        assert_eq!((parent.unique_id(), parent.time_stamp(), parent.name()), ([7; 16], 77, &b"\0p\0q"[..]));
        let locators: Vec<_> = parent.locators().collect();
        assert_eq!(locators[0].platform, Platform::WindowsRelative);
        assert_eq!(locators[0].read(map.source()).unwrap(), b".\0p\0");
        assert_eq!(locators.len(), 1);

        image.footer.disk_type.set(3);
        let bytes = image.bytes();
        assert!(VhdMap::open(bytes.as_slice(), IMAGE).unwrap().parent().is_none());
    }

    #[test]
    fn a_fixed_disk_is_what_comes_before_its_footer() {
        let image = fixed_image(&[7; 1024]);
        assert_eq!(extents(&image), [Extent { start: 0, len: 1024, source: data(0) }]);
        // The footer of old had one byte less.
        assert_eq!(extents(&image[..1535]), extents(&image));
        assert!(VhdMap::open(&image[..1024], IMAGE).is_err());
        refused(&[&image[..512], &image[1024..]].concat(), 512, "larger than the file");
    }

    #[test]
    fn footers_that_disagree() {
        let good = Image::new(4096, BLOCK).block(0, ALL).bytes();
        let end = good.len();
        // As `qemu-img`: the last footer may be missing or broken, or tell another size.
        assert_eq!(extents(&good[..end - 512]), extents(&good));
        let mut broken = good.clone();
        broken[end - 10] ^= 1;
        assert_eq!(extents(&broken), extents(&good));
        let other = Image::new(512, BLOCK).bytes();
        let smaller = [&good[..end - 512], &other[..512]].concat();
        assert_eq!(extents(&smaller), extents(&good));
        // As `qemu-img`: the last footer does not stand in for the first.
        let mut broken = good.clone();
        broken[100] ^= 1;
        refused(&broken, 0, "checksum of the footer");
        broken[0] ^= 1;
        refused(&broken, end as u64 - 512, "copy of the footer");
    }

    /// A machine wrote a dynamic image to the start of its own fixed disk: that must not turn one into the other.
    #[test]
    fn an_image_inside_a_fixed_disk_is_not_taken_for_the_whole() {
        let inner = Image::new(4096, BLOCK).block(0, ALL).differencing().bytes();
        refused(&fixed_image(&inner), 0, "that of a fixed disk");
        refused(&fixed_image(&fixed_image(&[0; 0])), 0, "fixed disk stands at the start");
    }

    #[test]
    fn blocks_that_lie_elsewhere_than_in_the_file_are_refused() {
        let image = |entry| {
            let mut image = Image::new(3 * 4096, BLOCK).block(0, ALL);
            image.table[2] = entry;
            image.bytes()
        };
        // The block and its bitmap are nine sectors, the last footer is one.
        assert!(VhdMap::open(image(BODY + 1).as_slice(), IMAGE).is_ok());
        for entry in [BODY + 2, 1 << 31, u32::MAX - 1] {
            refused(&image(entry), 1536 + 8, "beyond the end of the file");
        }
        for entry in 0..BODY {
            refused(&image(entry), 1536 + 8, "overlaps a header");
        }
    }

    /// Entries behind the disk's last block count too, as in `qemu-img`.
    #[test]
    fn an_unneeded_entry_is_checked() {
        let mut image = Image::new(4096, BLOCK);
        image.table.extend([raw::UNUSED, 0x00ff_ffff]);
        image.header.max_table_entries.set(3);
        refused(&image.bytes(), 1536 + 8, "beyond the end of the file");
        image.header.max_table_entries.set(2);
        assert!(VhdMap::open(image.bytes().as_slice(), IMAGE).is_ok());
    }

    /// `qemu-img` reads what lies there twice.
    #[test]
    fn blocks_may_overlap() {
        let mut image = Image::new(2 * 4096, BLOCK).block(0, ALL);
        image.table[1] = image.table[0];
        let disk = disk_bytes(&image.bytes(), None).unwrap();
        assert_eq!(disk[..4096], disk[4096..]);
    }

    #[test]
    fn headers_and_tables_that_lie_elsewhere_than_in_the_file_are_refused() {
        let image = |data_offset: u64, table_offset: u64| {
            let mut image = Image::new(4096, BLOCK).block(0, ALL);
            image.footer.data_offset.set(data_offset);
            image.header.table_offset.set(table_offset);
            image.bytes()
        };
        let len = image(512, 1536).len() as u64;
        for offset in [0, 1, 511, 513, len, len - 512, 1 << 63, u64::MAX - 511, u64::MAX] {
            refused(&image(offset, 1536), 0, "leads to no place");
        }
        refused(&image(1024, 1536), 1024, "no dynamic disk header");
        for offset in [len, 1 << 40, 1 << 63, u64::MAX - 511] {
            refused(&image(512, offset), 512, "reaches beyond");
        }
        for offset in [1, 1537, 1540, u64::MAX] {
            refused(&image(512, offset), 512, "not aligned");
        }
        for offset in [0, 512, 1024] {
            refused(&image(512, offset), 512, "overlaps a header");
        }
    }

    #[test]
    fn tables_of_another_length_than_the_disk_needs() {
        let image = |entries| {
            let mut image = Image::new(3 * 4096, BLOCK);
            image.header.max_table_entries.set(entries);
            image.bytes()
        };
        refused(&image(0), 512, "fewer entries");
        refused(&image(2), 512, "fewer entries");
        assert!(VhdMap::open(image(128).as_slice(), IMAGE).is_ok());
        refused(&image(1000), 512, "reaches beyond");
        refused(&image(0x2000_0000), 512, "too many entries");
        refused(&image(u32::MAX), 512, "too many entries");
    }

    #[test]
    fn block_sizes_that_do_not_exist_are_refused() {
        let open = |block_size| {
            let mut image = Image::new(4096, BLOCK);
            image.header.block_size.set(block_size);
            VhdMap::open(image.bytes().as_slice(), IMAGE).map(|_| ()).map_err(|error| error.kind)
        };
        for size in [0, 1, 511, 3 << 20, u32::MAX] {
            let kind = if size == 1 { ErrorKind::UnsupportedFeature } else { ErrorKind::Corrupt };
            assert_eq!(open(size), Err(kind), "{size}");
        }
        for size in [512, 1024, 2048] {
            assert_eq!(open(size), Err(ErrorKind::UnsupportedFeature), "{size}");
        }
        assert_eq!((open(1 << 31), open(4096)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_header_with_a_wrong_checksum_or_version_is_refused() {
        let mut image = Image::new(4096, BLOCK);
        let mut bytes = image.bytes();
        bytes[512 + 900] ^= 1;
        refused(&bytes, 512, "checksum of the dynamic disk header");
        image.header.header_version.set(0x0002_0000);
        let error = VhdMap::open(image.bytes().as_slice(), IMAGE).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    }
}
