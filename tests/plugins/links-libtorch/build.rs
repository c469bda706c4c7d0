//! Makes the library need libtorch, as a plugin that links it would.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let libtorch = std::env::var_os("LIBTORCH").map(PathBuf::from).expect("LIBTORCH is set by .cargo/config.toml");
    println!("cargo:rustc-link-arg-cdylib=-L{}", libtorch.join("lib").display());
    println!("cargo:rustc-link-arg-cdylib=-Wl,--no-as-needed,-l:libtorch_cpu.so,--as-needed");
    // what libtorch itself needs is beside the point
    println!("cargo:rustc-link-arg-cdylib=-Wl,--allow-shlib-undefined");
}
