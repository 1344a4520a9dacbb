//! What the requests of several commands have in common.

use fmt_core::Format;
use guest_abi::convert::Request;

use crate::Failure;

/// The format of that name, padded with zero bytes; `None` for no name.
pub(crate) fn format(padded: &[u8]) -> Result<Option<Format>, Failure> {
    let format = |name| Format::from_name(name).ok_or(Failure::BadRequest("unknown format"));
    name(padded).map(format).transpose()
}

/// The name that is padded with zero bytes, if there is one.
pub(crate) fn name(padded: &[u8]) -> Option<&[u8]> {
    padded.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())
}

/// An option of the output's format: its name, and its value.
pub(crate) type Pair<'r> = (&'r [u8], &'r [u8]);

/// The texts of a request.
#[derive(Clone, Copy)]
pub(crate) struct Texts<'r> {
    options: &'r [u8],
    snapshot: &'r [u8],
    backing: &'r [u8],
    data_file: &'r [u8],
}

impl<'r> Texts<'r> {
    pub(crate) fn of(request: &'r Request) -> Result<Self, Failure> {
        let Request { options_len, snapshot_len, backing_len, data_file_len, .. } = *request;
        let mut rest = &request.text[..];
        let mut next = |len: u32| {
            let (text, behind) = rest.split_at_checked(len as usize)?;
            rest = behind;
            Some(text)
        };
        let mut texts = || {
            Some(Self {
                options: next(options_len)?,
                snapshot: next(snapshot_len)?,
                backing: next(backing_len)?,
                data_file: next(data_file_len)?,
            })
        };
        texts().ok_or(Failure::BadRequest("texts longer than there is room for"))
    }

    /// The name of the snapshot, if one is wanted.
    pub(crate) fn snapshot(&self) -> Option<&'r [u8]> {
        Some(self.snapshot).filter(|name| !name.is_empty())
    }

    /// The name of the backing file, if there is to be one.
    pub(crate) fn backing(&self) -> Option<&'r [u8]> {
        Some(self.backing).filter(|name| !name.is_empty())
    }

    /// The name of the external data file, if there is to be one.
    pub(crate) fn data_file(&self) -> Option<&'r [u8]> {
        Some(self.data_file).filter(|name| !name.is_empty())
    }

    /// The output's options, in the order in which they were given.
    pub(crate) fn options(&self) -> impl Iterator<Item = Result<Pair<'r>, Failure>> {
        let mut rest = self.options;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let pair = until_zero(rest).and_then(|(name, behind)| Some((name, until_zero(behind)?)));
            let broken = Failure::BadRequest("an option without an end");
            rest = pair.map_or(&[][..], |(_, (_, behind))| behind);
            Some(pair.map(|(name, (value, _))| (name, value)).ok_or(broken))
        })
    }
}

/// What is before the first zero byte, and what is behind it.
fn until_zero(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == 0)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}
