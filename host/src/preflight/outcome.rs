//! What one run left: its own record, and how its process ended.
//! Compares no two runs; that is `checks`.

use std::path::Path;

use serde::Serialize;

use super::{
    ask::{Ask, Change},
    child::Ended,
};
use crate::{
    fault::Exit,
    metrics::{History, digits::Digits},
    run::{Record, record::LabelRecord},
};

/// A run that was sent a label of the registry.
#[derive(Clone, Debug, Serialize)]
pub struct RunRow {
    /// Its name, and that of its folder.
    pub name: String,
    /// The label that was sent.
    pub asked: String,
    /// The label that the loaded plugin reports of itself.
    pub reported: Option<String>,
    /// Where the run has its label from, as it says.
    pub source: Option<String>,
    /// The seed that was sent.
    pub seed: u64,
    /// The seed that the run says it had.
    pub recorded_seed: Option<u64>,
    /// What was changed against the fleet's run.
    pub change: Change,
    /// What was changed, in words; empty where nothing was.
    pub changed: String,
    /// None after a signal, or where its time was up.
    pub exit_code: Option<i32>,
    /// How its process ended.
    pub ended: String,
    /// How long it took.
    pub seconds: f64,
    /// What it ended at; none where it did not come to its end.
    pub result: Option<Measured>,
    /// What it complained of, where it did not.
    pub said: Option<String>,
    /// Scheduled operations that it never came to, of a run that came to its end.
    pub unfired: Vec<String>,
}

/// Where a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Bits per byte, over the whole validation text.
    pub val_bpb: Digits,
    /// Its bits.
    pub val_bpb_bits: String,
    /// Nats per token.
    pub val_loss: Digits,
    /// Its bits.
    pub val_loss_bits: String,
    /// Of the last parameters.
    pub parameter_hash: String,
    /// Over loss and gradient norm of every step.
    pub trajectory_hash: String,
}

impl RunRow {
    /// Reads what is in the run directory, of a run with these scheduled operations.
    pub fn read(ask: &Ask, ended: &Ended, directory: &Path, operations: &[String]) -> RunRow {
        let record = Record::read(directory).ok();
        let label = record.as_ref().and_then(main_label);
        let result = record.as_ref().filter(|_| ended.code == Some(Exit::Ok as i32)).and_then(Measured::of);
        let said = result.is_none().then(|| ended.complaint());
        let unfired = if result.is_some() { unfired(directory, operations) } else { Vec::new() };
        RunRow {
            name: ask.name.clone(),
            asked: ask.label.clone(),
            reported: label.map(|label| label.reported.clone()),
            source: label.map(|label| label.source.clone()),
            seed: ask.seed,
            recorded_seed: record.as_ref().map(|record| record.seed),
            change: ask.change,
            changed: ask.changed.clone(),
            exit_code: ended.code,
            ended: ended.how.clone(),
            seconds: ended.seconds,
            result,
            said,
            unfired,
        }
    }
}

/// The operations that a run's metrics do not tell of. They fire one after the other.
fn unfired(directory: &Path, operations: &[String]) -> Vec<String> {
    if operations.is_empty() {
        return Vec::new();
    }
    // metrics that cannot be read show of none that it fired
    let fired = History::read(directory).map_or(0, |history| history.operations.len());
    operations[fired.min(operations.len())..].to_vec()
}

/// The main optimizer's; the others of a run are those of its groups.
fn main_label(record: &Record) -> Option<&LabelRecord> {
    record.labels.iter().find(|label| label.kind == "optimizer" && label.source != "group")
}

impl Measured {
    fn of(record: &Record) -> Option<Measured> {
        let result = record.result.as_ref()?;
        Some(Measured {
            val_bpb: result.val_bpb,
            val_bpb_bits: result.val_bpb_bits.clone(),
            val_loss: result.val_loss,
            val_loss_bits: result.val_loss_bits.clone(),
            parameter_hash: record.parameter_hash.clone()?,
            trajectory_hash: record.trajectory_hash.clone()?,
        })
    }
}

/// What became of a label that the registry does not have.
#[derive(Clone, Debug, Serialize)]
pub struct FakeRow {
    /// The label.
    pub label: String,
    /// How it was sent: `OPTIMIZER=no-such-optimizer`.
    pub sent: String,
    /// None after a signal, or where its time was up.
    pub exit_code: Option<i32>,
    /// How its process ended.
    pub ended: String,
    /// Whether it said that the label is not in the registry.
    pub named: bool,
    /// Whether it left a run directory.
    pub wrote: bool,
    /// How long it took.
    pub seconds: f64,
    /// What it complained of.
    pub said: String,
}

impl FakeRow {
    /// From how the child ended and whether there is a run directory.
    pub fn read(ask: &Ask, sent: String, ended: &Ended, directory: &Path) -> FakeRow {
        let named = ended.said.contains("error[R001]") && ended.said.contains(&format!("`{}`", ask.label));
        FakeRow {
            label: ask.label.clone(),
            sent,
            exit_code: ended.code,
            ended: ended.how.clone(),
            named,
            wrote: directory.exists(),
            seconds: ended.seconds,
            said: ended.complaint(),
        }
    }

    /// Whether it is the refusal that it must be.
    pub fn refused(&self) -> bool {
        self.exit_code == Some(Exit::Registry as i32) && self.named && !self.wrote
    }
}
