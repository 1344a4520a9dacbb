//! Headers, each by itself: any bytes are a header that means something, or an error.
//!
//! An input is the beginning of a file, which each parser takes for its own.

#![no_main]

use fmt_core::testing::Counted;
use fmt_core::{ReadAt, SECTOR};
use fmt_vhdx::region::Region;
use fmt_vmdk::header::Head;
use libfuzzer_sys::fuzz_target;
use zerocopy::FromBytes;

fuzz_target!(|input: &[u8]| {
    check_qcow2(input);
    check_vmdk(input);
    check_vhd(input);
    check_vhdx(input);
});

fn check_qcow2(input: &[u8]) {
    use fmt_qcow2::limits::{MAX_BACKING_FILE_LEN, MAX_DATA_FILE_LEN, MAX_L1_LEN};
    let Ok(header) = fmt_qcow2::Header::read(input) else { return };
    let (geometry, l1) = (header.geometry(), header.l1());
    let entries = u64::from(l1.entries);
    assert!(geometry.is_aligned(l1.offset), "{l1:?}");
    assert!(entries >= geometry.l1_entries(header.virtual_size()), "{l1:?} is too short");
    assert!(entries * 8 <= MAX_L1_LEN && l1.offset.checked_add(MAX_L1_LEN).is_some(), "{l1:?}");
    assert!([1, 2, 4, 8, 16, 32, 64].contains(&header.refcount_bits()));
    let is_name = |name: &[u8], most: u64| !name.is_empty() && name.len() as u64 <= most;
    assert!(header.backing_file().is_none_or(|file| is_name(&file.name, MAX_BACKING_FILE_LEN)));
    assert!(header.data_file().is_none_or(|file| is_name(&file.name, MAX_DATA_FILE_LEN)));
}

fn check_vmdk(input: &[u8]) {
    use fmt_vmdk::limits::{
        MAX_DISK_LEN, MAX_EXTENT_NAME_LEN, MAX_EXTENTS, MAX_GD_ENTRIES, MAX_GRAIN_SECTORS,
    };
    if let Ok(Head::Sparse(extent)) = fmt_vmdk::header::read(input) {
        assert!(extent.len <= MAX_DISK_LEN && extent.gd_entries <= MAX_GD_ENTRIES, "{extent:?}");
        assert!(extent.grain_len > 0 && extent.grain_len <= MAX_GRAIN_SECTORS * SECTOR, "{extent:?}");
        let reach =
            u128::from(extent.grain_len) * u128::from(extent.gtes_per_gt) * u128::from(extent.gd_entries);
        assert!(reach >= extent.len.into(), "the directory is too short: {extent:?}");
    }
    if let Ok(descriptor) = fmt_vmdk::Descriptor::read(input, 0) {
        let extents = &descriptor.extents;
        assert!((1..=MAX_EXTENTS).contains(&extents.len()));
        assert!(extents.iter().all(|extent| extent.name.len() <= MAX_EXTENT_NAME_LEN));
    }
    let file = Counted::new(input);
    let _ = fmt_vmdk::Identity::read(&file, 0);
    assert!(file.take_bytes() <= fmt_vmdk::limits::IDENTITY_LEN as u64);
}

/// A footer, and behind it a header.
fn check_vhd(input: &[u8]) {
    use fmt_vhd::footer::MAX_DISK_SIZE;
    let Ok(footer) = fmt_vhd::Footer::parse(input, 0) else { return };
    assert!(footer.size().is_multiple_of(SECTOR) && footer.size() <= MAX_DISK_SIZE);
    let Ok(header) = fmt_vhd::Header::read(input, &footer) else { return };
    assert!(header.block_size().is_power_of_two());
    assert!(header.block_size() * u64::from(header.entries()) >= footer.size(), "the table is too short");
    assert!(header.table_offset() + u64::from(header.entries()) * 4 <= input.file_len());
    if let Some(parent) = header.parent() {
        for locator in parent.locators() {
            let _ = locator.read(input);
        }
    }
}

/// Structures that lie apart in a file: each may begin with the input.
fn check_vhdx(input: &[u8]) {
    let log = Region { at: 1 << 20, len: 1 << 20 };
    if let Ok((header, _)) = fmt_vhdx::raw::Header::read_from_prefix(input)
        && let Ok(header) = fmt_vhdx::Header::parse(&header, 64 << 10)
    {
        assert!(header.log.at >= 1 << 20 && header.log.end().is_some(), "{header:?}");
    }
    if let Ok(regions) = fmt_vhdx::Regions::parse(input, 192 << 10, log) {
        for region in [regions.bat, regions.metadata] {
            assert!(region.at >= 1 << 20 && region.end().is_some(), "{region:?}");
            assert!(regions.touches(region.at, 1), "{region:?} may be overwritten");
        }
    }
    let whole = Region { at: 0, len: input.file_len() };
    if let Ok(metadata) = fmt_vhdx::Metadata::read(input, whole) {
        assert!(metadata.block_size.is_power_of_two() && (1 << 20..=1 << 28).contains(&metadata.block_size));
        assert!([512, 4096].contains(&metadata.logical_sector_size));
        assert!(metadata.virtual_size <= fmt_vhdx::metadata::MAX_VIRTUAL_SIZE);
    }
    let _ = fmt_vhdx::ParentLocator::read(input, whole);
}
