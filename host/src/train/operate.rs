//! Scheduled operations in the loop: which fire before the coming step, what they change, and what is said of it.
//! Does not plan a change of the network; that is a plugin's.

use serde_json::{Value, json};

use super::{
    Ledger,
    trainer::{Trainer, network},
};
use crate::{
    config::settings::OnError,
    fault::{Exit, Fault},
    growth::{self, Action, Entry, HyperOp, Operation},
};

/// What happened to an operation; in the log and in the metrics under these names.
pub enum OperationEvent<'a> {
    /// It fires.
    Start {
        /// As the schedule says.
        note: &'a str,
    },
    /// It is done.
    Success {
        /// What it changed, before.
        old: &'a str,
        /// And after.
        new: &'a str,
    },
    /// It failed; everything is as before.
    Error {
        /// Why.
        reason: &'a str,
        /// Whether the run goes on.
        skipped: bool,
    },
    /// The network was evaluated after it.
    Reevaluation {
        /// Nats per token.
        val_loss: f64,
    },
}

impl OperationEvent<'_> {
    /// Its name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            OperationEvent::Start { .. } => "operation_start",
            OperationEvent::Success { .. } => "operation_success",
            OperationEvent::Error { .. } => "operation_error",
            OperationEvent::Reevaluation { .. } => "operation_reevaluation",
        }
    }

    /// What it says, for the metrics.
    pub fn facts(&self) -> Vec<(&'static str, Value)> {
        match *self {
            OperationEvent::Start { note } => vec![("note", note.into())],
            OperationEvent::Success { old, new } => vec![("old", old.into()), ("new", new.into())],
            OperationEvent::Error { reason, skipped } => vec![("reason", reason.into()), ("skipped", skipped.into())],
            OperationEvent::Reevaluation { val_loss } => vec![("val_loss", json!(val_loss))],
        }
    }
}

impl Trainer {
    /// Fires the operations that are due before the coming step. Each moves the schedule on, so this comes to an end.
    pub(super) fn operate(&mut self, ledger: &mut Ledger) -> Result<(), Fault> {
        let step = self.progress.step;
        while let Some(entry) = self.schedule.due(step, self.progress.val_loss()) {
            let number = self.schedule.position().done;
            let name = entry.name();
            ledger.operation(
                step,
                number,
                name,
                &OperationEvent::Start { note: entry.note.as_deref().unwrap_or("") },
            )?;
            match self.change(&entry) {
                Ok((old, new)) => {
                    ledger.operation(step, number, name, &OperationEvent::Success { old: &old, new: &new })?;
                    self.schedule.fired(step);
                    if entry.reevaluate {
                        self.reevaluate(ledger, number, name)?;
                    }
                }
                Err(fault) => {
                    let (reason, skipped) = (growth::reason(&fault), entry.on_error == OnError::Skip);
                    ledger.operation(step, number, name, &OperationEvent::Error { reason: &reason, skipped })?;
                    if !skipped {
                        self.save(ledger, false)?;
                        return Err(fault.at(&entry.place));
                    }
                    self.schedule.fired(step);
                }
            }
        }
        Ok(())
    }

    /// Says which operations the run never came to.
    pub(super) fn tell_unfired(&self) {
        let left: Vec<&str> = self.schedule.left().iter().map(|entry| entry.name()).collect();
        if !left.is_empty() {
            tracing::warn!(operations = left.join(", "), "scheduled operations that did not fire");
        }
    }

    fn reevaluate(&mut self, ledger: &mut Ledger, number: usize, name: &str) -> Result<(), Fault> {
        let (evaluation, is_best) = self.evaluate(self.windows(), ledger)?;
        let event = OperationEvent::Reevaluation { val_loss: evaluation.loss };
        ledger.operation(self.progress.step, number, name, &event)?;
        if is_best && self.settings.run.checkpoint_every > 0 {
            self.save(ledger, true)?;
        }
        Ok(())
    }

    /// Carries one operation out; gives what it changed, before and after. On an error everything is as before.
    fn change(&mut self, entry: &Entry) -> Result<(String, String), Fault> {
        match &entry.action {
            Action::Hyper(op, value) => self.change_hyper(op, *value),
            Action::Network(operation) => self.change_network(operation),
        }
    }

    fn change_hyper(&mut self, op: &HyperOp, value: f64) -> Result<(String, String), Fault> {
        let rank = self.model.settings().lora_rank as f64;
        let next = op.apply(&self.progress.hyper, value, self.progress.step, &self.settings, rank);
        let next = next.map_err(|text| Fault::new("P032", Exit::Plugin, text))?;
        let before = std::mem::replace(&mut self.progress.hyper, next);
        self.model.set_lora_alpha(self.progress.hyper.lora_alpha);
        Ok((op.shown(&before), op.shown(&self.progress.hyper)))
    }

    fn change_network(&mut self, operation: &Operation) -> Result<(String, String), Fault> {
        let before = self.words();
        let plan = operation.plan(&network(&self.model))?;
        let applied = growth::apply(self.model.parameters_mut(), &plan)?;
        tracing::info!(operation = %operation.name(), "{applied}");
        Ok((before, self.words()))
    }

    /// The network in a few words.
    fn words(&self) -> String {
        let trained = self.model.parameters().iter().filter(|p| !p.frozen).map(|p| p.tensor.numel()).sum::<usize>();
        let (sizes, all) = (self.model.settings(), self.model.parameter_count());
        format!("{} layers, width {}, {all} parameters, {trained} trained", sizes.n_layer, sizes.n_embd)
    }
}
