//! Lets every target find libtorch at run time, and compiles the shim to libtorch's threads, streams, memory and version.
//! Does not look for libtorch itself: torch-sys did, and says where.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let lib = libtorch_lib();
    let include = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from).unwrap_or_else(|| lib.join("..")).join("include");
    for name in ["LIBTORCH", "LIBTORCH_INCLUDE", "LIBTORCH_LIB", "DEP_TCH_LIBTORCH_LIB"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=shim");

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(["shim/parallel.cpp", "shim/cuda_stream.cpp", "shim/device_memory.cpp", "shim/libtorch.cpp"])
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        // ATen's headers start threads by OpenMP only where it is switched on.
        .flag("-fopenmp")
        // Warnings of ATen's headers are not ours.
        .warnings(false)
        .compile("host_shim");
    println!("cargo::rustc-link-search=native={}", lib.display());
    // The shim names c10 symbols itself. libgomp is found beside libtorch at run time, so that there is one thread
    // pool.
    for name in ["c10", "gomp"] {
        println!("cargo::rustc-link-lib=dylib={name}");
    }

    println!("cargo::rustc-env=HOST_LIBTORCH_VERSION={}", libtorch_version(&lib));
    println!("cargo::rustc-env=HOST_RUSTC_VERSION={}", rustc_version());

    // The folder libtorch was linked from, then the folders of a bundle: `bin/host` beside `lib`, or `lib` beside
    // `host`.
    for folder in [lib.display().to_string(), "$ORIGIN/../lib".into(), "$ORIGIN/lib".into()] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}

/// As torch-sys reports it; where that is not passed on, as the variables say.
fn libtorch_lib() -> PathBuf {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let lib = given("DEP_TCH_LIBTORCH_LIB")
        .or_else(|| given("LIBTORCH_LIB").map(|root| root.join("lib")))
        .or_else(|| given("LIBTORCH").map(|root| root.join("lib")))
        .expect("libtorch is not installed: `cargo xtask setup` installs it, or set LIBTORCH to its folder");
    lib.canonicalize().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask setup` installs libtorch, or set LIBTORCH to its folder", lib.display())
    })
}

/// As the folder says: a wheel carries `version.py`, an archive `build-version`.
fn libtorch_version(lib: &Path) -> String {
    let root = lib.parent().unwrap_or(lib);
    if let Ok(text) = fs::read_to_string(root.join("build-version")) {
        return text.trim().to_string();
    }
    let text = fs::read_to_string(root.join("version.py")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "));
    line.map_or_else(|| "unknown".to_string(), |version| version.trim_matches(['\'', '"']).to_string())
}

fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    text.unwrap_or_else(|_| "unknown".to_string())
}
