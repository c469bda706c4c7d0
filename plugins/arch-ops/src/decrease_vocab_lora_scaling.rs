//! A larger adapter of the token embedding: the one there is, is merged, and a new one begins as nothing.
//!
//! ```text
//! divisor ← divisor / factor,  r ← ⌊n_embd / divisor⌋
//! E ← E + (α/r)·A·Bᵀ           then A fresh, B = 0; a tied head keeps E as it was, as a weight of its own
//! ```
//! Hu et al. 2021, "LoRA", arXiv 2106.09685, for the adapter; Lialin et al. 2023, "ReLoRA", arXiv 2307.05695, for
//! merging it while training.

use sdk::*;

use crate::adapter::{Place, decrease_scaling, scaling::Hyper};

/// The operation.
pub struct DecreaseVocabLoraScaling;

impl ArchOp for DecreaseVocabLoraScaling {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        decrease_scaling(network, Place::Vocabulary, h.factor)
    }
}

register!(
    ArchOp DecreaseVocabLoraScaling, "decrease-vocab-lora-scaling",
    summary = "divides the embedding's LoRA divisor: merges the adapter, and begins a larger one",
    paper = "arXiv 2307.05695"
);
