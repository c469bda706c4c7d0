//! What is asked of the gate.
//! Judges nothing; `plan.rs` does.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    config::{Flags, Variables},
    fault::{Exit, Fault},
};

/// How the fleet sends seed and label to a run, and so how the gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// In the variables SEED and OPTIMIZER
    Env,
    /// By the flags --seed and --optimizer
    Flag,
    /// In a configuration file of each run
    Config,
}

/// What is started for every run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Arguments before the verb; none for `host`.
    pub leading: Vec<OsString>,
}

impl Program {
    /// The binary of this process.
    ///
    /// # Errors
    /// E120 where its path is not known.
    pub fn this() -> Result<Program, Fault> {
        let path = std::env::current_exe().map_err(|error| {
            Fault::new("E120", Exit::Environment, format!("the path of this program is not known: {error}"))
        })?;
        Ok(Program { path, leading: Vec::new() })
    }
}

/// What is asked of the gate.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is started for every run.
    pub program: Program,
    /// The labels that the fleet will use, as it will write them.
    pub optimizers: Vec<String>,
    /// How it sends them.
    pub via: Via,
    /// Knobs of the command line. `seed` is the first of the seeds, `optimizer` the default optimizer, `steps` the
    /// length of the gate's runs; all others are passed on to every run.
    pub flags: Flags,
    /// The registry, where it is named.
    pub registry: Option<PathBuf>,
    /// The folder of the plugins, where it is named.
    pub plugin_dir: Option<PathBuf>,
    /// The environment, passed on to every run.
    pub variables: Variables,
    /// The working directory, also of every run.
    pub cwd: PathBuf,
    /// Runs at a time; none is as the machine has room.
    pub jobs: Option<usize>,
    /// Time that a run may take.
    pub limit: Duration,
    /// Whether checkpoints of the runs are kept.
    pub keep_checkpoints: bool,
    /// The command line, program first; for the record.
    pub argv: Vec<String>,
}
