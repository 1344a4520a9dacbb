//! What a ring moves or looks at, cut into what one worker does at a time.

use core::{mem, slice};

use super::operation::{Part, Source, Write};
use super::pack::Packet;
use super::scan::{Answer, Look};
use crate::files::{FileError, FileId, Files, Span};

/// What one worker claims at a time, in bytes: large enough that claiming costs nothing, small enough that the
/// workers finish together.
pub(super) const PIECE_LEN: u64 = 4 << 20;

/// What there is to do, in any order.
#[derive(Default)]
pub(super) struct Work {
    /// Bytes that have to be compressed.
    pub(super) packets: Vec<Packet>,
    /// Bytes that are to be compared with zero.
    pub(super) scans: Vec<Answer>,
    /// Bytes that are there, and have to be written.
    pub(super) writes: Vec<Write>,
    /// Bytes that have to be decompressed before.
    pub(super) parts: Vec<Part>,
}

impl Work {
    /// What of it changes files, which is then not in it any more.
    pub(super) fn take_writes(&mut self) -> Self {
        let (writes, parts) = (mem::take(&mut self.writes), mem::take(&mut self.parts));
        Self { writes, parts, ..Self::default() }
    }

    /// How much there is to decompress, in bytes.
    pub(super) fn len_of_parts(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.len)).fold(0, u64::saturating_add)
    }

    /// How much everything else is, in bytes to move.
    pub(super) fn len_of_others(&self) -> u64 {
        let packets = self.packets.iter().map(Packet::work);
        let others = self.scans.iter().map(Answer::work).chain(self.writes.iter().map(|write| write.len));
        packets.chain(others).fold(0, u64::saturating_add)
    }
}

/// What one worker does at a time.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    Write(Write),
    Look(Look<'a>),
    Pack(&'a Packet),
}

/// The pieces of packets, scans and writes, cut when they are claimed: a list of them would grow with the image.
///
/// Where the source of a write has a hole, the piece is zeros, which are not read; what becomes of zeros is the output's
/// affair. Holes are not looked at at all.
pub(super) struct Pieces<'a> {
    files: &'a Files,
    runs: &'a mut Runs,
    packets: slice::Iter<'a, Packet>,
    scans: slice::Iter<'a, Answer>,
    /// What is left of a scan.
    look: Option<Look<'a>>,
    writes: slice::Iter<'a, Write>,
    /// What is left of a part that is all data or all zeros.
    span: Option<Write>,
    /// What is behind that part, and not yet looked at.
    rest: Option<Write>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(work: &'a Work, files: &'a Files, runs: &'a mut Runs) -> Self {
        let Work { packets, scans, writes, .. } = work;
        Self {
            files,
            runs,
            packets: packets.iter(),
            scans: scans.iter(),
            look: None,
            writes: writes.iter(),
            span: None,
            rest: None,
        }
    }

    /// The next part of a scan that is no hole.
    fn next_look(&mut self) -> Result<Option<Look<'a>>, FileError> {
        while let Some(look) = self.look.take().or_else(|| self.scans.next().map(Answer::whole)) {
            let span = self.runs.at(self.files, look.file(), look.src())?;
            let len = span.end - look.src();
            let (part, behind) = look.split_at(if span.is_hole { len } else { len.min(PIECE_LEN) });
            self.look = behind;
            if !span.is_hole {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn next_write(&mut self) -> Result<Option<Write>, FileError> {
        if self.span.is_none() {
            let Some(write) = self.rest.take().or_else(|| self.writes.next().copied()) else {
                return Ok(None);
            };
            let (span, rest) = self.first_span(write)?;
            (self.span, self.rest) = (Some(span), rest);
        }
        let cut = self.span.take().map(|span| span.first_step(PIECE_LEN));
        self.span = cut.and_then(|(_, behind)| behind);
        Ok(cut.map(|(piece, _)| piece))
    }

    /// The beginning of `write` that is all data or all zeros, and what is behind it.
    fn first_span(&mut self, write: Write) -> Result<(Write, Option<Write>), FileError> {
        let Source::Input { file, at } = write.from else {
            return Ok((write, None));
        };
        let span = self.runs.at(self.files, file, at)?;
        let (part, behind) = write.split_at(span.end - at);
        let from = if span.is_hole { Source::Zeros } else { part.from };
        Ok((Write { from, ..part }, behind))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        // What takes longest comes first.
        if let Some(packet) = self.packets.next() {
            return Some(Ok(Piece::Pack(packet)));
        }
        match self.next_look() {
            Ok(None) => self.next_write().map(|write| write.map(Piece::Write)).transpose(),
            look => look.map(|look| look.map(Piece::Look)).transpose(),
        }
    }
}

/// The runs of data and holes of the inputs. They are looked for once for each run, not once for each piece, nor for each
/// ring: some file systems look at every page of a run to find its end.
#[derive(Default)]
pub(super) struct Runs {
    /// The run that was looked for last: its file, its first byte that is known, and where it ends.
    known: Option<(FileId, u64, Span)>,
}

impl Runs {
    /// Forgets what may have changed since the ring before: what this command writes itself.
    pub(super) fn forget_written(&mut self, files: &Files) {
        self.known = self.known.filter(|&(file, ..)| files.is_input(file));
    }

    /// The run around byte `at` of `file`.
    fn at(&mut self, files: &Files, file: FileId, at: u64) -> Result<Span, FileError> {
        let known = self.known.filter(|&(of, start, span)| of == file && (start..span.end).contains(&at));
        if let Some((_, _, span)) = known {
            return Ok(span);
        }
        let span = files.input(file).span(at)?;
        self.known = Some((file, at, span));
        Ok(span)
    }
}
