//! `latest` and `best`: small files that name a checkpoint's folder.
//! Does not look inside the checkpoint.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{folder_name, step_of};
use crate::{
    fault::{Exit, Fault},
    run::{RunDirectory, directory::unwritable},
};

pub(super) const LATEST: &str = "latest";
pub(super) const BEST: &str = "best";

/// The checkpoint to go on from; none where none was ever finished.
///
/// # Errors
/// D203 what `latest` names is not there.
pub fn latest(run: &RunDirectory) -> Result<Option<PathBuf>, Fault> {
    latest_in(&run.checkpoints())
}

/// The checkpoint with the lowest validation loss; none where none was named so far.
///
/// # Errors
/// D203 what `best` names is not there.
pub fn best(run: &RunDirectory) -> Result<Option<PathBuf>, Fault> {
    let folder = run.checkpoints();
    Ok(named(&folder, BEST)?.map(|step| folder.join(folder_name(step))))
}

pub(super) fn latest_in(folder: &Path) -> Result<Option<PathBuf>, Fault> {
    let step = match named(folder, LATEST)? {
        Some(step) => Some(step),
        // Killed after the first checkpoint was in place and before it was named: it is whole all the same.
        None => steps(folder)?.pop(),
    };
    Ok(step.map(|step| folder.join(folder_name(step))))
}

/// The step that the pointer `name` in `folder` names.
pub(super) fn named(folder: &Path, name: &str) -> Result<Option<u64>, Fault> {
    let path = folder.join(name);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| unreadable(&path, &error))?,
    };
    match step_of(text.trim_end_matches('\n')) {
        Some(step) if folder.join(folder_name(step)).is_dir() => Ok(Some(step)),
        _ => {
            let others: Vec<String> = steps(folder)?.into_iter().map(folder_name).collect();
            let mut fault = Fault::new("D203", Exit::Data, format!("`{name}` names no checkpoint"))
                .at(path.display().to_string())
                .note("names", text.escape_debug().to_string());
            fault = match others.last() {
                // Only what is kept depends on it, and the next best checkpoint writes it again.
                _ if name == BEST => fault.hint(format!("remove the file, then go on: `rm {}`", path.display())),
                Some(last) => {
                    let last = folder.join(last).display().to_string();
                    fault
                        .note("checkpoints", others.join(", "))
                        .hint(format!("name `{last}`; training goes on there by `host resume {last}`"))
                }
                None => fault.hint("there is no checkpoint; begin in another run directory"),
            };
            Err(fault)
        }
    }
}

/// Makes `latest` name this step: a run that goes on from an older checkpoint has left the later ones behind.
///
/// # Errors
/// D105 it cannot be written.
pub fn go_on_from(run: &RunDirectory, step: u64) -> Result<(), Fault> {
    point(run, LATEST, step)
}

/// Makes the pointer `name` name this step, in one step.
pub(super) fn point(run: &RunDirectory, name: &str, step: u64) -> Result<(), Fault> {
    let file = Path::new("checkpoints").join(name);
    let text = format!("{}\n", folder_name(step));
    run.write(&file.to_string_lossy(), text.as_bytes()).map(drop)
}

/// Steps of all checkpoints in `folder`, ascending.
pub(super) fn steps(folder: &Path) -> Result<Vec<u64>, Fault> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(folder, &error))?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        steps.extend(entry.file_name().to_str().and_then(step_of).filter(|_| entry.path().is_dir()));
    }
    steps.sort_unstable();
    Ok(steps)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem => unwritable(path, error),
        _ => Fault::new("D204", Exit::Data, "cannot be read")
            .at(path.display().to_string())
            .note("system", error.to_string()),
    }
}
