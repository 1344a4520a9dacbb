//! `instar convert`.

use core::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dd_window::{SizeError, parse_size};
use fmt_core::{Format, setting};
use fmt_vmdk::ExtentFile;
use guest_abi::convert::{DATA_FILE_RAW, PACK, Report, Request, STAGE_LEN, TEXT_LEN};
use guest_abi::exchange::MAX_FURTHER;
use vmm::exec::Salvaged;
use vmm::files::{FileError, FileKind, NameOf, Reserve};
use vmm::{Conduct, Error, Failed, FailureKind, FileId, Files, Sandboxes};
use zerocopy::IntoBytes;

use super::{Work, padded_name, warn_of_character_device};
use crate::args::ConvertArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::filename::{self, InputName};
use crate::output_options::{self, OutputOptions, Wanted};
use crate::{budget, identity, list};

/// How many inputs there may be: a command begins with so many files, fewer some of its own.
const MAX_INPUTS: usize = 60;

/// The most that `-S` takes, in bytes.
const MAX_SPARSE_SIZE: u64 = 16 << 20;

/// The values of `-t` and `-T`.
const CACHES: &[&str] = &["none", "off", "writeback", "writethrough", "directsync", "unsafe"];

/// Converts what the command line says.
pub(crate) fn run(args: &ConvertArgs, sandboxes: &Sandboxes, console: &mut Console) -> Result<(), Failure> {
    refuse_by_name(args)?;
    let format = filename::format(&args.target_format)?;
    let options = match OutputOptions::parse(format, &args.target_format_options)? {
        Wanted::Help => return say(&output_options::help(format)?),
        Wanted::Output(options) => options,
    };
    let wish = Wish::new(args, format, options)?;
    let [inputs @ .., output] = &args.files[..] else { return Err(Failure::NoFiles) };
    if inputs.is_empty() {
        return Err(Failure::NoFiles);
    }
    wish.check_inputs(inputs.len())?;

    let output = filename::path(output)?;
    let inputs: Vec<_> =
        inputs.iter().map(|name| filename::input(name, &args.input)).collect::<Result<_, _>>()?;
    if let Some(data) = &wish.data {
        data.check(&output)?;
    }
    let files = Files::new().max_output(budget::max_output(&args.output)?);
    let mut files = files.fills_outputs(wish.fills_output());
    args.allow_path.iter().try_for_each(|dir| files.allow(dir))?;
    for input in &inputs {
        files = files.force_share(input.force_share);
        let opened = files.add_input(&input.path)?;
        warn_of_character_device(&files, opened, &input.path, console);
    }
    let added = wish.add_outputs(&mut files, &output)?;
    let request = wish.request(&inputs, &output, files.kind(added), args)?;
    let backing = wish.backing.as_ref();
    let backing = backing.map(|backing| backing.open(&output, wish.data.as_ref(), args.input.force_share));
    // It stays open, and locked, as long as the command runs.
    let _backing = backing.transpose().map_err(Failure::NoBacking)?;

    if !args.quiet && args.progress {
        console.show_progress();
    } else if args.quiet {
        console.hide_progress();
    }
    let salvaged = wish.conduct.salvaged.clone();
    let work = Work {
        guest: wish.guest(),
        request: request.as_bytes(),
        disk_len: u64::MAX,
        examined: u64::MAX,
        conduct: wish.conduct,
    };
    let ran = work.run(files, sandboxes, console);
    let Report { .. } = ran.map_err(|failure| with_snapshot(failure, wish.snapshot))?;
    console.finish_progress();
    if let Some(bytes) = salvaged.map(|salvaged| salvaged.bytes()).filter(|&bytes| bytes > 0) {
        console.warn(&format!("warning: {bytes} bytes could not be read: they are zeros in the output"));
    }
    Ok(())
}

/// The failure; if an image has no such snapshot, with the name of the snapshot, which only the command line has.
fn with_snapshot(failure: Failure, snapshot: Option<OsString>) -> Failure {
    match (failure, snapshot) {
        (Failure::Run(Failed { error: Error::Image(image), .. }), Some(snapshot))
            if image.kind == FailureKind::NotFound =>
        {
            Failure::NoSnapshot(image.file, snapshot)
        }
        (failure, _) => failure,
    }
}

