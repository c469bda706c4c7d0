//! A run before it goes: the network after each operation, its memory and its cost.
//! Carries nothing out.
//!
//! Cost per token, forward and backward, with M the elements of all matrices that a token is multiplied by (blocks,
//! adapters, and the head, also where it is tied), M' those of them that are trained, L blocks, T tokens of context and
//! width C: `4·M + 2·M' + 12·L·T·C`. Forward is 2·M and 4·L·T·C (scores and their use in attention, unmasked); the
//! gradient of the inputs costs the same again, the gradient of trained matrices 2·M', and attention twice its forward.
//! With everything trained it is 6·M + 12·L·T·C (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Below the lowest
//! trained block no gradient is needed, so for frozen blocks it is an upper bound.

use std::collections::BTreeSet;

use sdk::abi::{Network, ParameterInfo};
use serde_json::{Value, json};
use tch::Kind;

use super::{Prepared, Trainer, trainer::network};
use crate::{
    fault::Faults,
    growth::{Entry, LiveHyper},
    model,
    optim::narrow,
    registry::hyper::plain,
    rules::kernel::slot_kind,
    tensor::slots::slot_shape,
};

/// The run from one operation to the next.
pub struct Stage {
    /// The operation it begins with; the start of the run has none.
    pub operation: Option<String>,
    /// When that fires.
    pub when: String,
    /// Why it will be skipped, where it will.
    pub skipped: Option<String>,
    /// Blocks.
    pub layers: usize,
    /// Width of the network.
    pub width: usize,
    /// Widths of the feed-forward layers.
    pub mlp: BTreeSet<i64>,
    /// Ranks of the adapters.
    pub ranks: BTreeSet<i64>,
    /// Elements of all parameters; tied ones are one.
    pub parameters: u64,
    /// Of those, the trained ones.
    pub trained: u64,
    /// Bytes of parameters, gradients and optimizer state.
    pub bytes: [u64; 3],
    /// Floating-point operations per token, forward and backward.
    pub flops_per_token: u64,
    /// Tokens per step.
    pub tokens_per_step: u64,
    /// Learning rate of the main group before its schedule.
    pub lr: f64,
}

impl Trainer<'_> {
    /// What is still to come, from here on.
    ///
    /// # Errors
    /// What cannot be done, as at start; groups and state that do not fit a network on the way.
    pub fn forecast(&self) -> Result<Vec<Stage>, Faults> {
        let (here, live) = (network(&self.model), &self.progress.hyper);
        let takers = self.prepared.takers();
        let planned = self.schedule.rehearse(&here, live, self.settings, &|plan, network| takers.fit(plan, network))?;
        let stage = |network: &Network, live: &LiveHyper| stage(self.prepared, network, live);
        let mut stages = vec![stage(&here, live)?];
        let mut latest = Some(self.schedule.position().last_step);
        for (entry, planned) in self.schedule.left().iter().zip(planned) {
            latest = latest.zip(entry.trigger.wait).map(|(step, wait)| step + wait);
            stages.push(Stage {
                operation: Some(entry.to_string()),
                when: when(entry, latest),
                skipped: planned.skipped,
                ..stage(&planned.network, &planned.live)?
            });
        }
        Ok(stages)
    }
}

fn when(entry: &Entry, latest: Option<u64>) -> String {
    let loss = entry.trigger.loss.map(|loss| format!("val_loss < {}", plain(loss)));
    let wait = match (latest, entry.trigger.wait) {
        (Some(step), _) => Some(format!("after step {step}")),
        (None, Some(wait)) => Some(format!("{wait} steps later")),
        (None, None) => None,
    };
    match (loss, wait) {
        (Some(loss), Some(wait)) => format!("{loss}, else {wait}"),
        (one, other) => one.or(other).unwrap_or_default(),
    }
}

