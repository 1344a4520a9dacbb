//! Running `qemu-img` and `qemu-io` in a directory of their own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

use fmt_core::file::StdFile;
use fmt_vhdx::VhdxMap;

use crate::common::OUTPUT;

pub(crate) struct Qemu(tempfile::TempDir);

impl Qemu {
    /// `None`, said aloud, where QEMU's tools are not installed. In CI that is a failure.
    pub(crate) fn new() -> Option<Self> {
        let found = ["qemu-img", "qemu-io"].map(|tool| Command::new(tool).arg("--version").output().is_ok());
        if found == [true; 2] {
            return Some(Self(tempfile::tempdir().unwrap()));
        }
        assert!(std::env::var_os("CI").is_none(), "qemu-img and qemu-io are missing");
        eprintln!("SKIPPED: qemu-img and qemu-io are missing, nothing was compared");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, tool: &str, args: &[&str]) -> Output {
        Command::new(tool).args(args).current_dir(self.0.path()).output().unwrap()
    }

    /// The standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn run(&self, tool: &str, args: &[&str]) -> String {
        let output = self.command(tool, args);
        let text = format!("{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn img(&self, args: &[&str]) -> String {
        self.run("qemu-img", args)
    }

    /// Whether a command of `qemu-img` succeeds.
    pub(crate) fn try_img(&self, args: &[&str]) -> bool {
        self.command("qemu-img", args).status.success()
    }

    /// The standard error of a command that must fail.
    #[track_caller]
    pub(crate) fn fails(&self, tool: &str, args: &[&str]) -> String {
        let output = self.command(tool, args);
        assert!(!output.status.success(), "{tool} {args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs `qemu-io` commands on an image.
    #[track_caller]
    pub(crate) fn io(&self, image: &str, commands: &[&str]) {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        let args: Vec<&str> = ["-f", "vhdx"].into_iter().chain(commands).chain([image]).collect();
        let said = self.run("qemu-io", &args);
        assert!(!said.contains("failed"), "{said}");
    }

    pub(crate) fn open(&self, name: &str) -> VhdxMap<StdFile> {
        VhdxMap::open(self.file(name), OUTPUT).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> StdFile {
        StdFile::new(File::open(self.path(name)).unwrap()).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// What `qemu-img info` says of the format: all that does not name this one file.
    #[track_caller]
    pub(crate) fn info(&self, name: &str) -> Vec<String> {
        let json = self.img(&["info", "--output=json", name]);
        // The keys of the image follow those of its file, which is named among its children.
        let (_, own) = json.split_once("\n    ],").unwrap();
        let kept = |line: &&str| !["filename", "actual-size"].iter().any(|key| line.contains(key));
        own.lines().map(str::trim).filter(kept).map(|line| line.trim_end_matches(',').to_owned()).collect()
    }
}
