//! QEMU's tools, to make images with and to look at images with.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::disk::Disk;
use crate::outcome::{Content, Entry, Exit, Image};
use crate::scene;
use crate::tool::{Tool, require_tool};

/// What `qemu-img check` exits with where there is nothing that it could check.
const CANNOT_BE_CHECKED: i32 = 63;

/// How a VHD's footer begins, and its length in bytes.
const VHD_MARK: [u8; 8] = *b"conectix";
const VHD_FOOTER_LEN: u64 = 512;

/// Each is its own in every image, or depends on where an image lies and on the moment.
const INCIDENTAL: &[&str] = &[
    "actual-size",
    "children",
    "dirty-flag",
    "filename",
    "full-backing-filename",
    "cid",
    "parent-cid",
    "uuid",
];

/// The installed `qemu-img` and `qemu-io`.
pub struct Qemu {
    img: Tool,
}

impl Qemu {
    /// QEMU's tools, or `None` where they are not installed, which is a failure in CI.
    pub fn require() -> Option<Self> {
        let (img, _) = require_tool("qemu-img").zip(require_tool("qemu-io"))?;
        Some(Self { img })
    }

    /// The installed `qemu-io`, and `img` for `qemu-img`: images are looked at by that.
    pub fn with_img(img: Tool) -> Self {
        Self { img }
    }

    /// `qemu-img`.
    pub fn img(&self) -> &Tool {
        &self.img
    }

    /// Runs a shell script in `dir`, whose `$1`, `$2`, … are `args`. The script ends at its first error.
    pub fn script(dir: &Path, script: &str, args: &[&Path]) -> io::Result<()> {
        let output = Command::new("sh")
            .args(["-ec", script, "sh"])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("{}: {said}", output.status)))
        }
    }

    /// Makes the qcow2 image `dir`/`name` with default options, and writes the data of `disk` into it.
    pub fn make_qcow2(dir: &Path, name: &str, disk: &Disk) -> io::Result<()> {
        Self::script(dir, &format!("qemu-img create -q -f qcow2 {name} {}", disk.size()), &[])?;
        let scratch = scene::temporary_dir()?;
        let mut writes = Vec::new();
        for (number, (at, bytes)) in disk.extents().enumerate() {
            let data = scratch.path().join(number.to_string());
            fs::write(&data, bytes)?;
            writes.push(format!("-c 'write -s {} {at} {}'", data.display(), bytes.len()));
        }
        if writes.is_empty() {
            return Ok(());
        }
        Self::script(dir, &format!("qemu-io -f qcow2 {} {name}", writes.join(" ")), &[])
    }

    /// What the file at `path` is as a disk image.
    pub fn look_at(&self, path: &Path) -> io::Result<Entry> {
        let mut found = self.info(path, &[])?;
        // qemu-img probes the beginnings of files, and a fixed VHD has nothing there.
        if found.as_ref().is_some_and(|info| info["format"] == "raw") && is_fixed_vhd(path)? {
            found = self.info(path, &["-f", "vpc"])?;
        }
        let Some(mut info) = found else {
            return Ok(Entry::Other("not an image".into()));
        };
        without_incidentals(&mut info);
        let format = info["format"].as_str().expect("every image has a format").to_owned();
        let Some(disk) = self.disk_of(path, &format)? else {
            return Ok(Entry::Other("an image that cannot be read".into()));
        };
        let file_size = fs::metadata(path)?.len();
        Ok(Entry::Image(Image { info, disk, file_size, damage: self.damage_of(path, &format)? }))
    }

    /// What `qemu-img info` says of it with these options; nothing if it is no image.
    fn info(&self, path: &Path, options: &[&str]) -> io::Result<Option<Value>> {
        let words = ["info", "--output=json"].iter().chain(options).map(OsStr::new);
        let info = self.img.run(Path::new("."), words.chain([path.as_os_str()]))?;
        if info.exit == Exit::Code(0) { Ok(Some(serde_json::from_str(&info.stdout)?)) } else { Ok(None) }
    }

    fn disk_of(&self, path: &Path, format: &str) -> io::Result<Option<Content>> {
        // Beside the image, where there was room for as much.
        let beside = path.parent().unwrap_or(Path::new("."));
        let scratch = tempfile::tempdir_in(beside)?;
        let args = ["convert".as_ref(), "-f".as_ref(), format.as_ref(), path.as_os_str(), "disk".as_ref()];
        let run = self.img.run(scratch.path(), args)?;
        if run.exit != Exit::Code(0) {
            return Ok(None);
        }
        scene::content_of(&scratch.path().join("disk")).map(Some)
    }

    fn damage_of(&self, path: &Path, format: &str) -> io::Result<Option<String>> {
        let args = ["check".as_ref(), "-f".as_ref(), format.as_ref(), path.as_os_str()];
        let run = self.img.run(Path::new("."), args)?;
        let sound = matches!(run.exit, Exit::Code(0 | CANNOT_BE_CHECKED));
        Ok((!sound).then(|| format!("qemu-img check: {:?}: {}{}", run.exit, run.stdout, run.stderr)))
    }
}

/// Whether the file at `path` ends with the footer of a VHD, and does not begin with a copy of it.
fn is_fixed_vhd(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let Some(footer) = file.metadata()?.len().checked_sub(VHD_FOOTER_LEN) else { return Ok(false) };
    let is_mark = |at| {
        let mut mark = [0; VHD_MARK.len()];
        file.read_exact_at(&mut mark, at).map(|()| mark == VHD_MARK)
    };
    Ok(is_mark(footer)? && !is_mark(0)?)
}

fn without_incidentals(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !INCIDENTAL.contains(&name.as_str()));
            members.values_mut().for_each(without_incidentals);
        }
        Value::Array(values) => values.iter_mut().for_each(without_incidentals),
        _ => {}
    }
}
