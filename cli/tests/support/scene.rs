//! One command in a fresh directory: lay files out, run, see what changed.

use core::fmt::Debug;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::disk::hex;
use super::outcome::{Entry, Outcome};
use super::tool::Tool;

/// `st_blocks` counts these whatever the file system's own block size is.
const STAT_BLOCK: u64 = 512;

const BUFFER_LEN: usize = 1 << 20;

/// What `tool dd args` does in a fresh directory that `lay_out` has filled.
pub(crate) fn outcome<S: AsRef<OsStr> + Debug>(
    tool: &Tool,
    args: &[S],
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> Outcome {
    try_outcome(tool, args, lay_out)
        .unwrap_or_else(|error| panic!("dd {args:?}: the test itself failed: {error}"))
}

fn try_outcome<S: AsRef<OsStr> + Debug>(
    tool: &Tool,
    args: &[S],
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<Outcome> {
    // On the disk that holds the build rather than in /tmp, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    lay_out(dir.path())?;
    backdate(dir.path())?;
    let before = listing(dir.path())?;
    let run = tool.dd(dir.path(), args)?;
    let (changed, fully_allocated) = changes_since(&before, dir.path())?;
    Ok(Outcome::new(&run, changed, fully_allocated))
}

/// What [`Outcome`] says of files: those below `root` that are not as `before`, and which of these have no holes.
fn changes_since(
    before: &BTreeMap<String, Seen>,
    root: &Path,
) -> io::Result<(BTreeMap<String, Entry>, BTreeSet<String>)> {
    let after = listing(root)?;
    let mut changed = BTreeMap::new();
    let mut fully_allocated = BTreeSet::new();
    for (name, seen) in after.iter().filter(|(name, seen)| before.get(*name) != Some(*seen)) {
        let path = root.join(name);
        changed.insert(name.clone(), seen.entry(&path)?);
        if is_fully_allocated(&path.symlink_metadata()?) {
            fully_allocated.insert(name.clone());
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changed.insert(name.clone(), Entry::Other("removed".into()));
    }
    Ok((changed, fully_allocated))
}

/// What tells whether a file was touched, without reading it: some of them have gigabytes.
#[derive(PartialEq, Eq)]
enum Seen {
    File { size: u64, modified: SystemTime },
    Directory,
    Symlink(PathBuf),
    Special,
}

impl Seen {
    fn new(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        Ok(if metadata.is_file() {
            Self::File { size: metadata.len(), modified: metadata.modified()? }
        } else if metadata.is_dir() {
            Self::Directory
        } else if metadata.is_symlink() {
            Self::Symlink(fs::read_link(path)?)
        } else {
            Self::Special
        })
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        Ok(match self {
            Self::File { size, .. } => Entry::File { size: *size, sha256: sha256_of(path)? },
            Self::Directory => Entry::Other("directory".into()),
            Self::Symlink(to) => Entry::Other(format!("symlink to {}", to.display())),
            Self::Special => Entry::Other("special file".into()),
        })
    }
}

fn is_fully_allocated(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.blocks() * STAT_BLOCK >= metadata.len()
}

/// Everything below `root`, by its name relative to it.
fn listing(root: &Path) -> io::Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    let mut unread = vec![root.to_path_buf()];
    while let Some(dir) = unread.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let seen = Seen::new(&path, &path.symlink_metadata()?)?;
            let name = path.strip_prefix(root).expect("found below root").to_string_lossy().into_owned();
            if seen == Seen::Directory {
                unread.push(path);
            }
            found.insert(name, seen);
        }
    }
    Ok(found)
}

/// Gives every regular file an old modification time, so that any write to it shows, however soon it follows.
fn backdate(root: &Path) -> io::Result<()> {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for (name, seen) in listing(root)? {
        if matches!(seen, Seen::File { .. }) {
            File::open(root.join(name))?.set_modified(long_ago)?;
        }
    }
    Ok(())
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            len => hash.update(&buffer[..len]),
        }
    }
}
