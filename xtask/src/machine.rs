//! What this machine offers: an NVIDIA driver, a C++ compiler, a C library new enough.
//! Installs nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::failure::{ENVIRONMENT, Failure};
use crate::step;

/// The oldest C library the wheels of libtorch 2.11 run on (their tag is `manylinux_2_28`).
const GLIBC: (u32, u32) = (2, 28);

/// The wheels in `pip.rs` are those of this one platform.
pub fn require_platform() -> Result<()> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if (os, arch) != ("linux", "x86_64") {
        let message = format!("setup installs libtorch for linux on x86_64, this is {os} on {arch}");
        let hint = "install libtorch 2.11.0 yourself and set LIBTORCH to its folder";
        return Err(Failure::new(ENVIRONMENT, message).hint(hint).into());
    }
    let said = step::answer(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    match glibc_version(&said) {
        Some(version) if version >= GLIBC => Ok(()),
        found => {
            let found = found.map_or("no glibc".to_string(), |(major, minor)| format!("glibc {major}.{minor}"));
            let message =
                format!("libtorch 2.11 needs glibc {}.{} or newer, this machine has {found}", GLIBC.0, GLIBC.1);
            let hint = "use a newer distribution, or build libtorch 2.11.0 yourself and set LIBTORCH to its folder";
            Err(Failure::new(ENVIRONMENT, message).hint(hint).into())
        }
    }
}

/// `glibc 2.36` → (2, 36).
fn glibc_version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// The bindings to libtorch are C++ and are compiled here, by `$CXX` or `c++`.
pub fn require_compiler() -> Result<()> {
    let compiler = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| OsString::from("c++"));
    let status = Command::new(&compiler)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => {
            let message = format!("no C++ compiler: `{}` does not run", compiler.to_string_lossy());
            let hint =
                "install one (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`), or name one in CXX";
            Err(Failure::new(ENVIRONMENT, message).hint(hint).into())
        }
    }
}

/// Whether an NVIDIA driver is installed, by any of its three traces.
pub fn has_nvidia_driver() -> bool {
    let path: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    driver_below(Path::new("/"), &path)
}

fn driver_below(root: &Path, path: &[PathBuf]) -> bool {
    const LIBRARY_FOLDERS: [&str; 6] =
        ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "lib/x86_64-linux-gnu", "lib64", "usr/lib/wsl/lib"];
    root.join("proc/driver/nvidia/version").exists()
        || LIBRARY_FOLDERS.iter().any(|folder| root.join(folder).join("libcuda.so.1").exists())
        || path.iter().any(|folder| folder.join("nvidia-smi").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_versions() {
        assert_eq!(glibc_version("glibc 2.36\n"), Some((2, 36)));
        assert_eq!(glibc_version("glibc 2.9"), Some((2, 9)));
        assert_eq!(glibc_version("glibc 2.28.9000"), Some((2, 28)));
        assert_eq!(glibc_version(""), None);
        assert_eq!(glibc_version("musl 1.2"), None);
        assert!((2, 9) < GLIBC);
    }

    #[test]
    fn each_trace_of_a_driver_is_enough_and_none_is_none() {
        let root = std::env::temp_dir().join(format!("xtask-driver-{}", std::process::id()));
        for trace in ["proc/driver/nvidia/version", "usr/lib/x86_64-linux-gnu/libcuda.so.1", "bin/nvidia-smi"] {
            let file = root.join(trace);
            assert!(!driver_below(&root, &[root.join("bin")]), "{trace}");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            assert!(driver_below(&root, &[root.join("bin")]), "{trace}");
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}
