//! Compiles the loader of the sandbox that is a process, and says where it lies.

use std::path::PathBuf;

fn main() {
    let root = guest_build::workspace_root();
    for source in guest_build::LOADER_SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let target_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("loader");
    guest_build::build_loader(root, &target_dir).expect("the loader compiles");
    println!("cargo::rustc-env=INSTAR_LOADER={}", guest_build::LOADER.path(&target_dir).display());
}
