//! The files that images may name: a few, in one directory and another one in it.

use std::collections::BTreeMap;

/// Names that are in the data window whenever a ring comes. Guests may name any part of it.
pub(crate) const NAMES: &[u8] = b"\
    named\0\
    below/first\0\
    below/second\0\
    second\0\
    ../named\0\
    input\0\
    existing-output\0\
    nowhere\0\
    nbd:named\0\
    in-place\0";

/// What is there beside the files of the command, and what is in it.
pub(crate) const FILES: [(&str, &[u8]); 3] =
    [("named", b"a file"), ("below/first", b"a file in a directory"), ("below/second", &[7; 600])];

/// Regular files by their paths.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

/// A file that has been opened.
#[derive(Clone, Debug)]
pub(crate) struct TreeFile {
    pub(crate) bytes: Vec<u8>,
    /// Its path, and before it those of the files by whose names it was found.
    chain: Vec<String>,
}

impl Tree {
    /// [`FILES`], and these.
    pub(crate) fn new(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let named = FILES.into_iter().map(|(path, bytes)| (path, bytes.to_vec()));
        Self { files: named.chain(files).map(|(path, bytes)| (path.to_owned(), bytes)).collect() }
    }

    /// The file at `path`, as the user names it.
    pub(crate) fn file(&self, path: &str) -> TreeFile {
        TreeFile::new(path, &self.files[path])
    }

    /// What the image `from` may name so: a file beneath its own directory, by whose name it was not found itself.
    pub(crate) fn open(&self, from: &TreeFile, name: &[u8]) -> Option<TreeFile> {
        let name = str::from_utf8(name).ok()?;
        let home = from.chain.last()?.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
        let path = home + name.strip_prefix("./").unwrap_or(name);
        let bytes = self.files.get(&path).filter(|_| !from.chain.contains(&path))?.clone();
        Some(TreeFile { bytes, chain: [from.chain.as_slice(), &[path]].concat() })
    }
}

impl TreeFile {
    /// A file that the user names.
    pub(crate) fn new(path: &str, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), chain: vec![path.to_owned()] }
    }
}
