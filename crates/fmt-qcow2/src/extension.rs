//! Header extensions: what follows the header, up to the name of the backing file or the end of the first cluster.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use fmt_core::{Error, ErrorKind, ReadAt, Window};
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;

use crate::geometry::Geometry;
use crate::limits::{
    HEADER_WINDOW, MAX_BACKING_FORMAT_LEN, MAX_BITMAP_DIRECTORY_LEN, MAX_BITMAPS, MAX_DATA_FILE_LEN,
};
use crate::raw::{
    Autoclear, EXTENSION_BACKING_FORMAT, EXTENSION_BITMAPS, EXTENSION_CRYPTO, EXTENSION_DATA_FILE,
    EXTENSION_END, RawBitmaps, RawExtension,
};
use crate::zeroed;

/// What the extensions say that matters to a reader. Where one comes twice, the last counts.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// The name of the backing file's format.
    pub(crate) backing_format: Option<Vec<u8>>,
    /// The name of the external data file.
    pub(crate) data_file: Option<Vec<u8>>,
}

impl Extensions {
    /// Reads the extensions that lie in `range`, which begins at a multiple of eight and is no longer than a cluster.
    pub(crate) fn read<S: ReadAt + ?Sized>(
        source: &S,
        range: Range<u64>,
        geometry: Geometry,
        autoclear: Autoclear,
    ) -> Result<Self, Error> {
        let mut window = Window::new(HEADER_WINDOW);
        let mut found = Self::default();
        let mut at = range.start;
        while at < range.end {
            let raw: RawExtension = zerocopy::transmute!(zeroed::read::<_, 8>(&mut window, source, at)?);
            let (body, len) = (at + 8, u64::from(raw.len.get()));
            if range.end.checked_sub(body).is_none_or(|left| len > left) {
                return Err(corrupt(at, "a header extension reaches beyond the extensions' end"));
            }
            match raw.kind.get() {
                EXTENSION_END => break,
                EXTENSION_BACKING_FORMAT => found.backing_format = backing_format(source, body, len)?,
                EXTENSION_DATA_FILE => found.data_file = data_file(source, body, len)?,
                EXTENSION_BITMAPS => check_bitmaps(source, body, len, geometry, autoclear)?,
                EXTENSION_CRYPTO => {
                    return Err(corrupt(at, "a LUKS header in an image that is not encrypted"));
                }
                _ => {}
            }
            at = body + len.next_multiple_of(8);
        }
        Ok(found)
    }
}

fn backing_format<S: ReadAt + ?Sized>(source: &S, at: u64, len: u64) -> Result<Option<Vec<u8>>, Error> {
    name(source, at, len, MAX_BACKING_FORMAT_LEN, "the name of the backing file's format")
}

fn data_file<S: ReadAt + ?Sized>(source: &S, at: u64, len: u64) -> Result<Option<Vec<u8>>, Error> {
    name(source, at, len, MAX_DATA_FILE_LEN, "the name of the external data file")
}

/// The `len` bytes at byte `at`, up to the first zero byte; `None` where that leaves nothing.
pub(crate) fn name<S: ReadAt + ?Sized>(
    source: &S,
    at: u64,
    len: u64,
    max: u64,
    what: &'static str,
) -> Result<Option<Vec<u8>>, Error> {
    let len = usize::try_from(len).ok().filter(|_| len <= max);
    let mut bytes = vec![0; len.ok_or(Error::new(ErrorKind::TooLarge, at, what))?];
    source.read_up_to(at, &mut bytes)?;
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    Ok(Some(bytes).filter(|name| !name.is_empty()))
}

/// Bitmaps are not read, but an image that claims impossible ones is refused.
fn check_bitmaps<S: ReadAt + ?Sized>(
    source: &S,
    at: u64,
    len: u64,
    geometry: Geometry,
    autoclear: Autoclear,
) -> Result<(), Error> {
    let mut raw = RawBitmaps::new_zeroed();
    if len != size_of::<RawBitmaps>() as u64 {
        return Err(corrupt(at, "the bitmaps extension has a wrong length"));
    }
    if !autoclear.contains(Autoclear::BITMAPS) {
        return Ok(());
    }
    source.read_up_to(at, raw.as_mut_bytes())?;
    if raw.reserved.get() != 0 {
        return Err(corrupt(at, "the bitmaps extension's reserved field is not zero"));
    }
    if !(1..=MAX_BITMAPS).contains(&u64::from(raw.count.get())) {
        return Err(corrupt(at, "the number of bitmaps is not between 1 and 65535"));
    }
    if !geometry.is_aligned(raw.directory_offset.get()) {
        return Err(corrupt(at, "the bitmap directory is not aligned to a cluster"));
    }
    if raw.directory_len.get() > MAX_BITMAP_DIRECTORY_LEN {
        return Err(Error::new(ErrorKind::TooLarge, at, "the bitmap directory"));
    }
    Ok(())
}

const fn corrupt(at: u64, what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, at, what)
}
