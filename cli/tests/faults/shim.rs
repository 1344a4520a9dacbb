//! instar in a world where system calls do not simply succeed.

use core::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use testkit::tool::Tool;

use crate::INSTAR;

/// `shim.c`, compiled.
pub(crate) struct Shim(TempDir);

impl Shim {
    pub(crate) fn build() -> Self {
        let dir = testkit::scene::temporary_dir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o"])
            .arg(path(&dir))
            .output();
        let output = compiler.expect("a C compiler, without which nothing here could have been linked");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(dir)
    }

    /// instar, to whose calls of `call` something happens.
    pub(crate) fn instar(&self, call: &str, at: usize, errno: i32) -> Tool {
        let tool = self.reproducible().with("FAULT_CALL", call).with("FAULT_AT", at.to_string());
        tool.with("FAULT_ERRNO", errno.to_string())
    }

    /// instar, which stops before its `at`th call of `call`.
    pub(crate) fn stopping_instar(&self, call: &str, at: usize) -> Tool {
        self.reproducible().with("FAULT_CALL", call).with("FAULT_AT", at.to_string()).with("FAULT_STOP", "1")
    }

    /// instar, to whom these bytes of files cannot be read.
    pub(crate) fn instar_not_reading(&self, area: &Range<u64>) -> Tool {
        self.reproducible().with("FAULT_AREA", format!("{} {}", area.start, area.end))
    }

    /// instar, interrupted a thousand times a second.
    pub(crate) fn stormy_instar(&self) -> Tool {
        self.reproducible().with("STORM_MICROSECONDS", "1000")
    }

    /// instar, whose outputs depend on nothing but the input.
    pub(crate) fn reproducible(&self) -> Tool {
        Tool::named(INSTAR).with("LD_PRELOAD", path(&self.0)).with("SOURCE_DATE_EPOCH", "1")
    }
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("shim.so")
}