/// Refuses options that `qemu-img` has, and instar has not.
fn refuse_by_name(args: &ConvertArgs) -> Result<(), Failure> {
    let refused = [
        (args.bitmaps, "--bitmaps", "persistent bitmaps are not copied"),
        (args.skip_broken_bitmaps, "--skip-broken-bitmaps", "persistent bitmaps are not copied"),
        (
            args.target_image_opts,
            "--target-image-opts",
            "an output is named by its path, and its format by -O",
        ),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        Some((_, option, why)) => Err(Failure::NotSupported(option, why)),
        None => Ok(()),
    }
}

/// Prints what was asked for on stdout.
fn say(text: &str) -> Result<(), Failure> {
    // Where nobody listens, there is nobody to tell.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// What the options ask for, all but the files.
#[derive(Debug)]
struct Wish {
    format: Format,
    options: OutputOptions,
    backing: Option<Backing>,
    data: Option<DataFile>,
    snapshot: Option<OsString>,
    /// In bytes; 0 for none.
    sparse_size: u32,
    compress: bool,
    no_create: bool,
    target_is_zero: bool,
    conduct: Conduct,
}

/// The file that is to have the disk's bytes.
#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    /// It is to be a raw disk of its own.
    is_raw: bool,
}

/// What the output is to stand on.
#[derive(Debug)]
struct Backing {
    /// As it is stored.
    name: OsString,
    path: PathBuf,
    format: Format,
}

impl Wish {
    fn new(args: &ConvertArgs, format: Format, options: OutputOptions) -> Result<Self, Failure> {
        check_combination(args, format, &options)?;
        let sync = cache("-t", &args.target_cache)? != "unsafe";
        cache("-T", &args.source_cache)?;
        let conduct = Conduct {
            workers: args.parallel.as_deref().map_or(Ok(Conduct::default().workers), workers)?,
            rate: args.rate_limit.as_deref().map_or(Ok(None), rate)?,
            salvaged: args.salvage.then(Arc::<Salvaged>::default),
            sync,
        };
        Ok(Self {
            format,
            sparse_size: sparse_size(args.sparse_size.as_deref())?,
            backing: backing(args, format, &options)?,
            data: DataFile::of(&options)?,
            options,
            snapshot: args.snapshot.as_deref().map(snapshot).transpose()?,
            compress: args.compress,
            no_create: args.no_create,
            target_is_zero: args.target_is_zero,
            conduct,
        })
    }

    /// Whether there is an image to write into. A raw disk that is there is nothing but room.
    fn updates(&self) -> bool {
        self.no_create && self.format != Format::Raw
    }

