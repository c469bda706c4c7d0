//! From the paths that were given to runs: run directories, and folders of run directories.
//! Does not compare.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::run::Run;
use crate::{
    fault::{Exit, Fault, Faults},
    run::RunDirectory,
};

/// Runs in the order they were given, and remarks about what was left out.
pub struct Gathered {
    /// Each run once.
    pub runs: Vec<Run>,
    /// Paths that name a run for a second time.
    pub twice: Vec<PathBuf>,
}

/// Reads every run of `paths`; of a folder without a run of its own, those directly in it.
///
/// # Errors
/// All that cannot be read, together: D320 a path without a run, and those of [`Run::read`].
pub fn gather(paths: &[PathBuf]) -> Result<Gathered, Faults> {
    let mut faults = Faults::none();
    let mut folders = Vec::new();
    for path in paths {
        folders.extend(faults.take(run_folders(path)).unwrap_or_default());
    }
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut gathered = Gathered { runs: Vec::new(), twice: Vec::new() };
    for folder in folders {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        if !seen.insert(real) {
            gathered.twice.push(folder);
        } else if let Some(run) = faults.take(Run::read(&folder)) {
            gathered.runs.push(run);
        }
    }
    faults.check().map(|()| gathered)
}

fn run_folders(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if RunDirectory::holds_a_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let fault = |message: &str| {
        Fault::new("D320", Exit::Data, message)
            .at(path.display().to_string())
            .hint("give run directories, which hold run.json, or a folder of run directories")
    };
    let entries = |path: &Path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut folders = entries(path).map_err(|error| fault("there is no run").note("system", error.to_string()))?;
    folders.retain(|folder| RunDirectory::holds_a_run(folder));
    folders.sort();
    if folders.is_empty() { Err(fault("a folder without a run")) } else { Ok(folders) }
}
