//! Merges every adapter into its weight; each begins anew with the rank it had.
//!
//! ```text
//! W ← W + (α/r)·B·A        of linear layers
//! E ← E + (α/r)·A·Bᵀ       of the token embedding; a tied head keeps E as it was, as a weight of its own
//! A fresh, B = 0
//! ```
//! Hu et al. 2021, "LoRA", arXiv 2106.09685, for the adapter; Lialin et al. 2023, "ReLoRA", arXiv 2307.05695, for
//! merging it while training.

use sdk::*;

use crate::adapter::merge_all;

/// The operation.
pub struct MergeLoraWeights;

impl ArchOp for MergeLoraWeights {
    type Hyper<T: Copy> = Nothing<T>;

    fn hyper() -> Nothing<Knob> {
        Nothing::default()
    }

    fn plan(_: &Nothing<f64>, network: &Network) -> Result<NetworkPlan> {
        merge_all(network)
    }
}

register!(
    ArchOp MergeLoraWeights, "merge-lora-weights",
    summary = "merges all adapters into their weights, and begins them anew",
    paper = "arXiv 2307.05695"
);
