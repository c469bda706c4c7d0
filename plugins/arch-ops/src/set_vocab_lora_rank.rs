//! An adapter of a given rank for the token embedding: the one there is, is merged; rank 0 leaves none.
//!
//! ```text
//! E ← E + (α/r)·A·Bᵀ       then r ← rank, A fresh, B = 0; a tied head keeps E as it was, as a weight of its own
//! ```
//! Hu et al. 2021, "LoRA", arXiv 2106.09685, for the adapter; Lialin et al. 2023, "ReLoRA", arXiv 2307.05695, for
//! merging it while training.

use sdk::*;

use crate::adapter::{Place, rank::Hyper, set_rank};

/// The operation.
pub struct SetVocabLoraRank;

impl ArchOp for SetVocabLoraRank {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        set_rank(network, Place::Vocabulary, h.rank)
    }
}

register!(
    ArchOp SetVocabLoraRank, "set-vocab-lora-rank",
    summary = "merges the embedding's adapter, and begins a new one of this rank",
    paper = "arXiv 2307.05695"
);
