//! `convert -n` as the guest does it, into any image that is there.
//!
//! An input is a `Case`, little-endian, and behind it the files: those that the image is made of, those that are written to it,
//! and what images may name. The image is one that `convert` makes, and then changed in a few places; a raw one may be any.
//! What is not changed is sound, and becomes what it should. Of what is changed, a refusal is an answer too.

#![no_main]

use fmt_core::testing::SparseFile;
use fmt_core::{ErrorKind, FileId, Format, ReadAt};
use guest_abi::convert::Request;
use guest_abi::dd::{FORMAT_NAME_LEN, OUTPUT};
use guest_ops::convert::in_place;
use guest_ops::output::Target;
use guest_ops::testing::{Input, MemoryHost};
use guest_ops::units::Units;
use guest_ops::{Failure, HostFile};
use instar_fuzz::commands::{BUDGET, Done, IDENTITY, Named, carry_out, read_disk, rubbish};
use instar_fuzz::conversions::{self, are_raw, backing, data_file, has_raw_backing, options};
use instar_fuzz::files::{self, File, files, is_named, text};
use instar_fuzz::updates::{self, Ranges};
use libfuzzer_sys::fuzz_target;
use zerocopy::{FromBytes, FromZeros};

/// What the image is made of and how it is changed, and what is written to it.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Case {
    made: conversions::Case,
    /// How many files are written.
    inputs: u32,
    input_format: [u8; FORMAT_NAME_LEN],
    /// What the image is taken for; if there is no name, for what it was made as.
    output_format: [u8; FORMAT_NAME_LEN],
    /// How many bytes the image loses at its end.
    cut: u64,
    changes: [Change; 4],
}

/// Other bytes for those at `place` of the image.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
struct Change {
    /// In bytes: of the pages of the image that are not zeros, one behind the other.
    place: u64,
    /// How many bytes, of those that follow.
    len: u64,
    bytes: [u8; 8],
}

/// What is written to which image.
struct Update {
    image: SparseFile,
    /// The image before it was changed, if it is one of ours.
    first: Option<SparseFile>,
    /// The image is one of ours, and of a kind that is written to.
    is_sound: bool,
    /// The inputs, and what images may name.
    files: Vec<File>,
    request: Request,
}

/// The image, where its disk is read.
const IMAGE: FileId = FileId(0);

/// How many bytes of tables there may be beside what is written.
const TABLES_LEN: u64 = 64 << 20;

/// How many operations it may take to open an image and to leave it, and to write one block.
const MAX_OPERATIONS: u64 = 300;
const MAX_BLOCK_OPERATIONS: u64 = 40;

fuzz_target!(|bytes: &[u8]| {
    let Some(update) = Update::new(bytes) else { return };
    let done = carry_out(|| update.host(), |host| in_place::run(host, &update.request));
    update.check_bounds(&done.host);
    let Some(done) = done.if_ended() else { return };
    if update.is_sound {
        assert!(updates::is_in_any_order(&done.host, update.output()), "steps wait for others");
    }
    match done.outcome {
        Ok(report) => update.check_disk(&done.host, report.virtual_size),
        Err(failure) => assert!(!update.is_sound || update.is_refusal(failure), "{failure:?}"),
    }
});

impl Update {
    /// The update that `bytes` describe, if its image can be made.
    fn new(bytes: &[u8]) -> Option<Self> {
        let (case, rest) = Case::read_from_prefix(bytes).ok()?;
        let mut files = files(rest);
        let made = case.made.request(&files);
        let first = conversions::make(&files, &made)?;
        let image = case.changed(first.clone());

        let mut files = files.split_off(made.inputs as usize);
        // It shows where it should not, and whoever has its name.
        files.extend(backing(&made).map(|name| File { name: name.to_vec(), content: rubbish() }));
        let request = case.request(&made, &files);
        let is_same = image.file_len() == first.file_len() && image.first_difference(&first).is_none();
        let is_sound = is_same && request.output_format == made.output_format && is_written_to(&made);
        let first = Some(first).filter(|_| request.output_format == made.output_format);
        Some(Self { image, first, is_sound, files, request })
    }

    fn output(&self) -> FileId {
        FileId(self.request.inputs)
    }

    fn host(&self) -> MemoryHost {
        let image = Input::from(self.image.clone());
        files::host(&self.files, self.request.inputs as usize, |host| host.with_in_place(image))
            .with_budget(BUDGET)
    }

    /// Checks that what is done depends on what is written, and not on what the image claims; even if it was broken off.
    fn check_bounds(&self, host: &MemoryHost) {
        if !are_raw(&self.files, &self.request) {
            return;
        }
        let Some(disk) = conversions::disk(&self.files, &self.request) else { return };
        let block_len = self.shape().and_then(|(_, block_len)| block_len).unwrap_or(disk.file_len()).max(1);
        let Some(len) = disk.file_len().checked_next_multiple_of(block_len) else { return };
        let (filled, most) = (updates::filled(host, self.output()), len.saturating_add(TABLES_LEN));
        assert!(filled <= most, "{filled} bytes were put into the image, {most} are the most");
        // Blocks may have a bitmap.
        let most = self.image.file_len().saturating_add(len).saturating_add(most);
        let found = host.in_place(self.output()).file_len();
        assert!(found <= most, "the image has become {found} bytes long, {most} are the most");
        let (operations, most) = (
            (host.reads() + host.step_count()) as u64,
            (len / block_len).saturating_mul(MAX_BLOCK_OPERATIONS).saturating_add(MAX_OPERATIONS),
        );
        assert!(operations <= most, "{operations} operations, {most} are the most");
    }