    fn guest(&self) -> &'static [u8] {
        if self.updates() { guest_images::UPDATE } else { guest_images::CONVERT }
    }

    /// Adds the output, and what belongs to it, in the order in which a request counts them.
    fn add_outputs(&self, files: &mut Files, output: &Path) -> Result<FileId, Failure> {
        if self.updates() {
            return Ok(files.add_in_place(output)?);
        }
        let id = files.add_output_with(output, self.output_options())?;
        self.check_output(files.kind(id))?;
        if let Some((most, name)) = self.further() {
            files.add_series(id, most, name);
        }
        if let Some(data) = &self.data {
            let data_id = files.add_output_with(&data.path, self.output_options())?;
            let preallocates = self.preallocates().is_some_and(|value| value != b"off");
            if files.kind(data_id) == Some(FileKind::BlockDevice) && (data.is_raw || preallocates) {
                return Err(Failure::Contradiction(
                    "data_file_raw or preallocation with a device for a data file: it is not zeros where nothing is written",
                ));
            }
        }
        if self.packs() {
            files.add_stage(STAGE_LEN)?;
        }
        Ok(id)
    }

    /// How many files the output may consist of beside itself, and what they are called; `None` where it is one file.
    fn further(&self) -> Option<(u32, NameOf)> {
        match self.options.value(b"subformat")? {
            b"monolithicFlat" => Some((1, |output, _| ExtentFile::Flat.name(output))),
            b"twoGbMaxExtentFlat" => {
                Some((MAX_FURTHER, |output, number| ExtentFile::FlatPart(number + 1).name(output)))
            }
            b"twoGbMaxExtentSparse" => {
                Some((MAX_FURTHER, |output, number| ExtentFile::SparsePart(number + 1).name(output)))
            }
            _ => None,
        }
    }

    /// What cannot be done with more than one input, and with too many.
    fn check_inputs(&self, number: usize) -> Result<(), Failure> {
        let contradiction = match number {
            1 => return Ok(()),
            _ if self.backing.is_some() => "-B, with more than one input: their disk has no backing file",
            _ if self.snapshot.is_some() => "-l, with more than one input",
            number if number > MAX_INPUTS => "more than 60 inputs",
            _ => return Ok(()),
        };
        Err(Failure::Contradiction(contradiction))
    }

    /// What cannot be done with an output of that kind.
    fn check_output(&self, kind: Option<FileKind>) -> Result<(), Failure> {
        let allocates = matches!(self.preallocates(), Some(b"falloc" | b"full"));
        match kind {
            Some(kind) if self.further().is_some() && kind != FileKind::Regular => {
                Err(Failure::Contradiction(
                    "an output of several files, with a device: they would be made beside it",
                ))
            }
            Some(kind) if self.is_fixed_vpc() && kind != FileKind::Regular => Err(Failure::Contradiction(
                "-o subformat=fixed, with vpc and a device: the footer belongs at the end of the file",
            )),
            Some(kind) if allocates && kind != FileKind::Regular => Err(Failure::Contradiction(
                "-o preallocation=falloc or full, with a device: it has all the room that it can have",
            )),
            _ => Ok(()),
        }
    }

    fn is_fixed_vpc(&self) -> bool {
        self.format == Format::Vpc && self.options.value(b"subformat") == Some(b"fixed")
    }

    /// Whether anything is compressed, so that there has to be a place for it.
    fn packs(&self) -> bool {
        self.compress || self.options.value(b"subformat") == Some(b"streamOptimized")
    }

    fn preallocates(&self) -> Option<&[u8]> {
        self.options.value(b"preallocation")
    }

    /// Whether zeros are written, too.
    fn is_dense(&self) -> bool {
        self.sparse_size == 0 || self.preallocates() == Some(b"full")
    }

    /// Whether the file is as long at its beginning as at its end, and all its blocks are to be there.
    fn fills_output(&self) -> bool {
        self.format == Format::Raw && !self.no_create && self.output_options().reserve != Reserve::Never
    }

    fn output_options(&self) -> vmm::OutputOptions {
        vmm::OutputOptions {
            holes: NonZeroU32::new(self.sparse_size).filter(|_| !self.is_dense()),
            reserve: match self.preallocates() {
                Some(b"falloc") => Reserve::Always,
                _ if self.is_dense() => Reserve::IfFaster,
                _ => Reserve::Never,
            },
            keeps_content: self.no_create,
            is_zero: self.target_is_zero,
        }
    }

    fn request(
        &self,
        inputs: &[InputName],
        output: &Path,
        kind: Option<FileKind>,
        args: &ConvertArgs,
    ) -> Result<Request, Failure> {
        let input_format = inputs[0].format;
        if inputs.iter().any(|input| input.format != input_format) {
            return Err(Failure::Contradiction("inputs that are described as of different formats"));
        }
        let flags =
            [(self.compress, PACK), (self.data.as_ref().is_some_and(|data| data.is_raw), DATA_FILE_RAW)];
        let options = self.options.text();
        let snapshot = self.snapshot.as_deref().unwrap_or_default().as_bytes();
        let backing = self.backing.as_ref().map_or(OsStr::new(""), |backing| &backing.name).as_bytes();
        let data_file = self.data.as_ref().map_or(OsStr::new(""), |data| data.path.as_os_str()).as_bytes();
        let texts = [&options, snapshot, backing, data_file];
        // A raw disk has no tables in which zeros could be left out: that is for the file system alone.
        let is_written = self.is_dense() && self.format == Format::Raw;
        // Clusters that are allocated and not written show what the device had there.
        let is_device = kind.is_some_and(|kind| kind != FileKind::Regular);
        let shows = is_device && self.preallocates() == Some(b"metadata");
        Ok(Request {
            inputs: len(inputs.len())?,
            flags: flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum(),
            leaves_zeros: u32::from(self.sparse_size > 0 && !is_written && !shows),
            options_len: len(options.len())?,
            snapshot_len: len(snapshot.len())?,
            backing_len: len(backing.len())?,
            data_file_len: len(data_file.len())?,
            reserved: 0,
            input_format: input_format.map(padded_name).unwrap_or_default(),
            output_format: padded_name(self.format),
            backing_format: self
                .backing
                .as_ref()
                .map(|backing| padded_name(backing.format))
                .unwrap_or_default(),
            identity: identity::of(output, args.uuid)?,
            text: text(&texts)?,
        })
    }
}

