//! `metrics.jsonl` read back: what plots, reports and comparisons are drawn from.
//! Does not smooth or thin anything.

use std::{fs, path::Path};

use super::{
    trajectory::Trajectory,
    writer::{FILE, Line, lines},
};
use crate::fault::{Exit, Fault};

/// All steps and evaluations of a run, in the order they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Steps of training.
    pub train: Vec<TrainPoint>,
    /// Evaluations.
    pub val: Vec<ValPoint>,
    /// Hashes, at every checkpoint and at the end. Runs of older versions have none.
    pub hashes: Vec<HashPoint>,
    /// Scheduled operations that were done or failed.
    pub operations: Vec<OperationPoint>,
}

/// What became of a scheduled operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationPoint {
    /// Steps done before it.
    pub step: u64,
    /// Its name.
    pub name: String,
    /// What it changed, or why it failed.
    pub outcome: String,
}

/// What is drawn of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainPoint {
    /// From 1.
    pub step: u64,
    /// Nats per token.
    pub loss: f64,
    /// Global norm of the raw gradient.
    pub grad_norm: f64,
    /// Learning rate of the main group.
    pub lr: f64,
    /// Wall time of the step in milliseconds.
    pub milliseconds: f64,
    /// Tokens trained on since the beginning; operations may change how many a step takes.
    pub tokens: u64,
}

/// What is drawn of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValPoint {
    /// Steps done before it.
    pub step: u64,
    /// Nats per token.
    pub loss: f64,
    /// Bits per byte.
    pub bpb: f64,
}

/// What parameters and way are after some steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashPoint {
    /// Steps done before it.
    pub step: u64,
    /// Of the parameters.
    pub parameter_hash: String,
    /// Of all steps so far.
    pub trajectory_hash: String,
}

impl History {
    /// Reads the metrics of the run directory `folder`.
    ///
    /// # Errors
    /// D302 they cannot be read · D301 a line is damaged, other than a last one cut off.
    pub fn read(folder: &Path) -> Result<History, Fault> {
        let path = folder.join(FILE);
        let contents = fs::read(&path).map_err(|error| {
            Fault::new("D302", Exit::Data, "the metrics cannot be read")
                .at(path.display().to_string())
                .note("system", error.to_string())
                .hint("a run directory of this program holds the file; put it back, or leave the run out")
        })?;
        History::parse(&contents).map_err(|line| {
            Fault::new("D301", Exit::Data, "a line of the metrics is damaged")
                .at(format!("{}:{line}", path.display()))
                .hint("put the line or the file back, or leave the run out")
        })
    }

    fn parse(contents: &[u8]) -> Result<History, usize> {
        let mut history = History::default();
        for (number, line) in (1_usize..).zip(lines(contents)) {
            let (_, line) = line?;
            let float = |name| line.float(name).ok_or(number);
            let step = line.step;
            match line.kind.as_str() {
                "train" => {
                    let (loss, grad_norm, lr) = (float("loss")?, float("grad_norm")?, float("lr")?);
                    let milliseconds = float("ms")?;
                    let tokens = line.members.get("tokens").and_then(|tokens| tokens.as_u64()).ok_or(number)?;
                    history.train.push(TrainPoint { step, loss, grad_norm, lr, milliseconds, tokens });
                }
                "eval" => history.val.push(ValPoint { step, loss: float("val_loss")?, bpb: float("val_bpb")? }),
                "hash" => {
                    let text = |name: &str| line.members.get(name)?.as_str().map(str::to_owned);
                    let hashes = text("parameter_hash").zip(text("trajectory_hash")).ok_or(number)?;
                    let (parameter_hash, trajectory_hash) = hashes;
                    history.hashes.push(HashPoint { step, parameter_hash, trajectory_hash });
                }
                _ => history.operations.extend(operation(&line)),
            }
        }
        Ok(history)
    }

    /// The trajectory that the steps up to `last` make; equals the recorded one if no line is missing or changed.
    pub fn trajectory(&self, last: u64) -> Trajectory {
        let mut trajectory = Trajectory::default();
        for point in self.train.iter().filter(|point| point.step <= last) {
            trajectory.push(point.step, point.loss, point.grad_norm);
        }
        trajectory
    }

    /// Step and name of every operation that was done or failed.
    pub fn marks(&self) -> Vec<(u64, String)> {
        self.operations.iter().map(|one| (one.step, one.name.clone())).collect()
    }

