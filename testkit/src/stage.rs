//! Files that are made once, and are there in many scenes.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::qemu::Qemu;
use crate::scene;
use crate::tool::Tool;

/// The tools that are compared, and the files that both find.
pub struct Stage {
    /// The one under test.
    pub instar: Tool,
    /// The ones to compare with.
    pub qemu: Qemu,
    props: TempDir,
    written: &'static [&'static str],
}

impl Stage {
    /// Has the files made by `make`, in a directory of their own. Those called like one of `written` may be written in a
    /// scene, the others only read.
    ///
    /// `None` where QEMU is not installed.
    pub fn set(
        instar: &str,
        written: &'static [&'static str],
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Option<Self> {
        let qemu = Qemu::require()?;
        let props = scene::temporary_dir().expect("a directory for the files");
        make(props.path()).expect("the files are made");
        Some(Self { instar: Tool::named(instar), qemu, props, written })
    }

    /// The directory in which the files were made.
    pub fn props(&self) -> &Path {
        self.props.path()
    }

    /// A fresh directory with the files.
    pub fn dir(&self) -> TempDir {
        let dir = scene::temporary_dir().expect("a directory");
        self.lay_out(dir.path()).expect("links to the files");
        dir
    }

    /// Puts the files into the directory `dir`.
    pub fn lay_out(&self, dir: &Path) -> io::Result<()> {
        for prop in fs::read_dir(self.props())? {
            let prop = prop?;
            let (from, to) = (prop.path(), dir.join(prop.file_name()));
            if self.written.iter().any(|name| prop.file_name() == *name) {
                fs::copy(from, to)?;
            } else {
                fs::hard_link(from, to)?;
            }
        }
        Ok(())
    }
}

/// Makes the disk in `raw.img`, in the directory `dir`, one in each of `formats` too: `FORMAT.img`, converted with these
/// options.
pub fn in_formats(dir: &Path, options: &str, formats: &[&str]) -> io::Result<()> {
    for format in formats {
        let convert = format!("qemu-img convert {options} -f raw -O {format} raw.img {format}.img");
        Qemu::script(dir, &convert, &[])?;
    }
    Ok(())
}
