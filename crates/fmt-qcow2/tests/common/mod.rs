//! What the tests share: qemu-img as the oracle, images made by hand, and a disk read through its map.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

pub(crate) mod image;
pub(crate) mod live;
pub(crate) mod sink;

use core::ops::Range;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output};

use fmt_core::{Codec, Compressed, DiskMap, Error, Extent, FileId, ReadAt, Source};
use fmt_qcow2::Qcow2Map;

/// The image under test.
pub(crate) const IMAGE: FileId = FileId(7);
/// Its external data file.
pub(crate) const DATA: FileId = FileId(8);

/// A directory with the oracle in it.
pub(crate) struct Lab(tempfile::TempDir);

impl Lab {
    /// `None`, loudly, where there is no qemu-img; a failure where there must be one.
    pub(crate) fn open() -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_ok() {
            return Some(Self(tempfile::tempdir().unwrap()));
        }
        assert!(std::env::var_os("CI").is_none(), "CI needs qemu-img");
        // Not with `eprintln`, which shows nothing where a test passes.
        std::io::stderr().write_all(b"SKIPPED: there is no qemu-img to compare with\n").unwrap();
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, tool: &str, args: &[&str]) -> Output {
        Command::new(tool).args(args.iter().map(OsStr::new)).current_dir(&self.0).output().unwrap()
    }

    /// Runs qemu-img with arguments that are divided by blanks, and returns what it prints.
    #[track_caller]
    pub(crate) fn qemu_img(&self, args: &str) -> String {
        let output = self.run("qemu-img", &args.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "qemu-img {args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Nothing is wrong with the image.
    #[track_caller]
    pub(crate) fn check(&self, image: &str) {
        let report = self.qemu_img(&format!("check -f qcow2 {image}"));
        assert!(report.starts_with("No errors were found on the image."), "{report}");
    }

    /// Nothing is wrong with the image, but for clusters that are lost.
    #[track_caller]
    pub(crate) fn check_leaks(&self, image: &str) {
        let output = self.run("qemu-img", &["check", "-f", "qcow2", image]);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let only_leaks = matches!(output.status.code(), Some(0 | 3)) && !said.contains("ERROR");
        assert!(only_leaks, "{said}");
    }

    #[track_caller]
    pub(crate) fn qemu_io(&self, file: &str, commands: &[&str]) {
        let args: Vec<_> =
            commands.iter().flat_map(|command| ["-c", command]).chain(["-f", "qcow2", file]).collect();
        let output = self.run("qemu-io", &args);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("failed"), "{commands:?}: {said}");
    }

    /// The disk as qemu-img reads it, or what it says.
    pub(crate) fn oracle(&self, image: &str) -> Result<Vec<u8>, String> {
        let output = self.run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", image, "oracle.raw"]);
        if output.status.success() {
            Ok(self.read("oracle.raw"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Reads the disk of `image`, with the external data file and the backing file that it names.
    pub(crate) fn disk(&self, image: &str) -> Result<Vec<u8>, Error> {
        let bytes = self.read(image);
        let header = fmt_qcow2::Header::read(bytes.as_slice())?;
        let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
        let data = header.data_file().map(|file| self.read(&text(&file.name)));
        let backing = header.backing_file().map(|file| {
            let name = text(&file.name);
            if file.format.as_deref() == Some(b"qcow2") {
                self.disk(&name).unwrap()
            } else {
                self.read(&name)
            }
        });
        read_disk(&bytes, data.as_deref(), backing.as_deref())
    }

    /// Reads `image` both ways.
    #[track_caller]
    pub(crate) fn compare(&self, image: &str) {
        let expected = self.oracle(image).unwrap();
        let found = self.disk(image).unwrap_or_else(|error| panic!("{image}: {error}"));
        assert_eq!(found.len(), expected.len(), "{image}");
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{image}: the first byte that differs");
    }
}

/// The disk of the image `bytes`: all of it, so keep it small.
pub(crate) fn read_disk(bytes: &[u8], data: Option<&[u8]>, backing: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut map = Qcow2Map::new(bytes, IMAGE)?;
    assert_eq!(map.needs_data_file().is_some(), data.is_some());
    if let Some(data) = data {
        map.set_data_file(DATA, data.len() as u64);
    }
    let size = map.virtual_size();
    let mut disk = vec![0; usize::try_from(size).unwrap()];
    for extent in map.extents(0..size) {
        let extent = extent?;
        let place = &mut disk[usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap()];
        match extent.source {
            Source::Zero => {}
            Source::Unallocated => {
                let _ = backing.unwrap_or_default().read_up_to(extent.start, place)?;
            }
            Source::Data { file: IMAGE, offset } => bytes.read_exact_at(offset, place)?,
            Source::Data { offset, .. } => data.unwrap().read_exact_at(offset, place)?,
            Source::Compressed { unit, skip } => {
                let whole = decompress(bytes, unit).ok_or(fmt_core::Error::new(
                    fmt_core::ErrorKind::Corrupt,
                    unit.offset,
                    "compressed data",
                ))?;
                place.copy_from_slice(&whole[skip as usize..][..place.len()]);
            }
        }
    }
    Ok(disk)
}

/// What a compressed unit holds.
pub(crate) fn decompress(file: &[u8], unit: Compressed) -> Option<Vec<u8>> {
    let start = usize::try_from(unit.offset).unwrap();
    let packed = &file[start..start + unit.len as usize];
    let len = unit.unit_len as usize;
    let mut whole = match unit.codec {
        Codec::Deflate => match miniz_oxide::inflate::decompress_to_vec_with_limit(packed, len) {
            Ok(whole) => whole,
            // A stream may go on beyond the cluster.
            Err(error) => error.output,
        },
        Codec::Zstd => unzstd(packed, len)?,
        _ => unreachable!("{unit:?}"),
    };
    whole.truncate(len);
    (whole.len() == len).then_some(whole)
}

fn unzstd(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut whole = vec![0; len];
    zstd::stream::read::Decoder::with_buffer(packed).ok()?.read_exact(&mut whole).ok()?;
    Some(whole)
}

/// Bytes that differ from place to place and from seed to seed, and do not compress to nothing.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// A small generator of numbers that are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Changes a few bytes of `image`, most of them at one of these `places`.
pub(crate) fn mutate(image: &mut [u8], places: &[usize], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at =
            if random.below(4) == 0 { random.below(image.len()) } else { places[random.below(places.len())] };
        let value = random.next().to_le_bytes()[0];
        image[at] = match random.below(4) {
            0 => value,
            1 => image[at] ^ (1 << (value % 8)),
            2 => 0xff,
            _ => 0,
        };
    }
}

/// The extents of `range` of the image `bytes`, whose external data file has `data` bytes: see [`walk_map`].
pub(crate) fn walk(bytes: &[u8], data: Option<u64>, range: Range<u64>) -> Result<Vec<Extent>, Error> {
    let mut map = Qcow2Map::new(bytes, IMAGE)?;
    if let Some(len) = data {
        map.set_data_file(DATA, len);
    }
    walk_map(&mut map, bytes.len() as u64, data.unwrap_or(0), range)
}

/// Asks for every extent of `range`, and checks what each promises: that it holds the place asked for, lies on the
/// disk, and has its bytes in its file.
pub(crate) fn walk_map(
    map: &mut Qcow2Map<&[u8]>,
    image_len: u64,
    data_len: u64,
    range: Range<u64>,
) -> Result<Vec<Extent>, Error> {
    let size = map.virtual_size();
    let (mut at, mut found) = (range.start, Vec::new());
    while at < range.end.min(size) {
        let extent = map.extent_at(at)?;
        assert!(extent.start <= at && at < extent.end() && extent.end() <= size, "{extent:?} at {at}");
        match extent.source {
            Source::Data { file, offset } => {
                let file_len = if file == IMAGE { image_len } else { data_len };
                assert!(offset.checked_add(extent.len).unwrap() <= file_len, "{extent:?} of {file_len}");
            }
            Source::Compressed { unit, skip } => {
                assert!(unit.len > 0 && unit.offset + u64::from(unit.len) <= image_len, "{extent:?}");
                assert!(u64::from(skip) + extent.len <= u64::from(unit.unit_len), "{extent:?}");
            }
            Source::Zero | Source::Unallocated => {}
        }
        at = extent.end();
        found.push(extent);
    }
    Ok(found)
}
