//! The table of internal snapshots: their disks are not read, but a table that `qemu-img` refuses is refused.

use fmt_core::{Error, ErrorKind, ReadAt, Window};

use crate::limits::{HEADER_WINDOW, MAX_SNAPSHOT_EXTRA_LEN, MAX_SNAPSHOT_TABLE_LEN};
use crate::raw::SNAPSHOT_HEADER_LEN;
use crate::zeroed;

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
        let end = at + entry_len(&mut window, source, at)?;
        check_len(offset, end)?;
        at = end.next_multiple_of(8);
    }
    check_len(offset, at)
}

/// The length in bytes of the entry at byte `at`: its header, its extra data, its identifier and its name.
fn entry_len<S: ReadAt + ?Sized>(window: &mut Window, source: &S, at: u64) -> Result<u64, Error> {
    let [.., id_high, id_low, name_high, name_low] = zeroed::read::<_, 8>(window, source, at + 8)?;
    let [.., e0, e1, e2, e3] = zeroed::read::<_, 8>(window, source, at + 32)?;
    let id = u16::from_be_bytes([id_high, id_low]);
    let name = u16::from_be_bytes([name_high, name_low]);
    let extra = u64::from(u32::from_be_bytes([e0, e1, e2, e3]));
    if extra > MAX_SNAPSHOT_EXTRA_LEN {
        return Err(Error::new(ErrorKind::TooLarge, at, "the extra data of a snapshot"));
    }
    Ok(SNAPSHOT_HEADER_LEN + extra + u64::from(id) + u64::from(name))
}

fn check_len(offset: u64, end: u64) -> Result<(), Error> {
    if end - offset > MAX_SNAPSHOT_TABLE_LEN {
        return Err(Error::new(ErrorKind::TooLarge, offset, "the snapshot table"));
    }
    Ok(())
}
