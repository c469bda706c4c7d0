//! One run as it is compared: record, settings, metrics, checked against each other.
//! Does not compare.

use std::path::{Path, PathBuf};

use super::told::{Knobs, LABEL};
use crate::{
    fault::{Exit, Fault, Faults},
    metrics::{
        History,
        digits::{bits, from_bits},
        pace,
    },
    run::{Record, Status},
};

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory, as it was given.
    pub path: PathBuf,
    /// `run.json`.
    pub record: Record,
    /// What it was told and ran on.
    pub knobs: Knobs,
    /// `metrics.jsonl`.
    pub history: History,
}

impl Run {
    /// Reads a run directory whole.
    ///
    /// # Errors
    /// What is missing or damaged in it; D321 the metrics do not bear the record out.
    pub fn read(path: &Path) -> Result<Run, Faults> {
        let mut faults = Faults::none();
        let record = faults.take(Record::read(path));
        let history = faults.take(History::read(path));
        let knobs = record.as_ref().and_then(|record| faults.take(Knobs::read(path, record)));
        let (Some(record), Some(history), Some(knobs)) = (record, history, knobs) else { return Err(faults) };
        let wrong = contradictions(&record, &history);
        if !wrong.is_empty() {
            let fault = Fault::new("D321", Exit::Data, "the metrics are not those of the run record");
            let fault =
                wrong.into_iter().fold(fault.at(path.display().to_string()), |fault, (what, recorded, metrics)| {
                    let said = |text: Option<String>| text.unwrap_or_else(|| "nothing".into());
                    fault.note(what, format!("recorded {}; by the metrics {}", said(recorded), said(metrics)))
                });
            let hint =
                "a line of metrics.jsonl, or run.json, is missing or was changed; leave the run out, or put them back";
            return Err(fault.hint(hint).into());
        }
        Ok(Run { path: path.to_owned(), record, knobs, history })
    }

    /// Label of its main optimizer.
    pub fn label(&self) -> &str {
        self.knobs.text(LABEL)
    }

    /// Decides initial weights, batches and dropout.
    pub fn seed(&self) -> u64 {
        self.record.seed
    }

    /// Bits per byte of the whole validation text at the end; none of a run that has not finished.
    pub fn bpb(&self) -> Option<f64> {
        let result = self.record.result.as_ref().filter(|_| self.record.status == Status::Finished)?;
        from_bits(&result.val_bpb_bits).filter(|bpb| bpb.is_finite())
    }

    /// Steps of which there are metrics.
    pub fn steps_seen(&self) -> u64 {
        self.history.train.last().map_or(0, |point| point.step)
    }

    /// Tokens that it was trained on, as it counted them: operations change how many a step takes.
    pub fn tokens(&self) -> u64 {
        self.history.train.last().map_or(0, |point| point.tokens)
    }

    /// How far it came, in words.
    pub fn state(&self) -> String {
        let (seen, steps) = (self.steps_seen(), self.record.steps);
        match self.record.status {
            Status::Finished if self.bpb().is_some() => "finished".into(),
            Status::Finished => "finished without a result".into(),
            Status::Running => format!("at step {seen} of {steps}: it runs, or its process died without a word"),
            Status::Stopped => format!("stopped on request after step {seen} of {steps}"),
            Status::Failed => {
                let code = self.record.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
                let why = self.record.faults.first().and_then(|fault| fault.lines().next());
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                format!("failed after step {seen} of {steps}{code}{why}")
            }
        }
    }

    /// The text it learnt and was judged on: equal texts are one key.
    pub fn text(&self) -> String {
        let data = &self.record.data;
        let hash = data.rsplit_once("sha256=").map_or(data.as_str(), |(_, hash)| hash);
        match self.knobs.get("data.val") {
            Some(_) => format!("sha256={hash}"),
            None => format!("sha256={hash}, last {} validates", self.knobs.text("data.val_fraction")),
        }
    }

    /// Wall time of a step in milliseconds: as recorded, else by the same rule from the metrics.
    pub fn milliseconds_per_step(&self) -> Option<f64> {
        let recorded = self.record.cost.as_ref().and_then(|cost| cost.milliseconds_per_step);
        recorded.map(|time| time.0).or_else(|| pace::milliseconds_per_step(&self.history.train))
    }

    /// Bytes of optimizer state, where recorded.
    pub fn state_bytes(&self) -> Option<u64> {
        self.record.cost.as_ref().map(|cost| cost.state_bytes)
    }

    /// Most memory held at a time, where recorded: the card's of a run on a card, else the process's.
    pub fn peak_bytes(&self) -> Option<u64> {
        let cost = self.record.cost.as_ref()?;
        if self.record.device.starts_with("cuda") { cost.peak_device_bytes } else { cost.peak_memory_bytes }
    }
}

/// What of a record the metrics do not bear out: what it is, as it is recorded, and as the metrics have it. A run that
/// has finished has recorded all of it.
fn contradictions(record: &Record, history: &History) -> Vec<(&'static str, Option<String>, Option<String>)> {
    let finished = record.status == Status::Finished;
    let mut pairs = Vec::new();
    if finished || record.trajectory_hash.is_some() {
        let made = history.trajectory(record.steps_done).hex();
        pairs.push(("trajectory hash", record.trajectory_hash.clone(), Some(made)));
    }
    if let Some(result) = record.result.as_ref().filter(|_| finished) {
        let last = history.val.last().filter(|point| point.step == record.steps);
        pairs.push(("val_bpb_bits", Some(result.val_bpb_bits.clone()), last.map(|point| bits(point.bpb))));
        pairs.push(("val_loss_bits", Some(result.val_loss_bits.clone()), last.map(|point| bits(point.loss))));
    }
    // runs of older versions have no hashes among their metrics
    if let Some(last) = history.hashes.last().filter(|_| finished) {
        let last = Some(last).filter(|point| point.step == record.steps).map(|point| point.parameter_hash.clone());
        pairs.push(("parameter hash", record.parameter_hash.clone(), last));
    }
    pairs.retain(|(_, recorded, metrics)| recorded != metrics);
    pairs
}
