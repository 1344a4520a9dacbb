//! What a guest in a process finds in its address space: a file without a name, laid out as [`guest_abi::loader`] says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use guest_abi::boot::BootPage;
use guest_abi::layout::{BOOT_ADDR, EXCHANGE_ADDR, EXCHANGE_LEN, MEMORY_LEN};
use guest_abi::loader::{
    BACKED_COPY, BACKED_SHARED, BACKED_ZEROS, MAX_REGIONS, Plan, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE,
    Region,
};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};
use zerocopy::{FromZeros, IntoBytes};

use super::child::memory_file;
use crate::image::{Access, GuestImage};
use crate::space::{self, Content};

/// The memory of one guest. The exchange is all of it that the host looks at again.
#[derive(Debug)]
pub(super) struct Memory {
    file: File,
    exchange: MmapRegion,
}

impl Memory {
    /// Lays out everything that a guest of this `image` starts with.
    pub(super) fn new(image: &GuestImage<'_>, boot: &BootPage) -> io::Result<Self> {
        let file = memory_file(c"instar-memory", false)?;
        file.set_len(MEMORY_LEN)?;
        file.write_all_at(plan(image)?.as_bytes(), 0)?;
        file.write_all_at(boot.as_bytes(), BOOT_ADDR)?;
        image.segments.iter().try_for_each(|segment| file.write_all_at(segment.bytes, segment.addr))?;
        let offset = FileOffset::new(file.try_clone()?, EXCHANGE_ADDR);
        let exchange = MmapRegion::from_file(offset, EXCHANGE_LEN as usize).map_err(io::Error::other)?;
        Ok(Self { file, exchange })
    }

    /// The file, for the loader.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn exchange(&self) -> VolatileSlice<'_> {
        self.exchange.as_volatile_slice()
    }
}

/// What the loader is to map.
fn plan(image: &GuestImage<'_>) -> io::Result<Plan> {
    let mut plan = Plan::new_zeroed();
    let regions: Vec<_> = space::regions(image).into_iter().map(region).collect();
    if regions.len() > MAX_REGIONS {
        return Err(io::Error::other("the guest has too many segments"));
    }
    plan.entry = image.entry;
    plan.region_count = regions.len() as u64;
    plan.regions[..regions.len()].copy_from_slice(&regions);
    Ok(plan)
}

fn region(region: space::Region) -> Region {
    let rights = match region.access {
        Access::Read => RIGHT_READ,
        Access::ReadExecute => RIGHT_READ | RIGHT_EXECUTE,
        Access::ReadWrite => RIGHT_READ | RIGHT_WRITE,
    };
    let backing = match region.content {
        Content::Given => BACKED_COPY,
        Content::Shared => BACKED_SHARED,
        Content::Zeros => BACKED_ZEROS,
    };
    Region { addr: region.addr, len: region.len, rights, backing }
}
