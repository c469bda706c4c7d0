//! The parent of all checks: starts a child per label and level, as many at a time as there are cores, and gives each
//! its time. Opens no library.

use std::{
    ffi::OsString,
    ops::RangeInclusive,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use sdk::conformance::{Finding, Outcome, Verdict};

use super::{child::finding, journal::Told};
use crate::{
    child_process,
    fault::{Exit, Fault},
};

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Order {
    /// The library.
    pub file: PathBuf,
    /// One label of it, or all.
    pub label: Option<String>,
    /// Levels, from 1 to 7.
    pub levels: RangeInclusive<u8>,
    /// Flags that name the registry, for the children.
    pub registry: Vec<OsString>,
    /// Time of a child.
    pub limit: Duration,
}

/// Runs all that was ordered; findings by label and level.
///
/// # Errors
/// The file, or a label in it, is not there; a child cannot be started.
pub fn check(order: &Order) -> Result<Vec<Finding>, Fault> {
    if !order.file.is_file() {
        let fault = Fault::new("R026", Exit::Registry, "the library to be checked is not there");
        return Err(fault.at(order.file.display().to_string()));
    }
    let listed = run(order, None)?;
    if !listed.findings.is_empty() || listed.labels.is_empty() {
        return Ok(listed.findings);
    }
    let labels: Vec<&String> =
        listed.labels.iter().filter(|label| order.label.as_ref().is_none_or(|wanted| *label == wanted)).collect();
    if let (true, Some(wanted)) = (labels.is_empty(), &order.label) {
        let fault = Fault::new("R026", Exit::Registry, format!("the library exports no optimizer `{wanted}`"));
        return Err(fault.at(order.file.display().to_string()).note("exports", listed.labels.join(", ")));
    }
    let levels = order.levels.clone();
    let jobs: Vec<(&str, u8)> =
        levels.flat_map(|level| labels.iter().map(move |label| (label.as_str(), level))).collect();
    let results: Mutex<Vec<(usize, Result<Told, Fault>)>> = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let lanes = thread::available_parallelism().map_or(1, |cores| cores.get()).min(jobs.len());
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let told = run(order, Some(*job));
                    results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, told));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(index, _)| (jobs[*index].0, jobs[*index].1));
    let mut findings: Vec<Finding> = Vec::new();
    for (index, told) in results {
        let found = told?.findings;
        // What cannot be loaded is told once.
        let again = |found: &Finding| found.check == "loads" && jobs[index].1 > *order.levels.start();
        findings.extend(found.into_iter().filter(|found| !again(found) || found.outcome.verdict == Verdict::Crashed));
    }
    Ok(findings)
}

/// One child, to its end or to the end of its time. What is missing at the end is a crash, and told as one.
fn run(order: &Order, job: Option<(&str, u8)>) -> Result<Told, Fault> {
    let unable = |what: &str, error: std::io::Error| {
        Fault::new("E110", Exit::Environment, format!("{what}: {error}"))
            .hint("is there room, and may processes be started?")
    };
    let folder = tempfile::tempdir().map_err(|error| unable("no folder for the journal of a check", error))?;
    let journal = folder.path().join("journal");
    let program = std::env::current_exe().map_err(|error| unable("the path of this program is not known", error))?;
    let mut command = Command::new(program);
    command.arg("plugin").arg("check-one").arg(&order.file).arg("--journal").arg(&journal);
    if let Some((label, level)) = job {
        command.arg("--label").arg(label).arg("--level").arg(level.to_string()).args(&order.registry);
    }
    // How many threads there are is for the checks to say.
    command.env("OMP_NUM_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| unable("a check cannot be started", error))?;
    let status = child_process::wait(&mut child, order.limit, &|| false);
    let mut told = Told::read(&journal);
    let end = match status {
        Some(_) if told.done => return Ok(told),
        Some(status) => child_process::ended(status),
        None => child_process::killed(order.limit),
    };
    let (label, level) = job.unwrap_or(("*", 1));
    let check = told.begun.clone().unwrap_or_else(|| "loads".to_string());
    let outcome = Outcome { verdict: Verdict::Crashed, ..Outcome::failed(format!("the process {end}")) };
    told.findings.push(finding(label, level, &check, outcome));
    Ok(told)
}
