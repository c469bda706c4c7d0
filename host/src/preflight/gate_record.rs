//! What is kept of a gate: all that a later reader needs to know what was let through, and why.
//! Decides nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{FakeRow, Plan, RunRow, Start, Via, checks::CheckRow, plan::ConfigRecord};
use crate::{
    fault::{Exit, Fault, Faults},
    run::{
        atomic,
        clock::Utc,
        record::{RegistryRecord, Versions},
    },
};

/// Form of the file.
const VERSION: u32 = 1;

/// How the machine was divided among the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Cores of this process.
    pub cores: usize,
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
}

/// The result of a gate.
#[derive(Clone, Debug, Serialize)]
pub struct GateRecord {
    /// Form of the file: 1.
    pub preflight: u32,
    /// Whether all checks hold.
    pub passed: bool,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC.
    pub ended: String,
    /// Both together.
    pub seconds: f64,
    /// The command line, program first.
    pub argv: Vec<String>,
    /// The binary of every run.
    pub program: String,
    /// Versions of what computed it.
    pub versions: Versions,
    /// The registry of every run.
    pub registry: RegistryRecord,
    /// Where the settings come from.
    pub config: ConfigRecord,
    /// How seed and label were sent.
    pub via: Via,
    /// The labels that it speaks for.
    pub optimizers: Vec<String>,
    /// The default optimizer.
    pub default_optimizer: String,
    /// Seeds of check 1; the others use the first.
    pub seeds: Vec<u64>,
    /// Steps of a run.
    pub steps: u64,
    /// Steps of a run of the fleet.
    pub fleet_steps: u64,
    /// How the machine was divided.
    pub machine: Machine,
    /// The network before its first step, at the first seed.
    pub start: Start,
    /// The five checks.
    pub checks: Vec<CheckRow>,
    /// All runs.
    pub runs: Vec<RunRow>,
    /// The label that must be refused.
    pub fake: FakeRow,
}

impl GateRecord {
    /// All of it. It is passed only if there are checks and all of them hold.
    pub(super) fn new(
        plan: &Plan,
        machine: Machine,
        start: Start,
        checks: Vec<CheckRow>,
        runs: Vec<RunRow>,
        fake: FakeRow,
        (started, took): (Utc, Duration),
    ) -> GateRecord {
        GateRecord {
            preflight: VERSION,
            passed: !checks.is_empty() && checks.iter().all(|check| check.holds),
            started: started.rfc3339(),
            ended: Utc::now().rfc3339(),
            seconds: took.as_secs_f64(),
            argv: plan.order.argv.clone(),
            program: plan.order.program.path.display().to_string(),
            versions: Versions::of_this_program(),
            registry: plan.registry.clone(),
            config: plan.config.clone(),
            via: plan.order.via,
            optimizers: plan.order.optimizers.clone(),
            default_optimizer: plan.default.clone(),
            seeds: plan.seeds.clone(),
            steps: plan.steps,
            fleet_steps: plan.fleet_steps,
            machine,
            start,
            checks,
            runs,
            fake,
        }
    }

    /// Why it is not passed; each reason once.
    pub fn faults(&self) -> Faults {
        let mut told: Vec<&str> = Vec::new();
        let mut faults = Faults::none();
        for check in &self.checks {
            for failure in &check.failures {
                if !told.contains(&failure.text.as_str()) {
                    told.push(&failure.text);
                    faults.push(failure.fault(check));
                }
            }
        }
        faults
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Structs of plain values and texts.
        serde_json::to_string_pretty(self).expect("a gate's result is JSON") + "\n"
    }

    /// Writes it to `<stem>.json` of the first of these stems where there is none yet, whole or not at all.
    ///
    /// # Errors
    /// D140 where it cannot be written.
    pub fn write(&self, stems: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Fault> {
        for path in stems.map(|stem| json_of(&stem)) {
            let folder = path.parent().unwrap_or(Path::new("."));
            let made = fs::create_dir_all(folder);
            match made.and_then(|()| atomic::write_new_file(&path, self.to_json().as_bytes())) {
                Ok(()) => return Ok(path),
                // of another gate of the same second
                Err(error) if path.exists() && error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritable(&path, &error)),
            }
        }
        unreachable!("stems are numbered without end")
    }
}

/// Whether results could be written into the folder `runs`, which need not be there. Writes nothing that stays.
///
/// # Errors
/// D140 where they could not.
pub fn try_folder(runs: &Path) -> Result<(), Fault> {
    let absolute = std::path::absolute(runs).map_err(|error| unwritable(runs, &error))?;
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    tempfile::tempfile_in(there).map(drop).map_err(|error| unwritable(runs, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new("D140", Exit::Data, "the result of the gate cannot be written")
        .at(path.display().to_string())
        .note("system", error.to_string())
        .hint("name another folder with `--runs-dir DIR`")
}

/// Where a gate's result and the folder of its runs may lie, without `.json`: `<runs>/preflight-<utc time>`, then with a
/// number. Those that are taken by now are left out.
pub fn stems_under(runs: &Path, now: Utc) -> impl Iterator<Item = PathBuf> {
    let stem = runs.join(format!("preflight-{}", now.compact()));
    let numbered = stem.clone();
    let numbered = (2..).map(move |number| numbered.with_file_name(format!("preflight-{}-{number}", now.compact())));
    std::iter::once(stem).chain(numbered).filter(|stem| !stem.exists() && !json_of(stem).exists())
}

fn json_of(stem: &Path) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".json");
    name.into()
}