fn stage(prepared: &Prepared, network: &Network, live: &LiveHyper) -> Result<Stage, Faults> {
    let settings = &prepared.resolved.settings;
    let fact = |name: &str| network.fact(name).unwrap_or(0.0) as u64;
    let elements = |one: &&ParameterInfo| one.shape.iter().product::<i64>().unsigned_abs();
    let all = || network.parameters.iter();
    let (parameters, trained): (u64, u64) =
        (all().map(|p| elements(&p)).sum(), all().filter(|p| !p.frozen).map(|p| elements(&p)).sum());
    let ends = |end: &str, at: usize| -> BTreeSet<i64> {
        all().filter(|p| p.name.ends_with(end)).filter_map(|p| p.shape.get(at).copied()).collect()
    };
    // A of the token embedding's adapter is a table: a row of it is looked up.
    let is_matrix = |p: &&ParameterInfo| {
        ["matrix", "adapter", "head"].contains(&p.role.as_str()) && p.name != "transformer.wte.lora_A"
    };
    let tied = match all().any(|p| p.role == "head") {
        true => 0,
        false => fact("vocab_size") * fact("n_embd"),
    };
    let tied_trained = all().find(|p| p.role == "embedding").is_some_and(|p| !p.frozen);
    let matrices = tied + all().filter(is_matrix).map(|p| elements(&p)).sum::<u64>();
    let trained_matrices = if tied_trained { tied } else { 0 }
        + all().filter(is_matrix).filter(|p| !p.frozen).map(|p| elements(&p)).sum::<u64>();
    let layers = all().map(|p| p.layer + 1).max().unwrap_or(0).max(0) as u64;
    let attention = 12 * layers * fact("block_size") * fact("n_embd");
    let kind = model::kind(settings.format);
    let size = kind.elt_size_in_bytes() as u64;
    Ok(Stage {
        operation: None,
        when: String::new(),
        skipped: None,
        layers: layers as usize,
        width: fact("n_embd") as usize,
        mlp: ends(".mlp.c_fc.weight", 0),
        ranks: ends(".lora_B", 1),
        parameters,
        trained,
        bytes: [parameters * size, trained * size, state_bytes(prepared, network, kind)?],
        flops_per_token: 4 * matrices + 2 * trained_matrices + attention,
        tokens_per_step: live.batch_size * live.grad_accum * fact("block_size"),
        lr: live.lr(),
    })
}

/// Bytes of optimizer state of a network that is not there.
fn state_bytes(prepared: &Prepared, network: &Network, kind: Kind) -> Result<u64, Faults> {
    let (groups, parameters) = prepared.takers().outline(network)?;
    let mut bytes = 0;
    for group in &groups {
        for tensor in group.members.iter().map(|&member| &parameters[member].tensor) {
            let shape = tensor.size();
            let slots = group.loaded.slots_of(&group.hyper.values, &shape)?;
            let narrow = narrow::slots(group, tensor, &slots)?;
            for slot in &slots {
                let elements = slot_shape(slot, &shape).map_or(0, |shape| shape.iter().product::<i64>().unsigned_abs());
                bytes += elements * slot_kind(kind, narrow, slot.index as usize).elt_size_in_bytes() as u64;
            }
        }
    }
    Ok(bytes)
}

/// Columns of the table of stages.
pub const HEAD: [&str; 12] = [
    "operation",
    "fires",
    "layers",
    "width",
    "mlp",
    "rank",
    "parameters",
    "trained",
    "memory",
    "FLOPs/token",
    "tokens/step",
    "lr",
];

impl Stage {
    /// Its row under [`HEAD`].
    pub fn row(&self) -> Vec<String> {
        let list = |values: &BTreeSet<i64>| match values.is_empty() {
            true => "-".to_string(),
            false => values.iter().map(i64::to_string).collect::<Vec<_>>().join(", "),
        };
        let skipped = self.skipped.as_ref().map_or(String::new(), |reason| format!(" (skipped: {reason})"));
        vec![
            self.operation.clone().unwrap_or_else(|| "start".into()) + &skipped,
            self.when.clone(),
            self.layers.to_string(),
            self.width.to_string(),
            list(&self.mlp),
            list(&self.ranks),
            self.parameters.to_string(),
            self.trained.to_string(),
            format!("{:.1} MiB", self.bytes.iter().sum::<u64>() as f64 / f64::from(1 << 20)),
            self.flops_per_token.to_string(),
            self.tokens_per_step.to_string(),
            plain(self.lr),
        ]
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let [parameter_bytes, gradient_bytes, state_bytes] = self.bytes;
        json!({
            "operation": self.operation, "fires": self.when, "skipped": self.skipped, "layers": self.layers,
            "width": self.width, "mlp": self.mlp, "ranks": self.ranks, "parameters": self.parameters,
            "trained": self.trained, "parameter_bytes": parameter_bytes, "gradient_bytes": gradient_bytes,
            "state_bytes": state_bytes, "flops_per_token": self.flops_per_token,
            "tokens_per_step": self.tokens_per_step, "lr": self.lr,
        })
    }
}
