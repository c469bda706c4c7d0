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
    growth::{self, Action, Applied, Entry, HyperOp, Operation},
    model::{Ranks, Role},
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
        /// What became of the parameters and their state, where it changed the network.
        applied: Option<&'a Applied>,
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
            OperationEvent::Success { old, new, applied } => {
                let parameters = applied.map(|applied| ("parameters", applied.json()));
                [("old", old.into()), ("new", new.into())].into_iter().chain(parameters).collect()
            }
            OperationEvent::Error { reason, skipped } => vec![("reason", reason.into()), ("skipped", skipped.into())],
            OperationEvent::Reevaluation { val_loss } => vec![("val_loss", json!(val_loss))],
        }
    }
}

impl Trainer<'_> {
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
                Ok(Changed { old, new, applied }) => {
                    let event = OperationEvent::Success { old: &old, new: &new, applied: applied.as_ref() };
                    ledger.operation(step, number, name, &event)?;
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

    /// Carries one operation out. On an error everything is as before.
    fn change(&mut self, entry: &Entry) -> Result<Changed, Fault> {
        match &entry.action {
            Action::Hyper(op, value) => self.change_hyper(op, *value),
            Action::Network(operation) => self.change_network(operation),
        }
    }

    fn change_hyper(&mut self, op: &HyperOp, value: f64) -> Result<Changed, Fault> {
        let has_adapters = self.model.parameters().iter().any(|one| one.role == Role::Adapter);
        let next = op.apply(&self.progress.hyper, value, self.progress.step, self.settings, has_adapters);
        let next = next.map_err(|text| Fault::new("P032", Exit::Plugin, text))?;
        self.model.set_lora_alpha(next.lora_alpha)?;
        let before = std::mem::replace(&mut self.progress.hyper, next);
        Ok(Changed { old: op.shown(&before), new: op.shown(&self.progress.hyper), applied: None })
    }

    fn change_network(&mut self, operation: &Operation) -> Result<Changed, Fault> {
        let old = self.words();
        let was_tied = self.model.settings().tie_head;
        let plan = operation.plan(&network(&self.model))?;
        let applied = self.grow(&plan)?;
        if was_tied && !self.model.settings().tie_head {
            let name = operation.name();
            tracing::info!("{name}: the head has a weight of its own from here on: it reads the old token embedding");
        }
        Ok(Changed { old, new: self.words(), applied: Some(applied) })
    }

    /// The network in a few words.
    fn words(&self) -> String {
        let trained = self.model.parameters().iter().filter(|p| !p.frozen).map(|p| p.tensor.numel()).sum::<usize>();
        let (sizes, all) = (self.model.settings(), self.model.parameter_count());
        let Ranks { attn, mlp, vocab } = Ranks::of(sizes);
        let ranks = [("attention", attn), ("mlp", mlp), ("vocabulary", vocab)];
        let adapters = ranks.iter().filter(|(_, rank)| *rank > 0).map(|(name, rank)| format!(", {name} rank {rank}"));
        format!(
            "{} layers, width {}, mlp {}, vocabulary {}{}, {all} parameters, {trained} trained",
            sizes.n_layer,
            sizes.n_embd,
            sizes.hidden_units(),
            self.model.vocab_size(),
            adapters.collect::<String>(),
        )
    }
}

/// What an operation changed, before and after.
struct Changed {
    old: String,
    new: String,
    applied: Option<Applied>,
}
