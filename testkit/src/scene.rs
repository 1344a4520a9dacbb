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
use tempfile::TempDir;

use crate::disk::hex;
use crate::outcome::{Content, Entry, Outcome};
use crate::qemu::Qemu;
use crate::tool::{Run, Tool};

/// `st_blocks` counts these whatever the file system's own block size is.
const STAT_BLOCK: u64 = 512;

const BUFFER_LEN: usize = 1 << 20;

/// How to look at a file that a command made.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// As bytes.
    Bytes,
    /// As a disk image; what `qemu-img` cannot open is "not an image".
    Image(&'a Qemu),
}

/// What `tool dd args` does in a fresh directory that `lay_out` has filled.
pub fn outcome<S: AsRef<OsStr> + Debug>(
    tool: &Tool,
    args: &[S],
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> Outcome {
    run(tool, args, View::Bytes, lay_out).0
}

/// The same, with what the command said, and with a choice of how its output is looked at.
pub fn run<S: AsRef<OsStr> + Debug>(
    tool: &Tool,
    args: &[S],
    view: View<'_>,
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> (Outcome, Run) {
    let words: Vec<_> = [OsStr::new("dd")].into_iter().chain(args.iter().map(S::as_ref)).collect();
    run_words(tool, &words, view, lay_out)
}

/// The same for any command, which is the first of the words.
pub fn run_words<S: AsRef<OsStr> + Debug>(
    tool: &Tool,
    words: &[S],
    view: View<'_>,
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> (Outcome, Run) {
    temporary_dir()
        .and_then(|dir| run_in(dir.path(), tool, words, view, lay_out))
        .unwrap_or_else(|error| panic!("{words:?}: the test itself failed: {error}"))
}

/// What `tool words` does in `dir`, which is empty, once `lay_out` has filled it.
pub fn run_in<S: AsRef<OsStr>>(
    dir: &Path,
    tool: &Tool,
    words: &[S],
    view: View<'_>,
    lay_out: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<(Outcome, Run)> {
    lay_out(dir)?;
    backdate(dir)?;
    let before = listing(dir)?;
    let run = tool.run(dir, words)?;
    let (changed, fully_allocated) = changes_since(&before, view, dir)?;
    Ok((Outcome::new(&run, changed, fully_allocated), run))
}

/// On the disk that holds the build rather than in /tmp, which may be memory.
pub fn temporary_dir() -> io::Result<TempDir> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member is below the root");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let scratch = workspace.join(target).join("tmp");
    fs::create_dir_all(&scratch)?;
    tempfile::tempdir_in(scratch)
}

/// What [`Outcome`] says of files: those below `root` that are not as `before`, and which of these have no holes.
fn changes_since(
    before: &BTreeMap<String, Seen>,
    view: View<'_>,
    root: &Path,
) -> io::Result<(BTreeMap<String, Entry>, BTreeSet<String>)> {
    let after = listing(root)?;
    let mut changed = BTreeMap::new();
    let mut fully_allocated = BTreeSet::new();
    for (name, seen) in after.iter().filter(|(name, seen)| before.get(*name) != Some(*seen)) {
        let path = root.join(name);
        let entry = seen.entry(&path, view)?;
        if matches!(entry, Entry::File(_)) && is_fully_allocated(&path.symlink_metadata()?) {
            fully_allocated.insert(name.clone());
        }
        changed.insert(name.clone(), entry);
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

    fn entry(&self, path: &Path, view: View<'_>) -> io::Result<Entry> {
        Ok(match self {
            Self::File { .. } => match view {
                View::Bytes => Entry::File(content_of(path)?),
                View::Image(qemu) => qemu.look_at(path)?,
            },
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

/// The bytes of the file at `path`.
pub fn content_of(path: &Path) -> io::Result<Content> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Content { size, sha256: hex(&hash.finalize()) }),
            len => {
                hash.update(&buffer[..len]);
                size += len as u64;
            }
        }
    }
}
