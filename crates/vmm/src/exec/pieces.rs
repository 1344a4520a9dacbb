//! Writes, cut into what one worker does at a time.

use core::slice;

use super::operation::{Source, Write};
use crate::files::{FileError, FileId, Files, Span};

/// What one worker claims at a time, in bytes: large enough that claiming costs nothing, small enough that the
/// workers finish together.
pub(super) const PIECE_LEN: u64 = 4 << 20;

/// The pieces of some writes, cut when they are claimed: a list of them would grow with the image.
///
/// Outputs are dense: where the source has a hole, the piece is zeros, which are not read but written. Holes are looked
/// for once for each run of data, not once for each piece: some file systems look at every page of a run to find its end.
pub(super) struct Pieces<'a> {
    files: &'a Files,
    writes: slice::Iter<'a, Write>,
    /// What is left of a part that is all data or all zeros.
    span: Option<Write>,
    /// What is behind that part, and not yet looked at.
    rest: Option<Write>,
    /// The run that was looked for last: its file, its first byte that is known, and where it ends.
    known: Option<(FileId, u64, Span)>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(writes: &'a [Write], files: &'a Files) -> Self {
        Self { files, writes: writes.iter(), span: None, rest: None, known: None }
    }

    /// The beginning of `write` that is all data or all zeros, and what is behind it.
    fn first_span(&mut self, write: Write) -> Result<(Write, Option<Write>), FileError> {
        let Source::Input { file, at } = write.from else {
            return Ok((write, None));
        };
        let span = self.span(file, at)?;
        let (part, behind) = write.split_at(span.end - at);
        let from = if span.is_hole { Source::Zeros } else { part.from };
        Ok((Write { from, ..part }, behind))
    }

    /// The run around byte `at` of `file`.
    fn span(&mut self, file: FileId, at: u64) -> Result<Span, FileError> {
        let known = self.known.filter(|&(of, start, span)| of == file && (start..span.end).contains(&at));
        if let Some((_, _, span)) = known {
            return Ok(span);
        }
        let span = self.files.input(file).span(at)?;
        self.known = Some((file, at, span));
        Ok(span)
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Write, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.span.is_none() {
            let write = self.rest.take().or_else(|| self.writes.next().copied())?;
            match self.first_span(write) {
                Ok((span, rest)) => (self.span, self.rest) = (Some(span), rest),
                Err(error) => return Some(Err(error)),
            }
        }
        let (piece, behind) = self.span.take()?.first_step(PIECE_LEN);
        self.span = behind;
        Some(Ok(piece))
    }
}
