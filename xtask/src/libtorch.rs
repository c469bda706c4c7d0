//! What makes a libtorch one that this workspace can be built with, and what the stamp of our own install says.
//! Installs nothing.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::failure::{ENVIRONMENT, Failure};
use crate::workspace::Workspace;

/// The libtorch that this workspace's `tch` is made for.
pub const VERSION: &str = "2.11.0";

/// The folder of our own install, in the workspace's root. `.cargo/config.toml` names it as well.
pub const FOLDER: &str = ".libtorch";

/// Written last, so that its presence means a finished install.
const STAMP: &str = "installed";

/// Which libraries beside torch itself are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// What libtorch needs to be loaded at all.
    Cpu,
    /// All CUDA libraries, too.
    Cuda,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Set::Cpu => "cpu",
            Set::Cuda => "cuda",
        })
    }
}

/// Where the libtorch of this build comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// Ours, in [`FOLDER`].
    Installed,
    /// The user's own, named by LIBTORCH.
    Own(PathBuf),
}

impl Source {
    /// `.cargo/config.toml` gives LIBTORCH to every process under cargo: a value that is our own folder is not the
    /// user's choice.
    pub fn of(workspace: &Workspace, variable: Option<PathBuf>) -> Result<Source> {
        let Some(given) = variable else {
            return Ok(Source::Installed);
        };
        let ours = workspace.root.join(FOLDER).join("torch");
        if given == ours {
            return Ok(Source::Installed);
        }
        if given.as_os_str().is_empty() || given.is_relative() {
            let message = format!("LIBTORCH is `{}`, which is not an absolute path", given.display());
            let hint = "name the folder that holds lib/libtorch.so, or unset LIBTORCH to have one installed";
            return Err(Failure::new(ENVIRONMENT, message).hint(hint).into());
        }
        match (given.canonicalize(), ours.canonicalize()) {
            (Ok(given), Ok(ours)) if given == ours => Ok(Source::Installed),
            _ => Ok(Source::Own(given)),
        }
    }
}

/// Checks a libtorch that the user brought.
pub fn check(folder: &Path) -> Result<()> {
    let hint = format!("name a libtorch {VERSION} in LIBTORCH, or unset LIBTORCH to have one installed");
    let refuse = |message: String| Err(Failure::new(ENVIRONMENT, message).hint(hint.clone()).into());
    let library = folder.join("lib").join(format!("libtorch{}", std::env::consts::DLL_SUFFIX));
    if !library.is_file() {
        return refuse(format!("LIBTORCH is {}, which holds no {}", folder.display(), library.display()));
    }
    let header = folder.join("include/torch/csrc/api/include/torch/torch.h");
    if !header.is_file() {
        return refuse(format!("LIBTORCH is {}, which holds no headers ({})", folder.display(), header.display()));
    }
    match version_of(folder) {
        Some(version) if is_supported(&version) => Ok(()),
        Some(version) => refuse(format!("LIBTORCH is {}, which is libtorch {version}", folder.display())),
        None => refuse(format!("LIBTORCH is {}, which does not say its version", folder.display())),
    }
}

/// Patch releases keep the C++ interface.
fn is_supported(version: &str) -> bool {
    let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
    version.strip_prefix(minor).is_some_and(|rest| rest.starts_with(['.', '+', 'a', 'b', 'r']))
}

/// The archive of libtorch has `build-version`, a wheel has `version.py`, both have a header.
fn version_of(folder: &Path) -> Option<String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    read("build-version")
        .map(|text| text.trim().to_string())
        .or_else(|| read("version.py").and_then(|text| version_in_python(&text)))
        .or_else(|| read("include/torch/headeronly/version.h").and_then(|text| version_in_header(&text)))
}

/// `__version__ = '2.11.0+cu130'`
fn version_in_python(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(value.trim().trim_matches(['\'', '"']).to_string())
}

/// `#define TORCH_VERSION_MAJOR 2`, and so on.
fn version_in_header(text: &str) -> Option<String> {
    let part = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next()).flatten()
        })
    };
    let [major, minor, patch] = ["TORCH_VERSION_MAJOR", "TORCH_VERSION_MINOR", "TORCH_VERSION_PATCH"].map(part);
    Some(format!("{}.{}.{}", major?, minor?, patch?))
}

/// The set of a finished install in `folder`; none when there is nothing, another version, or something half-finished.
pub fn installed(folder: &Path) -> Option<Set> {
    let stamp = fs::read_to_string(folder.join(STAMP)).ok()?;
    let set = set_in_stamp(&stamp)?;
    folder.join("torch/lib/libtorch.so").is_file().then_some(set)
}

/// Marks the install in `folder` as finished.
pub fn write_stamp(folder: &Path, set: Set) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(folder.join(STAMP))?;
    file.write_all(stamp_text(set).as_bytes())?;
    Ok(file.sync_all()?)
}

fn stamp_text(set: Set) -> String {
    format!("libtorch {VERSION} {set}\n")
}

fn set_in_stamp(stamp: &str) -> Option<Set> {
    [Set::Cpu, Set::Cuda].into_iter().find(|set| stamp == stamp_text(*set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_whole_and_of_this_version_or_worth_nothing() {
        for set in [Set::Cpu, Set::Cuda] {
            assert_eq!(set_in_stamp(&stamp_text(set)), Some(set));
        }
        for stamp in ["", "libtorch", "libtorch 2.11.0 cpu", "libtorch 2.10.0 cpu\n", "libtorch 2.11.0 rocm\n"] {
            assert_eq!(set_in_stamp(stamp), None, "{stamp:?}");
        }
    }

    #[test]
    fn an_install_without_stamp_or_library_is_half_finished() {
        let folder = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        fs::create_dir_all(folder.join("torch/lib")).unwrap();
        assert_eq!(installed(&folder), None);
        write_stamp(&folder, Set::Cuda).unwrap();
        assert_eq!(installed(&folder), None);
        fs::write(folder.join("torch/lib/libtorch.so"), "").unwrap();
        assert_eq!(installed(&folder), Some(Set::Cuda));
        fs::remove_file(folder.join(STAMP)).unwrap();
        assert_eq!(installed(&folder), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn versions_are_read_from_wheels_and_headers() {
        let python = "from typing import Optional\n__all__ = ['__version__']\n__version__ = '2.11.0+cu130'\n";
        assert_eq!(version_in_python(python).as_deref(), Some("2.11.0+cu130"));
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 1\n";
        assert_eq!(version_in_header(header).as_deref(), Some("2.11.1"));
        assert_eq!(version_in_header("#define TORCH_VERSION_MAJOR 2\n"), None);
    }

    #[test]
    fn any_2_11_is_supported_and_nothing_else() {
        for version in ["2.11.0", "2.11.1+cpu", "2.11.0+cu130", "2.11.0a0+git70d99e9"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["2.1.1", "2.10.0", "2.110.0", "3.11.0", "2.11", ""] {
            assert!(!is_supported(version), "{version:?}");
        }
    }

    #[test]
    fn libtorch_from_the_cargo_configuration_is_not_the_users() {
        let workspace = Workspace { root: PathBuf::from("/there/repository") };
        let source = |variable: &str| Source::of(&workspace, Some(PathBuf::from(variable)));
        assert_eq!(Source::of(&workspace, None).unwrap(), Source::Installed);
        assert_eq!(source("/there/repository/.libtorch/torch").unwrap(), Source::Installed);
        assert_eq!(source("/opt/libtorch").unwrap(), Source::Own("/opt/libtorch".into()));
        assert!(source("").is_err());
        assert!(source("libtorch").is_err());
    }
}
