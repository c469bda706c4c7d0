//! One run as it is compared: record, settings, metrics, checked against each other.
//! Does not compare.

use std::path::{Path, PathBuf};

use super::told::{Knobs, LABEL};
use crate::{
    fault::{Exit, Fault, Faults},
    metrics::{History, digits::from_bits, pace},
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
    /// What is missing or damaged in it; D321 the metrics do not make the trajectory that the record names.
    pub fn read(path: &Path) -> Result<Run, Faults> {
        let mut faults = Faults::none();
        let record = faults.take(Record::read(path));
        let history = faults.take(History::read(path));
        let knobs = record.as_ref().and_then(|record| faults.take(Knobs::read(path, record)));
        let (Some(record), Some(history), Some(knobs)) = (record, history, knobs) else { return Err(faults) };
        let made = history.trajectory(record.steps_done).hex();
        if let Some(recorded) = record.trajectory_hash.as_ref().filter(|recorded| **recorded != made) {
            let text = "the metrics are not those of the run record: they make another trajectory";
            let fault = Fault::new("D321", Exit::Data, text)
                .at(path.display().to_string())
                .note("recorded", recorded)
                .note("metrics", made)
                .hint("a line of metrics.jsonl is missing or was changed; leave the run out, or put the file back");
            return Err(fault.into());
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

    /// Tokens that it trains on in all its steps, where its settings say.
    pub fn tokens(&self) -> Option<u64> {
        let per_step = ["train.batch_size", "train.grad_accum", "model.block_size"];
        per_step.iter().try_fold(self.record.steps, |tokens, key| tokens.checked_mul(self.knobs.count(key)?))
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