    /// The size of the image's disk in bytes, and how many of them it allocates together, if it can be written to.
    fn shape(&self) -> Option<(u64, Option<u64>)> {
        let host = self.host();
        let (image, sink) = (HostFile::new(&host, self.output()), Units::new(&host));
        let format = Format::from_name(text(&self.request.output_format))?;
        let target = Target::open(&image, &sink, self.output(), format, &IDENTITY).ok()?;
        Some((target.virtual_size(), target.block_len()))
    }

    /// Checks that the image, which is as `host` has it, shows the `size` bytes that were written, and what it had behind them.
    ///
    /// Of an image that was changed nothing is said if it could not be read, or had two meanings for one place.
    fn check_disk(&self, host: &MemoryHost, size: u64) {
        let image = host.in_place(self.output());
        let Some(before) = self.read(self.image.clone()) else { return };
        let Some(known) = self.data_of_first() else { return };
        let is_clear = before.outcome.is_ok()
            && updates::is_unambiguous(&before.host, IMAGE, known, host, self.output());
        assert!(is_clear || !self.is_sound, "{:?}, or tables overlap data", before.outcome);
        if !is_clear {
            return;
        }
        let Some(after) = self.read(image) else { return };
        after.outcome.expect("what was written can be read");
        let Some(written) = conversions::disk(&self.files, &self.request) else { return };
        assert_eq!(written.file_len(), size);

        let disk = |done: &Done<_>| done.host.output(FileId(OUTPUT)).expect("it has a length");
        let (mut wanted, found) = (disk(&before), disk(&after));
        wanted.zero(0..size);
        wanted.write_from(0, &written, 0..size);
        assert_eq!(found.file_len(), wanted.file_len(), "the disk keeps its size");
        assert_eq!(found.first_difference(&wanted), None, "the disk is what was written");
    }

    /// Where the image had data before it was changed, if that is known.
    fn data_of_first(&self) -> Option<Ranges> {
        let Some(first) = &self.first else { return Some(Vec::new()) };
        self.read(first.clone()).map(|reader| updates::data(&reader.host, IMAGE))
    }

    fn read(&self, image: SparseFile) -> Option<Done<guest_abi::dd::Report>> {
        let named = self.files.iter().map(|file| -> Named { (file.name.clone(), file.content.clone()) });
        read_disk(image, self.request.output_format, named.collect())
    }

    /// Whether a sound image may be refused so: it is too small, or an input is not sound.
    fn is_refusal(&self, failure: Failure) -> bool {
        match failure {
            Failure::BadRequest(_) => true,
            _ if !are_raw(&self.files, &self.request) => true,
            Failure::Image { error, .. } => {
                let (room, disk) =
                    (self.shape().map(|(size, _)| size), conversions::disk(&self.files, &self.request));
                error.kind == ErrorKind::TooLarge && disk.is_none_or(|disk| Some(disk.file_len()) > room)
            }
        }
    }
}

impl Case {
    /// The image with what is changed of it.
    fn changed(&self, mut image: SparseFile) -> SparseFile {
        let pages: Vec<u64> = image.pages().collect();
        for Change { place, len, bytes } in self.changes {
            let page =
                usize::try_from(place / 4096).ok().and_then(|index| pages.get(index % pages.len().max(1)));
            if let Some(page) = page {
                image.write(page + place % 4096, &bytes[..bytes.len().min(len as usize)]);
            }
        }
        let len = image.file_len();
        image.with_len(len.saturating_sub(self.cut))
    }

    /// The request. Its inputs are among the `files`.
    fn request(&self, made: &Request, files: &[File]) -> Request {
        let is_same = text(&self.output_format).is_empty();
        let mut request = Request::new_zeroed();
        request.inputs = self.inputs.min(files.len() as u32);
        request.leaves_zeros = 1;
        request.input_format = self.input_format;
        request.output_format = if is_same { made.output_format } else { self.output_format };
        request.identity = IDENTITY;
        request
    }
}

/// Whether images are written to that were made so.
fn is_written_to(made: &Request) -> bool {
    let is = |format| is_named(&made.output_format, format);
    let has_subformat = options(made).windows(9).any(|name| name == b"subformat");
    match backing(made) {
        Some(name) if !has_raw_backing(made) || name.ends_with(b".dmg") => false,
        _ if is(Format::Qcow2) => data_file(made).is_none(),
        _ if is(Format::Vmdk) => !has_subformat,
        _ => is(Format::Vpc) || is(Format::Vhdx),
    }
}
