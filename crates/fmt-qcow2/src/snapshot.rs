//! The table of internal snapshots (section "Snapshots"). A table that `qemu-img` refuses is refused.

use fmt_core::{Error, ErrorKind, ReadAt, Window};

use crate::header::Table;
use crate::limits::{HEADER_WINDOW, MAX_SNAPSHOT_EXTRA_LEN, MAX_SNAPSHOT_TABLE_LEN};
use crate::raw::SNAPSHOT_HEADER_LEN;
use crate::zeroed;

/// Which internal snapshot is wanted. Of several, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'n> {
    /// The one with this identifier or, if there is none, with this name.
    Any(&'n [u8]),
    /// The one with this identifier, if one is given, and this name, if one is given.
    Exactly {
        /// Its identifier.
        id: Option<&'n [u8]>,
        /// Its name.
        name: Option<&'n [u8]>,
    },
}

/// Walks over the `count` entries of the table at byte `offset`, which is aligned to a cluster and leaves room for
/// its longest table below 2<sup>63</sup>. Past the end of the file entries are zeros, and cost nothing.
pub(crate) fn check_table<S: ReadAt + ?Sized>(source: &S, offset: u64, count: u32) -> Result<(), Error> {
    let mut window = Window::new(HEADER_WINDOW);
    let mut at = offset;
    for left in (1..=u64::from(count)).rev() {
        if at >= source.file_len() {
            at += left * SNAPSHOT_HEADER_LEN;
            break;
        }
        let end = Entry::read(&mut window, source, at)?.end;
        check_len(offset, end)?;
        at = end.next_multiple_of(8);
    }
    check_len(offset, at)
}

/// The L1 table of the snapshot that is `wanted`, as its entry has it, and the byte offset of the entry. The table has been
/// checked.
pub(crate) fn find<S: ReadAt + ?Sized>(
    source: &S,
    snapshots: Table,
    wanted: Wanted<'_>,
) -> Result<(Table, u64), Error> {
    let found = match wanted {
        Wanted::Any(word) => match find_exactly(source, snapshots, Some(word), None)? {
            None => find_exactly(source, snapshots, None, Some(word))?,
            found => found,
        },
        Wanted::Exactly { id, name } => find_exactly(source, snapshots, id, name)?,
    };
    found.ok_or(Error::new(ErrorKind::NotFound, snapshots.offset, "snapshot"))
}

fn find_exactly<S: ReadAt + ?Sized>(
    source: &S,
    snapshots: Table,
    id: Option<&[u8]>,
    name: Option<&[u8]>,
) -> Result<Option<(Table, u64)>, Error> {
    let mut window = Window::new(HEADER_WINDOW);
    let mut at = snapshots.offset;
    for _ in 0..snapshots.entries {
        if at >= source.file_len() {
            break;
        }
        let entry = Entry::read(&mut window, source, at)?;
        let mut is_it = |text: Text, wanted: Option<&[u8]>| match wanted {
            Some(wanted) => text.is(&mut window, source, wanted),
            None => Ok(true),
        };
        if is_it(entry.id, id)? && is_it(entry.name, name)? {
            return Ok(Some((entry.l1, at)));
        }
        at = entry.end.next_multiple_of(8);
    }
    Ok(None)
}

/// An entry of the table: its header, its extra data, its identifier and its name.
struct Entry {
    /// Not checked.
    l1: Table,
    id: Text,
    name: Text,
    end: u64,
}

/// Bytes in the file.
#[derive(Clone, Copy)]
struct Text {
    at: u64,
    len: u16,
}

impl Entry {
    /// The entry at byte `at`.
    fn read<S: ReadAt + ?Sized>(window: &mut Window, source: &S, at: u64) -> Result<Self, Error> {
        let offset = u64::from_be_bytes(zeroed::read(window, source, at)?);
        let [l0, l1, l2, l3, id_high, id_low, name_high, name_low] = zeroed::read(window, source, at + 8)?;
        let [.., e0, e1, e2, e3] = zeroed::read::<_, 8>(window, source, at + 32)?;
        let extra = u64::from(u32::from_be_bytes([e0, e1, e2, e3]));
        if extra > MAX_SNAPSHOT_EXTRA_LEN {
            return Err(Error::new(ErrorKind::TooLarge, at, "the extra data of a snapshot"));
        }
        let id = Text { at: at + SNAPSHOT_HEADER_LEN + extra, len: u16::from_be_bytes([id_high, id_low]) };
        let name = Text { at: id.end(), len: u16::from_be_bytes([name_high, name_low]) };
        let l1 = Table { offset, entries: u32::from_be_bytes([l0, l1, l2, l3]) };
        Ok(Self { l1, id, name, end: name.end() })
    }
}

impl Text {
    const fn end(self) -> u64 {
        self.at + self.len as u64
    }

    fn is<S: ReadAt + ?Sized>(self, window: &mut Window, source: &S, wanted: &[u8]) -> Result<bool, Error> {
        if usize::from(self.len) != wanted.len() {
            return Ok(false);
        }
        for (at, &byte) in (self.at..).zip(wanted) {
            if zeroed::read(window, source, at)? != [byte] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check_len(offset: u64, end: u64) -> Result<(), Error> {
    if end - offset > MAX_SNAPSHOT_TABLE_LEN {
        return Err(Error::new(ErrorKind::TooLarge, offset, "the snapshot table"));
    }
    Ok(())
}
