//! `host preflight`: the gate before a fleet, from what was asked to the result that is kept.
//! Checks nothing itself; that is `preflight/`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Invocation,
    preflight_args::{EvaluateStartFlags, PreflightFlags},
    stdout,
    train::RUNS,
};
use crate::{
    config,
    evaluation::evaluate,
    fault::{Exit, Fault},
    preflight::{self, GateRecord, Order, Plan, Program, RunRow, Start, Talk},
    run::{Screen, Signals, clock::Utc},
    tensor::device,
    train::{Trainer, prepare},
};

/// `host preflight`.
///
/// # Errors
/// All that is wrong before a run is started; every reason why the gate is shut.
pub fn preflight(flags: &PreflightFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let plan = preflight::plan(order(flags, invocation)?)?;
    let (runs, begun) = (runs_dir(flags, &plan), Utc::now());
    preflight::try_folder(&runs)?;
    let screen = Screen::stderr();
    let signals = Signals::install()?;
    let work = Work::make(flags.keep.as_ref(), &runs, begun)?;
    let talk = Talk { line: &|line| screen.line(line), stop: &|| signals.stop_requested() };
    let record = preflight::pass(&plan, work.path(), &talk)?;
    // What was found is shown first, and the runs stay, also where it cannot be kept.
    let printed = stdout::print(&if flags.json { record.to_json() } else { text(&record) });
    let beside = work.beside().map(Path::to_path_buf);
    let written = record.write(beside.into_iter().chain(preflight::stems_under(&runs, begun)));
    if let Ok(file) = &written {
        screen.line(&format!("result: {}", file.display()));
    }
    if let Some(kept) = work.settle(record.passed && written.is_ok()) {
        screen.line(&format!("runs:   {}", kept.display()));
    }
    printed?;
    let mut faults = record.faults();
    let kept = faults.take(written).is_some();
    if record.passed && kept { Ok(Exit::Ok) } else { Err(faults.into()) }
}

fn order(flags: &PreflightFlags, invocation: &Invocation) -> Result<Order, Fault> {
    Ok(Order {
        program: Program::this()?,
        optimizers: flags.optimizers.iter().map(|label| label.trim().to_string()).collect(),
        via: flags.via,
        flags: flags.knobs.0.clone(),
        registry: flags.registry.registry.clone(),
        plugin_dir: flags.registry.plugin_dir.clone(),
        variables: invocation.variables.clone(),
        cwd: invocation.cwd.clone(),
        jobs: flags.jobs.map(usize::from),
        limit: Duration::from_secs_f64(flags.time_limit),
        keep_checkpoints: flags.keep.is_some(),
        argv: invocation.argv.clone(),
    })
}

/// Where the fleet's runs will lie, as far as that is known.
fn runs_dir(flags: &PreflightFlags, plan: &Plan) -> PathBuf {
    let named = flags.runs_dir.clone().or_else(|| plan.runs_dir.clone());
    named.unwrap_or_else(|| PathBuf::from(RUNS))
}

/// The folder in which the runs of the gate lie.
enum Work {
    /// Gone with a gate that is passed.
    Temporary(TempDir),
    /// The user's.
    Kept(PathBuf),
    /// Beside the result, under the same name.
    Beside(PathBuf),
}

