//! Page tables: what the guest's addresses mean.
//!
//! Four levels of 4 KiB tables (Intel SDM volume 3, "4-Level Paging"; AMD volume 2, "Long-Mode Page Translation").
//! Every address is its own translation. Everything that is mapped is the user's, nothing else is present, and the
//! tables are mapped nowhere, so the guest can neither change nor read them. The doorbell's page is mapped, and has no
//! memory behind it: writing to it leaves the guest.

use guest_abi::layout::{BOOT_ADDR, DOORBELL_ADDR, PAGE_SIZE};

use crate::image::Access;
use crate::space::Region;

/// Where the tables lie in physical memory; the first is the root.
pub(crate) const TABLES_ADDR: u64 = PAGE_SIZE;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Set beforehand, so that the processor never writes to the tables.
const ACCESSED: u64 = 1 << 5;
/// As `ACCESSED`.
const DIRTY: u64 = 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// One table.
type Table = [u64; 512];

/// The tables that map some regions and the doorbell, to be put at [`TABLES_ADDR`].
#[derive(Debug)]
pub(crate) struct PageTables {
    tables: Vec<Table>,
}

impl PageTables {
    /// Maps `regions`, which must not share pages, and the doorbell.
    pub(crate) fn new(regions: &[Region]) -> Self {
        let mut tables = Self { tables: vec![[0; 512]] };
        tables.map(DOORBELL_ADDR, Access::ReadWrite);
        for region in regions {
            let end = region.addr + region.len;
            for addr in (region.addr..end).step_by(PAGE_SIZE as usize) {
                tables.map(addr, region.access);
            }
        }
        tables
    }

    fn map(&mut self, addr: u64, access: Access) {
        let leaf = (0..3).fold(0, |table, level| self.descend(table, index(addr, level)));
        let rights = match access {
            Access::Read => NO_EXECUTE,
            Access::ReadExecute => 0,
            Access::ReadWrite => NO_EXECUTE | WRITABLE,
        };
        self.tables[leaf][index(addr, 3)] = addr | PRESENT | USER | ACCESSED | DIRTY | rights;
    }

    /// The number of the table behind an entry of `table`, made if there is none.
    fn descend(&mut self, table: usize, entry: usize) -> usize {
        let value = self.tables[table][entry];
        if value & PRESENT != 0 {
            return ((value & FRAME) - TABLES_ADDR) as usize / PAGE_SIZE as usize;
        }
        let next = self.tables.len();
        self.tables.push([0; 512]);
        let frame = TABLES_ADDR + next as u64 * PAGE_SIZE;
        assert!(frame < BOOT_ADDR, "the tables of an address space this small fit below it");
        // The rights are all in the last level: here they only must not be narrower.
        self.tables[table][entry] = frame | PRESENT | USER | WRITABLE | ACCESSED;
        next
    }

    /// The tables' bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        zerocopy::IntoBytes::as_bytes(self.tables.as_slice())
    }
}

/// The index into the table of `level` (0 is the root) for an address: nine bits a level, above twelve.
const fn index(addr: u64, level: u32) -> usize {
    (addr >> (39 - 9 * level)) as usize & 511
}

#[cfg(test)]
mod tests {
    use guest_abi::layout::{IMAGE_ADDR, MEMORY_LEN, STACK_ADDR};

    use super::*;
    use crate::image::{GuestImage, Segment};
    use crate::space::{Content, regions};

    /// What a processor finds for `addr` in the bytes of the tables.
    fn walk(bytes: &[u8], addr: u64) -> Option<u64> {
        let entry = |frame: u64, level: u32| {
            let at = (frame - TABLES_ADDR) as usize + index(addr, level) * 8;
            let entry = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            (entry & PRESENT != 0).then_some(entry)
        };
        (0..4).try_fold(TABLES_ADDR, |frame, level| entry(frame & FRAME, level))
    }

    fn image() -> GuestImage<'static> {
        let segment = |addr, len, access| Segment { addr, len, bytes: &[], access };
        GuestImage {
            entry: IMAGE_ADDR,
            segments: vec![
                segment(IMAGE_ADDR, 0x1955, Access::ReadExecute),
                segment(IMAGE_ADDR + 0x2000, 0x6d0, Access::Read),
                segment(IMAGE_ADDR + 0x3000, 0x10, Access::ReadWrite),
            ],
        }
    }

    /// Reads the whole address space back, page by page.
    #[test]
    fn every_page_has_the_rights_of_its_region_or_is_absent() {
        let regions = regions(&image());
        let tables = PageTables::new(&regions);
        let (addr, len, access) = (DOORBELL_ADDR, PAGE_SIZE, Access::ReadWrite);
        let doorbell = Region { addr, len, access, content: Content::Shared };
        for addr in (0..MEMORY_LEN + (4 << 20)).step_by(PAGE_SIZE as usize) {
            let region = regions.iter().chain([&doorbell]).find(|r| (r.addr..r.addr + r.len).contains(&addr));
            let found = walk(tables.bytes(), addr);
            let Some(region) = region else {
                assert_eq!(found, None, "{addr:#x} is mapped");
                continue;
            };
            let entry = found.unwrap_or_else(|| panic!("{addr:#x} is not mapped"));
            assert_eq!(entry & FRAME, addr, "the translation of an address is itself");
            assert_ne!(entry & USER, 0, "{addr:#x}");
            assert_eq!(entry & WRITABLE != 0, region.access == Access::ReadWrite, "{addr:#x}");
            assert_eq!(entry & NO_EXECUTE == 0, region.access == Access::ReadExecute, "{addr:#x}");
        }
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        let tables = PageTables::new(&regions(&image()));
        for addr in (0..MEMORY_LEN).step_by(PAGE_SIZE as usize) {
            let entry = walk(tables.bytes(), addr).unwrap_or(NO_EXECUTE);
            assert!(entry & WRITABLE == 0 || entry & NO_EXECUTE != 0, "{addr:#x}");
        }
    }

    #[test]
    fn the_tables_and_the_null_page_are_mapped_nowhere() {
        let tables = PageTables::new(&regions(&image()));
        let end = TABLES_ADDR + tables.bytes().len() as u64;
        for addr in (0..end).step_by(PAGE_SIZE as usize) {
            assert_eq!(walk(tables.bytes(), addr), None, "{addr:#x}");
        }
        // Identity: no other address leads there either.
        for addr in (0..MEMORY_LEN).step_by(PAGE_SIZE as usize) {
            assert!(walk(tables.bytes(), addr).is_none_or(|entry| entry & FRAME >= end), "{addr:#x}");
        }
    }

    #[test]
    fn unmapped_pages_guard_every_region() {
        let regions = regions(&image());
        let tables = PageTables::new(&regions);
        for region in regions.iter().filter(|region| region.addr < IMAGE_ADDR || region.addr >= STACK_ADDR) {
            assert_eq!(walk(tables.bytes(), region.addr - PAGE_SIZE), None);
            assert_eq!(walk(tables.bytes(), region.addr + region.len), None);
        }
    }
}
