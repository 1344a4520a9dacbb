//! The headers that are written.

use alloc::vec::Vec;

use fmt_core::SECTOR;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::layout::{DESCRIPTOR_LEN, GRAIN_LEN, GTES_PER_GT, HEAD_LEN, Layout, STREAM_GRAINS_AT};
use crate::raw::{self, Flags};

/// The header of a sparse extent, and behind it the descriptor, where it is not in a file of its own.
pub(crate) fn sparse(layout: &Layout, zeroed_grain: bool, descriptor: &[u8]) -> Vec<u8> {
    let version = if zeroed_grain { 2 } else { 1 };
    let header = raw::SparseHeader {
        rgd_offset: U64::new(layout.rgd_at / SECTOR),
        gd_offset: U64::new(layout.gd_at / SECTOR),
        overhead: U64::new(layout.grains_at / SECTOR),
        ..header(version, Flags::REDUNDANT, layout.size, zeroed_grain)
    };
    padded(&header, descriptor, HEAD_LEN)
}

/// The first bytes of a stream: the header and the descriptor, up to the first grain.
pub(crate) fn stream(size: u64, zeroed_grain: bool, descriptor: &[u8]) -> Vec<u8> {
    padded(&stream_header(size, zeroed_grain, raw::GD_AT_END), descriptor, STREAM_GRAINS_AT)
}

/// The last three sectors of a stream whose grain directory is at this sector.
pub(crate) fn footer(size: u64, zeroed_grain: bool, gd_sector: u32) -> raw::Footer {
    raw::Footer {
        marker: raw::MetadataMarker::new(1, raw::MARKER_FOOTER),
        header: stream_header(size, zeroed_grain, gd_sector.into()),
        end: raw::MetadataMarker::new(0, raw::MARKER_END),
    }
}

fn stream_header(size: u64, zeroed_grain: bool, gd_sector: u64) -> raw::SparseHeader {
    raw::SparseHeader {
        gd_offset: U64::new(gd_sector),
        overhead: U64::new(STREAM_GRAINS_AT / SECTOR),
        compress_algorithm: U16::new(raw::DEFLATE),
        ..header(3, Flags::COMPRESSED | Flags::MARKERS, size, zeroed_grain)
    }
}

/// What all headers of hosted sparse extents have in common.
fn header(version: u32, flags: Flags, size: u64, zeroed_grain: bool) -> raw::SparseHeader {
    let zeroed = if zeroed_grain { Flags::ZERO_GRAINS } else { Flags::empty() };
    raw::SparseHeader {
        magic: raw::SPARSE_MAGIC,
        version: U32::new(version),
        flags: U32::new((Flags::NEWLINES | flags | zeroed).bits()),
        capacity: U64::new(size / SECTOR),
        grain_size: U64::new(GRAIN_LEN / SECTOR),
        // Where a descriptor has its place; an extent of several leaves it empty, as in `qemu-img`.
        descriptor_offset: U64::new(1),
        descriptor_size: U64::new(DESCRIPTOR_LEN / SECTOR),
        #[expect(clippy::cast_possible_truncation, reason = "512")]
        num_gtes_per_gt: U32::new(GTES_PER_GT as u32),
        newlines: raw::NEWLINES,
        ..raw::SparseHeader::default()
    }
}

/// The header, the descriptor, which is no longer than its place, and zeros up to byte `len`.
#[expect(clippy::cast_possible_truncation, reason = "a grain at most")]
fn padded(header: &raw::SparseHeader, descriptor: &[u8], len: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(len as usize);
    head.extend_from_slice(header.as_bytes());
    head.extend_from_slice(descriptor);
    head.resize(len as usize, 0);
    head
}
