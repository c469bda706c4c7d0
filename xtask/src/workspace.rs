//! Where things are: the root, cargo, the built binary, the plugin packages.
//! Builds nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::{ENVIRONMENT, Failure};

/// The repository this command was started from.
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
}

impl Workspace {
    /// Cargo says at run time where this package is; its parent is the root.
    pub fn find() -> Result<Workspace> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package.parent().context("the xtask package has no parent folder")?.to_path_buf();
        Ok(Workspace { root })
    }

    /// The cargo that started this command, working in the root.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&self.root);
        command
    }

    /// The host binary: cargo puts the binaries of one profile into one folder, and this program is one of them.
    pub fn host(&self) -> Result<PathBuf> {
        Ok(self.output_folder()?.join(format!("host{}", std::env::consts::EXE_SUFFIX)))
    }

    /// The folder of this profile's binaries and plugin libraries.
    pub fn output_folder(&self) -> Result<PathBuf> {
        let own = std::env::current_exe().context("cannot find this program's own path")?;
        Ok(own.parent().context("this program lies in no folder")?.to_path_buf())
    }

    /// Package names of `plugins/*`, sorted.
    pub fn plugins(&self) -> Result<Vec<String>> {
        let folder = self.root.join("plugins");
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let manifest = entry?.path().join("Cargo.toml");
            if manifest.is_file() {
                names.push(package_name(&manifest)?);
            }
        }
        names.sort();
        if names.is_empty() {
            return Err(Failure::new(ENVIRONMENT, format!("no plugin packages in {}", folder.display())).into());
        }
        Ok(names)
    }
}

fn package_name(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    name_in(&text).with_context(|| format!("{} has no package name", manifest.display()))
}

/// The `name` of the `[package]` section.
fn name_in(manifest: &str) -> Option<String> {
    let package = manifest.split_once("[package]")?.1;
    let package = package.split("\n[").next()?;
    package.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim().trim_matches('"').to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_not_the_library_name() {
        let manifest = "[package]\nname = \"plugin-matrix\"\nversion = \"1\"\n\n[lib]\nname = \"matrix\"\n";
        assert_eq!(name_in(manifest).as_deref(), Some("plugin-matrix"));
        assert_eq!(name_in("[package]\nversion = \"1\"\n[lib]\nname = \"matrix\"\n"), None);
    }
}
