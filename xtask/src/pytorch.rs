//! The Python environment of the PyTorch peers, in `.venv/`.
//! Nothing but the peers needs it: host and plugins run without Python.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::failure::{ENVIRONMENT, Failure};
use crate::step;
use crate::workspace::Workspace;

/// What the peers import.
const REQUIREMENTS: &str = "benches/peers/requirements.txt";

/// Holds the requirements that were installed; written last.
const STAMP: &str = "installed-requirements.txt";

/// The Python that can run the peers. Makes its environment first, where there is none or one of other requirements.
pub fn python(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.root.join(".venv");
    let python = folder.join("bin/python");
    let requirements = workspace.root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    if python.exists() && fs::read_to_string(folder.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("peers: installing PyTorch into .venv/ (5 GB on disk)");
    talk(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).map_err(|error| {
        error.context(Failure::new(ENVIRONMENT, "cannot make a Python environment").hint(
            "install Python 3.10 or newer with its venv module (Debian, Ubuntu: `apt install python3 python3-venv`)",
        ))
    })?;
    let install = ["-m", "pip", "install", "--disable-pip-version-check", "-r"];
    talk(Command::new(&python).args(install).arg(&requirements))?;
    fs::write(folder.join(STAMP), wanted).context("cannot write into .venv")?;
    Ok(python)
}

/// Runs it with all it says on stderr, because stdout is for results.
fn talk(command: &mut Command) -> Result<()> {
    step::run(command.stdout(Stdio::from(std::io::stderr())))
}
