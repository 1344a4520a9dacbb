//! Which files an image may name.
//!
//! A name that is found inside an image was written by the image's author. It is a request: what it asks for is given
//! if it lies beneath the directory of the image that it was found in, or beneath a directory that the user allowed.

use core::iter;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use guest_abi::exchange::NAME_LEN;

use super::FileId;
use super::dir::{Dir, Miss};
use super::kind::Nature;
use super::name_error::NameErrorKind;
use super::room::make_room;

/// How many files a chain of names may have behind the one that the user named.
pub const MAX_DEPTH: usize = 16;

/// How many files a command may have, those that images name included.
pub const MAX_FILES: usize = 1024;

/// How many symbolic links are followed from one directory that a file may lie beneath to another: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Where files came from that images named, and where further ones may come from.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// The directories that the user allowed.
    allowed: Vec<Dir>,
    /// Of each file that was named by an image.
    origins: BTreeMap<FileId, Origin>,
    /// The directories of the images that have named a file.
    homes: BTreeMap<FileId, Arc<Dir>>,
}

/// How a file was found.
#[derive(Debug)]
struct Origin {
    /// The image that named it.
    from: FileId,
    /// What that called it.
    name: PathBuf,
}

/// Where a name may lead to.
struct Place<'a> {
    /// The directory beneath which it has to stay.
    root: &'a Dir,
    rest: &'a Path,
    /// Whether a block device may be there.
    devices: bool,
}

impl Naming {
    /// Lets images name what is beneath `dir`.
    pub(super) fn allow(&mut self, dir: Dir) {
        self.allowed.push(dir);
    }

    /// The files by whose names `id` was found, the nearest first, `id` itself before them.
    pub(super) fn chain(&self, id: FileId) -> impl Iterator<Item = FileId> {
        iter::successors(Some(id), |id| self.origins.get(id).map(|origin| origin.from))
    }

    /// Opens what the image `from`, which was opened at `image`, calls `name`.
    pub(super) fn open(
        &mut self,
        from: FileId,
        image: &Path,
        name: &Path,
    ) -> Result<(File, Nature), NameErrorKind> {
        let home = self.home(from, image)?;
        // Where that is not allowed, opening fails when it comes to that.
        let _ = make_room(MAX_FILES);
        self.find(&home, name, |place| place.root.open_file(place.rest, place.devices))
    }

    /// Notes that `id` is what `from` calls `name`.
    pub(super) fn note(&mut self, id: FileId, from: FileId, name: &Path) {
        self.origins.insert(id, Origin { from, name: name.to_owned() });
    }

    /// The directory of `image`, which is `id`.
    fn home(&mut self, id: FileId, image: &Path) -> Result<Arc<Dir>, NameErrorKind> {
        if let Some(home) = self.homes.get(&id) {
            return Ok(Arc::clone(home));
        }
        let home = match self.origins.get(&id) {
            // By the way that it was found: the path as a whole may lead elsewhere by now.
            Some(Origin { from, name }) => {
                let of_namer = &self.homes[from];
                self.find(of_namer, parent(name), |place| place.root.subdir(place.rest))?
            }
            None => Dir::open(parent(image))?,
        };
        let home = Arc::new(home);
        self.homes.insert(id, Arc::clone(&home));
        Ok(home)
    }

    /// What `open` finds at the first place where `name` may lead to from `home`.
    ///
    /// The system follows links that stay beneath the directory where they are. One that leads from there to another that
    /// is allowed, or is absolute, is replaced here by where it leads, and that is looked up like a name. Only links
    /// beneath such directories are read.
    fn find<T>(
        &self,
        home: &Dir,
        name: &Path,
        open: impl Fn(&Place<'_>) -> Result<T, Miss>,
    ) -> Result<T, NameErrorKind> {
        let mut name = name.to_owned();
        for _ in 0..=MAX_LINKS {
            let absolute = climbed(home.path(), &name);
            for place in self.places(home, &name, &absolute) {
                match open(&place) {
                    Err(Miss::Outside) => {}
                    found => return Ok(found?),
                }
            }
            let mut roots = iter::once(home).chain(&self.allowed);
            match roots.find_map(|root| root.through_first_link(root.rest_of(&absolute)?)) {
                Some(path) => name = path,
                None => break,
            }
        }
        Err(NameErrorKind::NotAllowed)
    }

    /// Where `name` may lead to from `home`; `absolute` is the same, as an absolute path.
    fn places<'a>(
        &'a self,
        home: &'a Dir,
        name: &'a Path,
        absolute: &'a Path,
    ) -> impl Iterator<Item = Place<'a>> {
        let in_home = if name.is_relative() { Some(name) } else { home.rest_of(name) };
        let in_home = in_home.map(|rest| Place { root: home, rest, devices: false });
        let in_allowed = self.allowed.iter().filter_map(|root| {
            let rest = root.rest_of(absolute)?;
            Some(Place { root, rest, devices: true })
        });
        in_home.into_iter().chain(in_allowed)
    }
}

/// The path that `name` is, if it is the plain path of a file. It may lead anywhere.
///
/// As in `qemu-img`, what comes before a colon, if no slash comes earlier, is a protocol: `nbd:`, `json:`, `fd:`. So is
/// `file:`, behind which `qemu-img` would look from its working directory, not from that of the image.
pub(super) fn plain_path(name: &[u8]) -> Result<&Path, NameErrorKind> {
    if name.is_empty() {
        return Err(NameErrorKind::Empty);
    }
    if name.len() as u64 > NAME_LEN {
        return Err(NameErrorKind::TooLong);
    }
    if name.contains(&0) {
        return Err(NameErrorKind::Nul);
    }
    match name.iter().find(|byte| matches!(byte, b':' | b'/')) {
        Some(b':') => Err(NameErrorKind::Protocol),
        _ => Ok(Path::new(OsStr::from_bytes(name))),
    }
}

/// The directory that the file at `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `name` as seen from the directory `home`, whose path has no symbolic links: so each `..` that `name` begins with takes a
/// component of that path away. A `..` behind another component is left to the system, for there may be a link before it.
pub(super) fn climbed(home: &Path, name: &Path) -> PathBuf {
    let mut home = home.to_owned();
    let mut rest = name.components();
    loop {
        match rest.clone().next() {
            Some(Component::ParentDir) => drop(home.pop()),
            Some(Component::CurDir) => {}
            // An absolute name replaces what it is joined to.
            _ => return home.join(rest.as_path()),
        }
        rest.next();
    }
}

impl From<Miss> for NameErrorKind {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Outside => Self::NotAllowed,
            Miss::Unsupported => Self::Unsupported,
            Miss::Unusable(kind) => Self::File(kind),
        }
    }
}