/// What `qemu-img` refuses to do together, and what would change nothing.
fn check_combination(args: &ConvertArgs, format: Format, options: &OutputOptions) -> Result<(), Failure> {
    let preallocates = options.value(b"preallocation").is_some_and(|value| value != b"off");
    let packs = matches!(format, Format::Qcow2 | Format::Vmdk);
    let is_stream = options.value(b"subformat") == Some(b"streamOptimized");
    let contradictions = [
        (
            args.target_is_zero && !args.no_create,
            "--target-is-zero without -n: only what is there can be zero",
        ),
        (args.no_create && !options.is_empty(), "-o with -n: what is there is what it is"),
        (
            args.no_create && args.backing.is_some(),
            "-B with -n: what is there has its own backing file, or none",
        ),
        (args.no_create && args.compress, "-c with -n: what is there is written in place, as it is"),
        (
            args.no_create && format != Format::Raw && sparse_size(args.sparse_size.as_deref())? == 0,
            "-S 0 with -n, in a format other than raw: it is the image that is there that says how zeros are kept",
        ),
        (args.compress && !packs, "-c: the output's format has no compression"),
        (
            args.compress && format == Format::Vmdk && !is_stream,
            "-c without -o subformat=streamOptimized: other VMDKs have no compression",
        ),
        (args.compress && preallocates, "-c with preallocation"),
        (args.compress && options.data_file.is_some(), "-c with data_file: data files are not compressed"),
        (
            options.data_file_raw && options.data_file.is_none(),
            "data_file_raw without data_file: which file?",
        ),
        (
            args.copy_range_offloading && args.sparse_size.is_some(),
            "-C with -S: who looks for zeros has to read",
        ),
        (args.copy_range_offloading && args.compress, "-C with -c: who compresses has to read"),
        (args.copy_range_offloading && args.salvage, "-C with --salvage: who salvages has to read"),
    ];
    match contradictions.into_iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(Failure::Contradiction(what)),
        None => Ok(()),
    }
}

impl DataFile {
    /// The file that the output's options name.
    fn of(options: &OutputOptions) -> Result<Option<Self>, Failure> {
        let Some(name) = &options.data_file else { return Ok(None) };
        let path = filename::path(name)?;
        // The image has the name without the protocol of files.
        filename::path(path.as_os_str())?;
        Ok(Some(Self { path, is_raw: options.data_file_raw }))
    }

    /// Makes sure that a relative name leads all readers to the file: some begin at the directory of the image, others,
    /// QEMU among them, where they run.
    fn check(&self, output: &Path) -> Result<(), Failure> {
        let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_here = || dir.canonicalize().ok() == Path::new(".").canonicalize().ok();
        if self.path.is_absolute() || is_here() {
            return Ok(());
        }
        Err(Failure::Contradiction(
            "data_file with a relative name, for an output in another directory: not all readers would find it",
        ))
    }
}

