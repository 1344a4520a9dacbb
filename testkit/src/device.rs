//! Loop devices, which need root.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::scene;

/// A block device with a file behind it.
pub struct Device {
    dir: TempDir,
    path: PathBuf,
}

impl Device {
    /// A device that holds `bytes`, or `None` where there can be none, which is a failure in CI.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Self::with(bytes, &[])
    }

    /// One to which nobody may write.
    pub fn read_only(bytes: &[u8]) -> Option<Self> {
        Self::with(bytes, &["--read-only"])
    }

    fn with(bytes: &[u8], options: &[&str]) -> Option<Self> {
        let dir = scene::temporary_dir().expect("a directory");
        let file = dir.path().join("backing");
        fs::write(&file, bytes).expect("a file");
        let output = Command::new("losetup").args(["--find", "--show"]).args(options).arg(&file).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to make loop devices");
            let _ = writeln!(io::stderr(), "SKIPPED: loop devices cannot be made here");
            return None;
        };
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Some(Self { dir, path })
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file behind it.
    pub fn backing(&self) -> PathBuf {
        self.dir.path().join("backing")
    }

    /// What it holds.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the device can be read")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
