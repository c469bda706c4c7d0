//! Passes a plan through: starts every run, some at a time, and hands what they left to the checks.
//! Judges nothing itself.

use std::{
    ffi::OsStr,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    Plan,
    ask::Ask,
    checks::{self, Evidence},
    child,
    gate_record::{GateRecord, Machine},
    outcome::{FakeRow, RunRow},
    sending::{LABEL, shown},
    start,
};
use crate::{fault::Fault, run::clock::Utc};

/// Most runs at a time, where nobody says otherwise: more cores go to the threads of each.
const JOBS: usize = 4;

/// Whom the gate tells how far it is, and who may stop it.
pub struct Talk<'a> {
    /// Is told a line when a run has ended.
    pub line: &'a (dyn Fn(&str) + Sync),
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Runs everything in folders below `work`, and checks what came of it.
///
/// # Errors
/// G011 where the runs cannot begin, with their exit code; E120 where none can be started; G010 where it was stopped.
/// A run that fails, and a check that does not hold, are in the record.
pub fn pass(plan: &Plan, work: &Path, talk: &Talk<'_>) -> Result<GateRecord, Fault> {
    let (begun, started) = (Utc::now(), Instant::now());
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    // One number of threads for all runs: it decides how sums are split, and so the last bits.
    let given =
        plan.order.variables.get(OsStr::new(child::THREADS)).and_then(|text| text.to_str()?.trim().parse().ok());
    let machine = Machine::divided(cores, plan.order.jobs, given, None);
    let start = start::ask(plan, machine.threads(given), work, talk.stop)?;
    let machine = Machine::divided(cores, plan.order.jobs, given, Some(&start.device));
    let threads = machine.threads(given);

    let count = plan.asks.len() + 1;
    (talk.line)(&format!(
        "{count} runs of {} steps (the fleet's have {}); at a time: {}; threads of each: {}; device: {}",
        plan.steps, plan.fleet_steps, machine.jobs, machine.threads, start.device
    ));
    let done = AtomicUsize::new(0);
    let told = |name: &str, text: String| {
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        (talk.line)(&format!("{number:>3}/{count}  {name:<32} {text}"));
    };
    let fake = {
        let (ended, directory) = train(plan, &plan.fake, threads, work, talk.stop)?;
        let row = FakeRow::read(&plan.fake, shown(plan.order.via, LABEL, &plan.fake.label), &ended, &directory);
        told(&plan.fake.label, format!("{} ({:.1} s)", row.ended, row.seconds));
        row
    };

    let rows: Mutex<Vec<(usize, Result<RunRow, Fault>)>> = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    // What keeps one run from being started decides the gate, so the others need not come to their ends.
    let broken = AtomicBool::new(false);
    let stop = || broken.load(Ordering::Relaxed) || (talk.stop)();
    thread::scope(|scope| {
        for _ in 0..machine.jobs.min(plan.asks.len()) {
            scope.spawn(|| {
                while !broken.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(ask) = plan.asks.get(index) else { return };
                    let row = train(plan, ask, threads, work, &stop).map(|(ended, directory)| {
                        let row = RunRow::read(ask, &ended, &directory, &plan.operations);
                        let text = match &row.result {
                            Some(result) => format!("{:.4} BPB ({:.1} s)", result.val_bpb.0, row.seconds),
                            None => format!("{} ({:.1} s)", row.ended, row.seconds),
                        };
                        told(&row.name, text);
                        if !plan.order.keep_checkpoints {
                            // Large, and wanted by nobody; where it cannot be removed it stays.
                            let _ = std::fs::remove_dir_all(directory.join("checkpoints"));
                        }
                        row
                    });
                    // Those that are stopped for the first that failed have nothing to add.
                    if row.is_err() && broken.swap(true, Ordering::Relaxed) {
                        return;
                    }
                    rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|(index, _)| *index);
    let runs = rows.into_iter().map(|(_, row)| row).collect::<Result<Vec<RunRow>, Fault>>()?;

    let evidence = Evidence {
        default: &plan.default,
        seeds: &plan.seeds,
        subjects: &plan.subjects,
        start_loss: start.val_loss.0,
        runs: &runs,
        fake: &fake,
    };
    let checks = checks::all(&evidence);
    Ok(GateRecord::new(plan, machine, start, checks, runs, fake, (begun, started.elapsed())))
}

/// One run to its end; gives its directory, which may not be there.
fn train(
    plan: &Plan,
    ask: &Ask,
    threads: Option<usize>,
    work: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<(child::Ended, std::path::PathBuf), Fault> {
    let directory = work.join(&ask.name);
    let more = vec!["--run-dir".into(), directory.clone().into_os_string()];
    let ended = child::run((plan, ask), "train", more, threads, work, stop)?;
    Ok((ended, directory))
}

impl Machine {
    /// Runs at a time, and threads of each. On a card one run at a time; `given` are the threads that the environment
    /// says.
    fn divided(cores: usize, jobs: Option<usize>, given: Option<usize>, device: Option<&str>) -> Machine {
        let room = match (device, given) {
            (Some(device), _) if device != "cpu" => 1,
            (_, Some(threads)) => (cores / threads.max(1)).clamp(1, JOBS),
            _ => cores.min(JOBS),
        };
        let jobs = jobs.unwrap_or(room).max(1);
        Machine { cores, jobs, threads: given.unwrap_or((cores / jobs).max(1)) }
    }

    /// What a child is told; nothing where the environment says it already.
    fn threads(&self, given: Option<usize>) -> Option<usize> {
        given.is_none().then_some(self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_among_the_runs() {
        let cases = [
            // cores, jobs asked for, threads given, device → jobs, threads
            ((2, None, None, None), (2, 1)),
            ((1, None, None, Some("cpu")), (1, 1)),
            ((16, None, None, Some("cpu")), (4, 4)),
            ((16, None, Some(8), Some("cpu")), (2, 8)),
            ((2, None, Some(8), Some("cpu")), (1, 8)),
            ((16, None, None, Some("cuda:0")), (1, 16)),
            ((16, Some(2), None, Some("cuda:0")), (2, 8)),
            ((2, Some(3), None, Some("cpu")), (3, 1)),
        ];
        for ((cores, asked, given, device), (jobs, threads)) in cases {
            let machine = Machine::divided(cores, asked, given, device);
            assert_eq!((machine.jobs, machine.threads), (jobs, threads), "{cores} {asked:?} {given:?} {device:?}");
        }
    }
}
