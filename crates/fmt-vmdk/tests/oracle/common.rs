//! Images in a temporary directory, and the tools that make and judge them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use fmt_core::file::StdFile;
use fmt_core::{DiskMap, Error, ErrorKind, Extent, FileId, Source};
use fmt_vmdk::VmdkMap;
use tempfile::TempDir;

/// A directory for one test's images, where `qemu-img` and `qemu-io` run.
pub(crate) struct Lab(TempDir);

impl Lab {
    /// `None`, loudly, where `qemu-img` is missing; that is an error where CI runs.
    pub(crate) fn open() -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_ok() {
            return Some(Self(tempfile::tempdir().unwrap()));
        }
        assert!(std::env::var_os("CI").is_none(), "qemu-img is missing");
        eprintln!("SKIPPED: qemu-img is missing, so nothing was compared with it");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn output(&self, tool: &str, args: &[&str]) -> Output {
        Command::new(tool).args(args).current_dir(self.0.path()).output().unwrap()
    }

    /// Runs a tool that must succeed, and returns what it says.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.run_args(words[0], &words[1..])
    }

    #[track_caller]
    pub(crate) fn run_args(&self, tool: &str, args: &[&str]) -> String {
        let output = self.output(tool, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `qemu-io`'s commands on a VMDK.
    #[track_caller]
    pub(crate) fn io(&self, name: &str, commands: &[&str]) {
        let mut args = vec!["-f", "vmdk"];
        commands.iter().for_each(|command| args.extend(["-c", command]));
        args.push(name);
        let said = self.run_args("qemu-io", &args);
        assert!(!said.contains("failed") && !said.contains("rror"), "{said}");
    }

    /// What `qemu-img convert` reads of a VMDK.
    pub(crate) fn qemu_reads(&self, name: &str) -> Result<Vec<u8>, String> {
        let output = self.output("qemu-img", &["convert", "-f", "vmdk", "-O", "raw", name, "qemu.raw"]);
        let read = output.status.success().then(|| self.bytes("qemu.raw"));
        read.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What this crate reads of a VMDK, its parents included.
    pub(crate) fn we_read(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.we_read_in("", name)
    }

    /// The same of one in a directory.
    pub(crate) fn we_read_in(&self, dir: &str, name: &str) -> Result<Vec<u8>, Error> {
        let (mut map, files) = self.map_in(dir, name)?;
        let parent = match &map.identity().parent {
            Some(parent) => {
                let parent = String::from_utf8(parent.clone()).unwrap();
                let missing = Error::new(ErrorKind::Io, 0, "the parent is missing");
                let exists = self.path(dir).join(&parent).exists();
                let (parent_map, _) = exists.then(|| self.map_in(dir, &parent)).ok_or(missing)??;
                assert_eq!(map.identity().parent_cid, parent_map.identity().cid, "not the parent");
                self.we_read_in(dir, &parent)?
            }
            None => Vec::new(),
        };
        let mut disk = vec![0; usize::try_from(map.virtual_size()).unwrap()];
        for extent in map.extents(0..u64::MAX) {
            let extent = extent?;
            let at = usize::try_from(extent.start).unwrap();
            let place = &mut disk[at..][..usize::try_from(extent.len).unwrap()];
            if extent.source == Source::Unallocated {
                let inherited = parent.get(at..).unwrap_or_default();
                let len = inherited.len().min(place.len());
                place[..len].copy_from_slice(&inherited[..len]);
            } else {
                place.copy_from_slice(&content(&extent, &files)?);
            }
        }
        Ok(disk)
    }

    /// A VMDK, and the files that it consists of, by number.
    pub(crate) fn map(&self, name: &str) -> Result<(VmdkMap<StdFile>, Vec<File>), Error> {
        self.map_in("", name)
    }

    fn map_in(&self, dir: &str, name: &str) -> Result<(VmdkMap<StdFile>, Vec<File>), Error> {
        let mut files = Vec::new();
        let mut take = |name: &str| {
            let missing = Error::new(ErrorKind::Io, 0, "a file is missing");
            let file = File::open(self.path(dir).join(name)).map_err(|_| missing)?;
            let id = FileId(u32::try_from(files.len()).unwrap());
            files.push(file.try_clone().unwrap());
            Ok((StdFile::new(file).unwrap(), id))
        };
        let (source, id) = take(name)?;
        let map = VmdkMap::open_with(source, id, |line| take(core::str::from_utf8(&line.name).unwrap()))?;
        Ok((map, files))
    }

    /// Both read the same bytes.
    #[track_caller]
    pub(crate) fn assert_same(&self, name: &str) {
        let qemu = self.qemu_reads(name).unwrap();
        let we = self.we_read(name).unwrap();
        assert_eq!(qemu.len(), we.len(), "{name}: sizes");
        let differs = qemu.iter().zip(&we).position(|(qemu, we)| qemu != we);
        assert_eq!(differs, None, "{name}: the first byte that differs");
    }

    /// What `qemu-img info` says, line by line, without what differs from file to file.
    pub(crate) fn info(&self, name: &str) -> Vec<String> {
        let said = self.run_args("qemu-img", &["info", "--output=json", name]);
        let differs = |line: &&str| !line.contains("\"actual-size\"") && !line.contains("\"cid\"");
        said.lines().filter(differs).map(|line| line.replace(name, "NAME")).collect()
    }
}

/// The bytes of an extent that is not unallocated.
fn content(extent: &Extent, files: &[File]) -> Result<Vec<u8>, Error> {
    let len = usize::try_from(extent.len).unwrap();
    let read = |file: FileId, offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        files[file.0 as usize].read_exact_at(&mut bytes, offset).expect("extents lie inside their files");
        bytes
    };
    match extent.source {
        Source::Data { file, offset } => Ok(read(file, offset, len)),
        Source::Compressed { unit, skip } => {
            let stream = read(unit.file, unit.offset, unit.len as usize);
            let grain =
                miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&stream, unit.unit_len as usize);
            let bad = Error::new(ErrorKind::Corrupt, unit.offset, "a compressed grain");
            let grain = grain.map_err(|_| bad)?;
            grain.get(skip as usize..).and_then(|rest| rest.get(..len)).map(<[u8]>::to_vec).ok_or(bad)
        }
        Source::Zero | Source::Unallocated => Ok(vec![0; len]),
    }
}

/// Bytes of a disk: noise, text that compresses, and zeros, in pieces of every size.
pub(crate) fn disk_bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let piece = 1 + random.below(200_000);
        match random.below(3) {
            0 => bytes.resize(bytes.len() + piece, 0),
            1 => bytes.extend((0..piece).map(|at| b"the same words "[at % 15])),
            _ => bytes.extend((0..piece).map(|_| random.next().to_le_bytes()[0])),
        }
    }
    bytes.truncate(len);
    bytes
}

/// A generator of numbers that are the same in every run (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