/// The backing file, as options of the command or of the format have it. Those of the command have precedence.
fn backing(args: &ConvertArgs, format: Format, options: &OutputOptions) -> Result<Option<Backing>, Failure> {
    let backing_format = args.backing_format.as_ref().or(options.backing_format.as_ref());
    let Some(name) = args.backing.as_ref().or(options.backing_file.as_ref()) else {
        return match backing_format {
            Some(_) => Err(Failure::Contradiction("-F without -B: the format of which file?")),
            None => Ok(None),
        };
    };
    if !output_options::has_backing(format) {
        return Err(Failure::Contradiction("-B: outputs of this format cannot stand on other images"));
    }
    let backing_format =
        backing_format.ok_or(Failure::Contradiction("-B without -F: the format is never guessed"))?;
    let path = filename::path(name)?;
    Ok(Some(Backing { name: name.clone(), path, format: filename::format(backing_format)? }))
}

impl Backing {
    /// Opens the file where it will be looked for: at its name, beginning at the directory of `output`. It must be neither that
    /// nor its data file. Nobody may be writing to it, unless by `force_share`. What is in it is not looked at.
    fn open(&self, output: &Path, data: Option<&DataFile>, force_share: bool) -> Result<Files, FileError> {
        let outputs = [Some(output), data.map(|data| &*data.path)].into_iter().flatten();
        let path = output.parent().unwrap_or(Path::new("")).join(&self.path);
        let mut files = Files::new().force_share(force_share);
        files.add_input(&path)?;
        outputs.into_iter().try_for_each(|output| files.add_output(output).map(drop))?;
        Ok(files)
    }
}

/// The snapshot that `text` names, which is to be an ID or a name, or both with their keys before them.
fn snapshot(text: &OsStr) -> Result<OsString, Failure> {
    if text.as_bytes().starts_with(b"snapshot.") {
        let items = list::items(text.as_bytes());
        let is_key = |key: &[u8]| matches!(key, b"snapshot.id" | b"snapshot.name");
        if !items.iter().all(|(key, value)| is_key(key) && value.is_some()) {
            return Err(Failure::NotASnapshot(text.to_owned()));
        }
    }
    if text.is_empty() { Err(Failure::NotASnapshot(text.to_owned())) } else { Ok(text.to_owned()) }
}

fn sparse_size(text: Option<&OsStr>) -> Result<u32, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_SPARSE_SIZE) };
    let size = size("-S", text, MAX_SPARSE_SIZE)?;
    let size = u32::try_from(size).ok().filter(|size| size.is_multiple_of(512));
    size.ok_or_else(|| Failure::NotSectors("-S", text.to_owned()))
}

/// What `-S` is by default, in bytes.
const DEFAULT_SPARSE_SIZE: u32 = 4096;

fn workers(text: &OsStr) -> Result<NonZeroUsize, Failure> {
    let number = setting::number(text.as_bytes()).ok().and_then(|number| usize::try_from(number).ok());
    let workers = number.filter(|workers| *workers <= 16).and_then(NonZeroUsize::new);
    workers.ok_or(Failure::OutOfRange { operand: "-m", min: 1, max: 16 })
}

/// `None` for as fast as it goes.
fn rate(text: &OsStr) -> Result<Option<NonZeroU64>, Failure> {
    size("-r", text, i64::MAX.unsigned_abs()).map(NonZeroU64::new)
}

fn size(option: &'static str, text: &OsStr, max: u64) -> Result<u64, Failure> {
    let out_of_range = Failure::OutOfRange { operand: option, min: 0, max };
    match parse_size(text.as_bytes()) {
        Ok(size) if size <= max => Ok(size),
        Ok(_) | Err(SizeError::OutOfRange) => Err(out_of_range),
        Err(_) => Err(Failure::NotANumber(option, text.to_owned())),
    }
}

fn cache(option: &'static str, text: &OsStr) -> Result<&'static str, Failure> {
    let known = CACHES.iter().find(|cache| text == **cache);
    known.copied().ok_or_else(|| Failure::UnknownCache(option, text.to_owned()))
}

/// `texts` one behind the other, padded with zero bytes.
fn text(texts: &[&[u8]]) -> Result<[u8; TEXT_LEN], Failure> {
    let mut text = [0; TEXT_LEN];
    let all = texts.concat();
    text.get_mut(..all.len()).ok_or(Failure::TooLong)?.copy_from_slice(&all);
    Ok(text)
}

fn len(len: usize) -> Result<u32, Failure> {
    u32::try_from(len).map_err(|_| Failure::TooLong)
}