    /// Step and loss of training.
    pub fn train_loss(&self) -> Vec<(u64, f64)> {
        self.train.iter().map(|point| (point.step, point.loss)).collect()
    }

    /// Step and loss of the evaluations.
    pub fn val_loss(&self) -> Vec<(u64, f64)> {
        self.val.iter().map(|point| (point.step, point.loss)).collect()
    }
}

/// What an event's line tells of an operation that was done or failed.
fn operation(line: &Line) -> Option<OperationPoint> {
    let text = |name: &str| line.members.get(name).and_then(|value| value.as_str());
    let outcome = match text("event")? {
        "operation_success" => {
            let parameters = line.members.get("parameters").map(parameters).unwrap_or_default();
            format!("{} → {}{parameters}", text("old")?, text("new")?)
        }
        "operation_error" => format!("failed: {}", text("reason")?),
        _ => return None,
    };
    Some(OperationPoint { step: line.step, name: text("name")?.to_string(), outcome })
}

/// What became of the parameters, and how many of them lost their state or part of it.
fn parameters(of: &serde_json::Value) -> String {
    let count = |name: &str| match &of[name] {
        serde_json::Value::Array(names) => names.len() as u64,
        number => number.as_u64().unwrap_or(0),
    };
    let words = [
        ("kept", "kept"),
        ("mapped", "mapped"),
        ("merged", "merged"),
        ("fresh", "fresh"),
        ("reset", "with state reset"),
        ("approximated", "with state approximated"),
    ];
    let parts =
        words.iter().filter(|(name, _)| count(name) > 0).map(|(name, words)| format!("{} {words}", count(name)));
    format!("; parameters: {}", parts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{EvalMetrics, MetricsWriter, StepMetrics},
        run::{Purpose, RunDirectory},
    };

    #[test]
    fn what_was_written_is_read_bit_for_bit() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(root.path(), Purpose::New).unwrap();
        let mut writer = MetricsWriter::begin(&run).unwrap();
        let mut trajectory = Trajectory::default();
        for (step, loss, grad_norm) in [(1, 4.1, 0.1), (2, f64::NAN, f64::INFINITY), (3, 1.0 / 3.0, 5e-324)] {
            trajectory.push(step, loss, grad_norm);
            let metrics = StepMetrics {
                step,
                loss,
                bpb: None,
                lr: 0.1,
                grad_norm,
                passes: 1,
                tokens: step,
                tokens_per_second: 1.0,
                milliseconds: 1.0,
                skipped: &[],
                extra: &[],
            };
            writer.step(&metrics).unwrap();
        }
        let eval = EvalMetrics { step: 3, val_loss: 0.3, val_bpb: 0.7, tokens: 1, bytes: 1, whole: false };
        writer.eval(&eval).unwrap();
        writer.hashes(3, "0a", &trajectory.hex()).unwrap();
        writer.event(3, "freeze", &[]).unwrap();
        let history = History::read(root.path()).unwrap();
        assert_eq!(history.trajectory(3).hex(), trajectory.hex());
        assert_ne!(history.trajectory(2).hex(), trajectory.hex());
        let hashes = HashPoint { step: 3, parameter_hash: "0a".into(), trajectory_hash: trajectory.hex() };
        assert_eq!(history.hashes, [hashes]);
        assert!(history.train[1].loss.is_nan());
        assert_eq!(history.train[2].tokens, 3);
        assert_eq!(history.train_loss()[2], (3, 1.0 / 3.0));
        assert_eq!(history.val, [ValPoint { step: 3, loss: 0.3, bpb: 0.7 }]);
    }

    #[test]
    fn a_line_without_its_numbers_is_damaged() {
        let good = "{\"step\":1,\"kind\":\"eval\",\"val_loss\":1,\"val_bpb\":1}\n";
        for kind in ["train", "eval", "hash"] {
            let bad = format!("{good}{{\"step\":2,\"kind\":\"{kind}\"}}\n{good}");
            assert_eq!(History::parse(bad.as_bytes()), Err(2), "{kind}");
        }
        assert_eq!(History::parse(good.as_bytes()).unwrap().val.len(), 1);
    }

    #[test]
    fn missing_metrics_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        let fault = History::read(root.path()).unwrap_err();
        assert_eq!((fault.code, fault.hint.is_some()), ("D302", true), "{fault}");
    }
}
