//! Compiles the guests, and says where each one lies.

use std::path::PathBuf;

fn main() {
    let root = guest_build::workspace_root();
    for source in guest_build::SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let target_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("guests");
    guest_build::build(root, &target_dir).expect("the guests compile");
    for guest in guest_build::GUESTS {
        let variable = format!("INSTAR_{}", guest.package.replace('-', "_").to_uppercase());
        println!("cargo::rustc-env={variable}={}", guest.path(&target_dir).display());
    }
}
