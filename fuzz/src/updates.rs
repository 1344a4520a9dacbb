//! What commands do to a file in place.

use core::ops::Range;

use fmt_core::FileId;
use guest_ops::testing::{Access, AccessKind, MemoryHost};

/// Ranges of a file.
pub type Ranges = Vec<Range<u64>>;

/// Whether `file` means the same in whatever order the steps between two reads are taken: they neither write what another
/// one writes, nor what another one takes.
#[must_use]
pub fn is_in_any_order(host: &MemoryHost, file: FileId) -> bool {
    let accesses = host.accesses();
    let own: Vec<&Access> = accesses.iter().filter(|access| access.file == file).collect();
    let mut batches = own.split(|access| access.kind == AccessKind::Read);
    batches.all(|batch| {
        let (taken, put): (Vec<&Access>, Vec<&Access>) =
            batch.iter().partition(|access| matches!(access.kind, AccessKind::Taken | AccessKind::Unpacked));
        let ranges =
            |accesses: Vec<&Access>| accesses.into_iter().map(|access| access.range.clone()).collect();
        are_disjoint([ranges(put), union(ranges(taken))].concat())
    })
}

/// Where `reader`, which has read a disk, found it in its file `image`. Compressed pieces may share a sector, as nobody
/// writes to them.
#[must_use]
pub fn data(reader: &MemoryHost, image: FileId) -> Ranges {
    let packed = union(ranges(reader, image, |kind| kind == AccessKind::Unpacked));
    [ranges(reader, image, |kind| kind == AccessKind::Taken), packed].concat()
}

/// Whether each byte of an image has one meaning: `reader`, which has read its file `image`, found each byte of the disk in a
/// place of its own, and no table there; and `writer`, which has written to its file `target`, put no table there, nor where
/// it put data.
///
/// Readers look at more than tables, so it has to be `known` where there are none.
#[must_use]
pub fn is_unambiguous(
    reader: &MemoryHost,
    image: FileId,
    known: Ranges,
    writer: &MemoryHost,
    target: FileId,
) -> bool {
    let is_data = |kind| matches!(kind, AccessKind::Filled(from) if from != target);
    let found = data(reader, image);
    let looked_at = union(ranges(reader, image, |kind| kind == AccessKind::Read));
    let tables = union(ranges(writer, target, |kind| kind == AccessKind::Written));
    let put = ranges(writer, target, is_data);
    are_disjoint([found.clone(), without(looked_at, union(known))].concat())
        && are_disjoint([union([found, put].concat()), tables].concat())
}

/// How many bytes steps have put into `file` that are data or zeros.
#[must_use]
pub fn filled(host: &MemoryHost, file: FileId) -> u64 {
    let is_filled = |kind| matches!(kind, AccessKind::Filled(_) | AccessKind::Zeroed);
    ranges(host, file, is_filled)
        .into_iter()
        .map(|range| range.end - range.start)
        .fold(0, u64::saturating_add)
}

/// What of `file` was accessed in such a way.
fn ranges(host: &MemoryHost, file: FileId, is_wanted: impl Fn(AccessKind) -> bool) -> Ranges {
    let accesses = host.accesses();
    let wanted = accesses.iter().filter(|access| access.file == file && is_wanted(access.kind));
    wanted.map(|access| access.range.clone()).collect()
}

/// What is in any of `ranges`, in disjoint ones.
fn union(mut ranges: Ranges) -> Ranges {
    ranges.sort_by_key(|range| range.start);
    let mut union = Ranges::new();
    for range in ranges {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}

/// What is in `ranges`, and in none of `others`.
fn without(ranges: Ranges, others: Ranges) -> Ranges {
    let mut left = ranges;
    for other in others {
        let around = |range: Range<u64>| {
            let (start, end) = (range.start.max(other.end), range.end.min(other.start));
            [range.start..end, start..range.end]
        };
        left = left.into_iter().flat_map(around).filter(|range| !range.is_empty()).collect();
    }
    left
}

fn are_disjoint(mut ranges: Ranges) -> bool {
    ranges.sort_by_key(|range| range.start);
    ranges.is_sorted_by(|one, next| one.end <= next.start)
}
