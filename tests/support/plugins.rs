//! Builds the plugins beside the binary under test, for `cargo test` builds only what a test links.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Packages of the plugins that the registry names.
const PLUGINS: [&str; 10] = [
    "adaptive",
    "averaging",
    "factored",
    "momentum",
    "parameter-free",
    "sign",
    "trust",
    "matrix",
    "projections",
    "arch-ops",
];
/// Packages of the plugins that must be refused or contained.
const FIXTURES: [&str; 10] = [
    "fails",
    "fails-late",
    "future",
    "future-major",
    "links-libtorch",
    "mislabelled",
    "misbehaves",
    "overruns",
    "panics",
    "twin",
];

/// The folder with the registry's plugins, built once per test binary.
pub fn plugins() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&PLUGINS))
}

/// The library of a plugin or fixture, by the name of its crate with underscores.
pub fn library(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = match PLUGINS.contains(&name.replace('_', "-").as_str()) {
        true => plugins(),
        false => BUILT.get_or_init(|| build(&FIXTURES)),
    };
    let path = folder.join(format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    assert!(path.exists(), "{} is not there after a build", path.display());
    path
}

/// Builds packages with the profile and into the folder of the binary under test; gives that folder.
fn build(packages: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_host")).parent().expect("the binary lies in a folder").to_path_buf();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace"));
    command.args(["build", "--quiet", "--offline", "--profile", profile, "--target-dir"]);
    command.arg(folder.parent().expect("the profile's folder lies in the target folder"));
    for package in packages {
        command.args(["--package", package]);
    }
    // As the whole workspace has it, so that its plugins are not built twice.
    command.args(["--features", "sdk/conformance"]);
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the plugins do not build");
    folder
}
