//! How guests are compiled and measured: used by the build scripts that embed them, and by xtask, which does the same
//! in the open.
//!
//! A guest is an ordinary program of the host's own target, without its standard library and its start files, linked
//! at a fixed address. So a stable compiler with nothing added to it builds one.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_abi::layout::PAGE_SIZE;
use object::read::elf::{FileHeader, ProgramHeader};

/// A guest program.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Its package and binary.
    pub package: &'static str,
}

/// Every guest there is.
pub const GUESTS: &[Guest] = &[
    Guest { package: "guest-convert" },
    Guest { package: "guest-dd" },
    Guest { package: "guest-decode" },
    Guest { package: "guest-update" },
];

/// What turns a process into a guest's, where the sandbox is one.
pub const LOADER: Guest = Guest { package: "guest-loader" };

/// What the loader is made of: the folders, from the workspace's root, that a change of it can be in.
pub const LOADER_SOURCES: &[&str] =
    &["Cargo.toml", "Cargo.lock", "crates/guest-abi", "guest/build", "guest/loader"];

/// What guests are made of: the folders, from the workspace's root, that a change of the guests can be in.
pub const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "crates/dd-window",
    "crates/fmt-core",
    "crates/fmt-qcow2",
    "crates/fmt-raw",
    "crates/fmt-vhd",
    "crates/fmt-vhdx",
    "crates/fmt-vmdk",
    "crates/guest-abi",
    "guest/build",
    "guest/convert",
    "guest/dd",
    "guest/decode",
    "guest/ops",
    "guest/rt",
    "guest/update",
];

/// Only processors of this kind have guests.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the workspace that this crate was compiled in.
#[must_use]
pub fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

impl Guest {
    /// Where [`build`] leaves the guest below `target_dir`.
    #[must_use]
    pub fn path(&self, target_dir: &Path) -> PathBuf {
        target_dir.join(TARGET).join("guest").join(self.package)
    }
}

/// Compiles all guests of the workspace at `root` below `target_dir`, which no other cargo may be using.
///
/// # Errors
///
/// When cargo cannot be started, or fails: it has said why on stderr then.
pub fn build(root: &Path, target_dir: &Path) -> io::Result<()> {
    compile(GUESTS, "guest/rt/guest.ld", root, target_dir)
}

/// Compiles the loader, as [`build`] does the guests.
///
/// # Errors
///
/// As [`build`].
pub fn build_loader(root: &Path, target_dir: &Path) -> io::Result<()> {
    compile(&[LOADER], "guest/loader/loader.ld", root, target_dir)
}

fn compile(programs: &[Guest], script: &str, root: &Path, target_dir: &Path) -> io::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--profile", "guest", "--target", TARGET]);
    for program in programs {
        command.args(["--package", program.package]);
    }
    command.args(["--features", "bare-metal", "--target-dir"]).arg(target_dir);
    for name in inherited_settings() {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(script, root));
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("building the guests failed: {status}")))
    }
}

/// What an outer cargo, or the user, may have set for the host's programs and must not reach the guests: other flags,
/// another compiler in between (clippy), another place.
fn inherited_settings() -> impl Iterator<Item = OsString> {
    let foreign = |name: &str| {
        name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_TARGET_")
            || matches!(name, "RUSTFLAGS" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER")
    };
    std::env::vars_os().map(|(name, _)| name).filter(move |name| name.to_str().is_some_and(foreign))
}

/// The compiler's flags, as cargo wants them in `CARGO_ENCODED_RUSTFLAGS`.
fn rust_flags(script: &str, root: &Path) -> OsString {
    let mut flags: Vec<OsString> = [
        "-Crelocation-model=static",
        "-Ctarget-cpu=x86-64",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-static",
        "-Clink-arg=-no-pie",
        "-Clink-arg=-Wl,--build-id=none",
    ]
    .map(OsString::from)
    .to_vec();
    // From the workspace's root, where cargo runs the compiler, so that no build depends on where that is.
    flags.push(format!("-Clink-arg=-Wl,-T,{script}").into());
    // No path of the machine that compiles is embedded.
    flags.push(remap(root, "instar"));
    if let Some(home) = cargo_home() {
        flags.push(remap(&home, "cargo"));
    }
    flags.join("\x1f".as_ref())
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// The memory that a guest takes when it is loaded, in bytes: its segments in whole pages. That of its stack and of
/// the exchange is the host's choice and not counted.
///
/// # Errors
///
/// When `elf` is not a 64-bit ELF file.
pub fn loaded_size(elf: &[u8]) -> Result<u64, object::read::Error> {
    let header = object::elf::FileHeader64::<object::LittleEndian>::parse(elf)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, elf)?.iter();
    let sizes = segments.filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD).map(|segment| {
        let start = segment.p_vaddr(endian) / PAGE_SIZE * PAGE_SIZE;
        let end = segment.p_vaddr(endian).saturating_add(segment.p_memsz(endian));
        end.div_ceil(PAGE_SIZE).saturating_mul(PAGE_SIZE).saturating_sub(start)
    });
    Ok(sizes.fold(0, u64::saturating_add))
}
