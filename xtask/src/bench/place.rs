//! Where it is measured: a directory that is gone afterwards.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::case::Input;
use crate::command;

const MEMORY: &str = "/dev/shm";

const PIECE_LEN: usize = 1 << 20;

/// Always the same bytes.
const SEED: u64 = 0x0069_6e73_7461_7200;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    /// Whether the goals for times are meant for here: elsewhere a disk decides as much as the tools do.
    pub(super) has_goals: bool,
    dir: TempDir,
}

impl Place {
    /// In memory.
    pub(super) fn memory() -> Result<Self> {
        Self::new(format!("in memory ({MEMORY})"), Path::new(MEMORY), true)
    }

    /// On the disk that holds `dir`.
    pub(super) fn disk(dir: &Path) -> Result<Self> {
        Self::new("on the disk of the build".into(), dir, false)
    }

    fn new(name: String, parent: &Path, has_goals: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("instar-bench-").tempdir_in(parent);
        let dir = dir.with_context(|| format!("nothing can be measured in {}", parent.display()))?;
        Ok(Self { name, has_goals, dir })
    }

    pub(super) fn input(&self) -> PathBuf {
        self.dir.path().join("input.raw")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.dir.path().join("output.raw")
    }

    /// Turns the raw input into a qcow2 image, made with `options`.
    fn make_image(&self, options: &[&str]) -> Result<()> {
        let raw = self.dir.path().join("disk.raw");
        std::fs::rename(self.input(), &raw)?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(&raw).arg(self.input());
        command::run(&mut convert)?;
        Ok(std::fs::remove_file(raw)?)
    }

    /// Makes the input. It is on the medium when this returns, so that nobody's time includes writing it.
    pub(super) fn write_input(&self, input: Input) -> Result<()> {
        let mut file = File::create(self.input())?;
        match input {
            Input::Hole(len) => file.set_len(len)?,
            Input::Random(len) | Input::Image(len) => write_random(&mut file, len)?,
            Input::Words(len) | Input::Compressed(len, _) => write_words(&mut file, len)?,
            Input::Sparse(len) => write_sparse(&mut file, len)?,
        }
        match input {
            Input::Image(_) => self.make_image(&[])?,
            Input::Compressed(_, how) => {
                self.make_image(&["-c", "-o", &format!("compression_type={how}")])?;
            }
            Input::Hole(_) | Input::Random(_) | Input::Words(_) | Input::Sparse(_) => {}
        }
        Ok(File::open(self.input())?.sync_all()?)
    }
}

/// Bytes that compress to about a half, as text does.
fn write_words(file: &mut File, len: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let words: Vec<[u8; 8]> = (0..500).map(|_| random.u64(..).to_le_bytes()).collect();
    let mut piece = Vec::with_capacity(PIECE_LEN);
    for _ in 0..len / PIECE_LEN as u64 {
        piece.clear();
        piece.extend((0..PIECE_LEN / 8).flat_map(|_| words[random.usize(..words.len())]));
        file.write_all(&piece)?;
    }
    Ok(())
}

/// A piece of random bytes in each GiB.
fn write_sparse(file: &mut File, len: u64) -> Result<()> {
    file.set_len(len)?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut piece = vec![0; PIECE_LEN];
    for at in (0..len).step_by(1 << 30) {
        random.fill(&mut piece);
        file.write_all_at(&piece, at)?;
    }
    Ok(())
}

/// In small pieces: what this program holds in memory counts for the programs that it starts, too.
fn write_random(file: &mut File, len: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut piece = vec![0; PIECE_LEN];
    let mut rest = len;
    while rest > 0 {
        let now = usize::try_from(rest).map_or(PIECE_LEN, |rest| rest.min(PIECE_LEN));
        random.fill(&mut piece[..now]);
        file.write_all(&piece[..now])?;
        rest -= now as u64;
    }
    Ok(())
}
