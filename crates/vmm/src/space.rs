//! What a guest finds in its address space, in whatever sandbox.

use guest_abi::layout::{
    BOOT_ADDR, EXCHANGE_ADDR, EXCHANGE_LEN, HEAP_ADDR, HEAP_LEN, PAGE_SIZE, STACK_ADDR, STACK_LEN,
};

use crate::image::{Access, GuestImage};

/// A range of whole pages, and how they may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) access: Access,
    pub(crate) content: Content,
}

/// What a region begins with, and who sees what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes that the host has put there. What the guest makes of them is its own business.
    Given,
    /// What both sides write.
    Shared,
    /// Zeros, for the guest alone.
    Zeros,
}

/// Everything that a guest of this `image` finds in every sandbox: there is nothing else but the doorbell.
pub(crate) fn regions(image: &GuestImage<'_>) -> Vec<Region> {
    let segments = image.segments.iter().map(|segment| Region {
        addr: segment.addr,
        len: segment.len,
        access: segment.access,
        content: Content::Given,
    });
    let region = |addr, len, access, content| Region { addr, len, access, content };
    [
        region(BOOT_ADDR, PAGE_SIZE, Access::Read, Content::Given),
        region(EXCHANGE_ADDR, EXCHANGE_LEN, Access::ReadWrite, Content::Shared),
        region(STACK_ADDR, STACK_LEN, Access::ReadWrite, Content::Zeros),
        region(HEAP_ADDR, HEAP_LEN, Access::ReadWrite, Content::Zeros),
    ]
    .into_iter()
    .chain(segments)
    .collect()
}