impl Work {
    fn make(keep: Option<&Option<PathBuf>>, runs: &Path, begun: Utc) -> Result<Work, Fault> {
        let unable = |place: &Path, error: std::io::Error| {
            Fault::new("D141", Exit::Data, "the runs of the gate have no folder")
                .at(place.display().to_string())
                .note("system", error.to_string())
        };
        let Some(named) = keep else {
            let made = tempfile::Builder::new().prefix("preflight-").tempdir();
            return made.map(Work::Temporary).map_err(|error| unable(&std::env::temp_dir(), error));
        };
        let Some(path) = named else {
            let runs = std::path::absolute(runs).map_err(|error| unable(runs, error))?;
            std::fs::create_dir_all(&runs).map_err(|error| unable(&runs, error))?;
            for path in preflight::stems_under(&runs, begun) {
                match std::fs::create_dir(&path) {
                    Ok(()) => return Ok(Work::Beside(path)),
                    // of another gate of the same second
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(unable(&path, error)),
                }
            }
            unreachable!("stems are numbered without end");
        };
        let path = std::path::absolute(path).map_err(|error| unable(path, error))?;
        std::fs::create_dir_all(&path).map_err(|error| unable(&path, error))?;
        let empty = std::fs::read_dir(&path).map_err(|error| unable(&path, error))?.next().is_none();
        if !empty {
            let fault = Fault::new("D141", Exit::Data, "the folder for the runs of the gate is not empty");
            return Err(fault.at(path.display().to_string()).hint("name another one, which need not exist"));
        }
        Ok(Work::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Work::Temporary(folder) => folder.path(),
            Work::Kept(path) | Work::Beside(path) => path,
        }
    }

    /// The stem that it has taken for the result too.
    fn beside(&self) -> Option<&Path> {
        match self {
            Work::Beside(path) => Some(path),
            Work::Temporary(_) | Work::Kept(_) => None,
        }
    }

    /// Gives the folder where it stays.
    fn settle(self, passed: bool) -> Option<PathBuf> {
        match self {
            Work::Temporary(_) if passed => None,
            Work::Temporary(folder) => Some(folder.keep()),
            Work::Kept(path) | Work::Beside(path) => Some(path),
        }
    }
}

/// What people are shown: the runs, then the checks.
fn text(record: &GateRecord) -> String {
    let head = ["run", "optimizer", "val_bpb", "parameters", "trajectory", "seconds", "changed"];
    let mut text = stdout::table(&head, record.runs.iter().map(row).collect());
    let checks = record.checks.iter().map(|check| {
        let result = if check.holds { "holds" } else { "FAILS" };
        [check.number.to_string(), check.name.to_string(), result.to_string(), check.saw.clone()].to_vec()
    });
    text.push_str(&format!("\n{}", stdout::table(&["", "check", "result", "what was seen"], checks.collect())));
    let exceptions: Vec<&String> = record.checks.iter().flat_map(|check| &check.exceptions).collect();
    if !exceptions.is_empty() {
        text.push('\n');
    }
    for exception in exceptions {
        text.push_str(&format!("not counted: {exception}\n"));
    }
    let verdict = if record.passed { "passed" } else { "NOT PASSED" };
    let labels = record.optimizers.join(", ");
    text.push_str(&format!("\npreflight of {labels}: {verdict} in {:.0} s\n", record.seconds));
    text
}

fn row(run: &RunRow) -> Vec<String> {
    const SHOWN: usize = 12;
    let short = |hash: &str| hash.chars().take(SHOWN).collect::<String>();
    let result = |show: &dyn Fn(&preflight::Measured) -> String| run.result.as_ref().map_or("-".to_string(), show);
    vec![
        run.name.clone(),
        run.reported.clone().unwrap_or_else(|| "-".into()),
        result(&|result| format!("{:.4}", result.val_bpb.0)),
        result(&|result| short(&result.parameter_hash)),
        result(&|result| short(&result.trajectory_hash)),
        format!("{:.1}", run.seconds),
        run.changed.clone(),
    ]
}

/// `host evaluate-start`: prints how well the network predicts before its first step.
///
/// # Errors
/// All that `host train` would find wrong before its first step.
pub fn evaluate_start(flags: &EvaluateStartFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let told = config::examine(&flags.knobs.0, &invocation.variables, &invocation.cwd);
    let prepared = prepare(told, flags.registry.registry.as_deref(), flags.registry.plugin_dir.as_deref())?;
    let trainer = Trainer::new(&prepared)?;
    let evaluation = evaluate(trainer.model(), trainer.corpus(), None)?;
    let start = Start::new(&evaluation, device::name(trainer.device()));
    stdout::print(&(serde_json::to_string(&start)? + "\n")).map(|()| Exit::Ok)
}
