//! Checkpoints: all that a run needs to go on as if it had never stopped, whole or not there at all.
//! Does not decide when one is due, nor what its state means.
//!
//! ```text
//! checkpoints/step-00001234/model.safetensors       parameters by name
//! checkpoints/step-00001234/optimizer.safetensors   optimizer state by `parameter/slot`
//! checkpoints/step-00001234/state.json              counters of the training loop
//! checkpoints/step-00001234/hash                    SHA-256 of the three files, and of the parameters
//! checkpoints/latest                                the folder to go on from
//! checkpoints/best                                  the folder with the lowest validation loss
//! ```

pub mod hash;
pub mod load;
pub mod pointer;
pub mod retention;
pub mod save;

pub use hash::parameter_hash;
pub use load::{find, find_latest, load, run_of};
pub use pointer::{best, go_on_from, latest};
pub use save::{Announce, Keep, Saved, save, serialized};

use tch::Tensor;

pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
pub(crate) const STATE: &str = "state.json";
pub(crate) const HASH: &str = "hash";

/// All that a run needs to go on. Tensors of a loaded one are on the CPU, sorted by name.
#[derive(Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Parameters by name.
    pub model: Vec<(String, Tensor)>,
    /// Optimizer state, named `parameter/slot`.
    pub optimizer: Vec<(String, Tensor)>,
    /// Whatever else the training loop counts.
    pub state: serde_json::Map<String, serde_json::Value>,
}

/// `step-00001234`.
pub(crate) fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a checkpoint's folder, if it is one.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests;
