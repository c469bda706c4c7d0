//! `cargo xtask setup`: libtorch into `.libtorch/`, whole or not at all.
//! Builds nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::{ENVIRONMENT, Failure};
use crate::libtorch::{self, FOLDER, Set, Source, VERSION};
use crate::workspace::Workspace;
use crate::{machine, pip};

/// Makes sure that a libtorch is there to build with, and hands back its folder.
pub fn run(workspace: &Workspace) -> Result<PathBuf> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let message = "LIBTORCH_USE_PYTORCH is set: it makes tch ask a Python for libtorch, past LIBTORCH";
        let hint = "unset it; to use that PyTorch, set LIBTORCH to the folder of its `torch` package";
        return Err(Failure::new(ENVIRONMENT, message).hint(hint).into());
    }
    machine::require_compiler()?;
    if let Source::Own(folder) = Source::of(workspace, std::env::var_os("LIBTORCH").map(PathBuf::from))? {
        libtorch::check(&folder)?;
        eprintln!("libtorch: {} (LIBTORCH)", folder.display());
        return Ok(folder);
    }
    install(&workspace.root)?;
    Ok(workspace.root.join(FOLDER).join("torch"))
}

fn install(root: &Path) -> Result<()> {
    let folder = root.join(FOLDER);
    let wanted = if machine::has_nvidia_driver() { Set::Cuda } else { Set::Cpu };
    if is_enough(&folder, wanted) {
        return Ok(());
    }
    machine::require_platform()?;
    let lock = fs::File::create(root.join(".libtorch.lock")).context("cannot write in the repository")?;
    if lock.try_lock().is_err() {
        eprintln!("libtorch: waiting for another setup");
        lock.lock().context("cannot lock .libtorch.lock")?;
        if is_enough(&folder, wanted) {
            return Ok(());
        }
    }
    match libtorch::installed(&folder) {
        Some(found) => {
            eprintln!("libtorch: the installed set is {found}, and there is an NVIDIA driver now")
        }
        None if folder.exists() => {
            eprintln!("libtorch: {FOLDER} is unfinished or of another version; doing it again")
        }
        None => {}
    }
    let size = if wanted == Set::Cuda { "4 GB with CUDA" } else { "1.5 GB" };
    eprintln!("libtorch: installing {VERSION} into {FOLDER}/ ({size} on disk)");

    let partial = root.join(".libtorch.partial");
    let outcome = fill(&partial, wanted).and_then(|fresh| replace(&folder, &fresh, &root.join(".libtorch.old")));
    remove(&partial)?;
    outcome?;
    eprintln!("libtorch: done");
    Ok(())
}

fn is_enough(folder: &Path, wanted: Set) -> bool {
    libtorch::installed(folder).is_some_and(|found| found >= wanted)
}

/// A finished install in a folder of its own, stamped last.
fn fill(partial: &Path, set: Set) -> Result<PathBuf> {
    remove(partial)?;
    let (fresh, scratch) = (partial.join("set"), partial.join("scratch"));
    for folder in [&fresh, &scratch] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    pip::unpack(set, &fresh, &scratch)?;
    libtorch::check(&fresh.join("torch"))?;
    libtorch::write_stamp(&fresh, set)?;
    Ok(fresh)
}

/// Puts `fresh` where `folder` is. What was there stays whole until the new one is.
fn replace(folder: &Path, fresh: &Path, old: &Path) -> Result<()> {
    remove(old)?;
    if folder.exists() {
        fs::rename(folder, old).with_context(|| format!("cannot move {} away", folder.display()))?;
    }
    fs::rename(fresh, folder).with_context(|| format!("cannot move the install to {}", folder.display()))?;
    remove(old)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_install_leaves_nothing_behind() {
        let root = std::env::temp_dir().join(format!("xtask-replace-{}", std::process::id()));
        let [folder, fresh, old] = ["now", "fresh", "old"].map(|name| root.join(name));
        for (place, text) in [(&folder, "unfinished"), (&fresh, "whole"), (&old, "left by a crash")] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join("content"), text).unwrap();
        }
        replace(&folder, &fresh, &old).unwrap();
        assert_eq!(fs::read_to_string(folder.join("content")).unwrap(), "whole");
        assert!(!fresh.exists() && !old.exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
