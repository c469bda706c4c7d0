//! What a run carries from step to step besides tensors; kept in every checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lineage::Lineage;
use crate::{
    fault::{Exit, Fault},
    growth,
    metrics::digits::{bits, from_bits},
    model::Architecture,
};

/// How far a run has come, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Steps taken by each parameter.
    pub counts: BTreeMap<String, u64>,
    /// Skips in a row of each parameter whose gradient was not finite.
    pub skipped_in_a_row: BTreeMap<String, u32>,
    /// Where the schedule of operations stands.
    pub schedule: growth::Position,
    /// All numbers of the architecture, where operations have changed any since the run began; else none.
    pub architecture: BTreeMap<String, f64>,
    /// Hyper-parameters that operations have changed or may change.
    pub hyper: growth::LiveHyper,
    /// Bits of the loss of the evaluation after this very step, where there was one: operations may wait for it.
    pub val_loss_bits: Option<String>,
    /// Parameters left out of training.
    pub frozen: Vec<String>,
    /// The lowest validation loss so far; evaluations before the first step do not count.
    pub best: Option<Best>,
    /// Hash over (step, loss bits, gradient-norm bits) of every step so far.
    pub trajectory: String,
    /// What the run is made of besides its settings.
    pub lineage: Lineage,
    /// The characters of the vocabulary in the order of their tokens; none where tokens are bytes.
    pub vocabulary: Option<String>,
}

/// An evaluation better than all before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Bits of the validation loss in nats per token.
    pub val_loss_bits: String,
}

impl Best {
    /// A new best.
    pub fn new(step: u64, val_loss: f64) -> Best {
        Best { step, val_loss_bits: bits(val_loss) }
    }

    /// Nats per token.
    pub fn val_loss(&self) -> f64 {
        from_bits(&self.val_loss_bits).unwrap_or(f64::INFINITY)
    }
}

impl Progress {
    /// The loss of the evaluation after this very step, in nats per token, where there was one.
    pub fn val_loss(&self) -> Option<f64> {
        self.val_loss_bits.as_deref().and_then(from_bits)
    }

    /// As kept in `state.json`.
    pub fn to_state(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("a struct of plain values is a JSON object: {other:?}"),
        }
    }

    /// The architecture of the checkpoint, of a run that began with `begun`.
    ///
    /// # Errors
    /// `D120` where it is not what this program wrote.
    pub fn architecture(&self, begun: &Architecture) -> Result<Architecture, Fault> {
        let facts = self.architecture.iter().map(|(name, value)| (name.as_str(), *value));
        begun.with(facts).map_err(|what| not_understood(format!("the architecture has {what}")))
    }

    /// From `state.json`.
    ///
    /// # Errors
    /// `D120` where it is not what this program wrote.
    pub fn from_state(state: Map<String, Value>) -> Result<Progress, Fault> {
        serde_json::from_value(Value::Object(state)).map_err(|error| not_understood(error.to_string()))
    }
}

fn not_understood(reason: String) -> Fault {
    Fault::new("D120", Exit::Data, "the state of the checkpoint is not understood")
        .note("reason", reason)
        .hint("it was written by another version; resume with that one, or start another run")
}
