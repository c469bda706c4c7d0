//! Adapters of a given rank in attention: those there are, are merged; rank 0 leaves none and trains the weights again.
//!
//! ```text
//! W ← W + (α/r)·B·A        then r ← rank, A fresh, B = 0
//! ```
//! Hu et al. 2021, "LoRA", arXiv 2106.09685, for the adapter; Lialin et al. 2023, "ReLoRA", arXiv 2307.05695, for
//! merging it while training.

use sdk::*;

use crate::adapter::{Place, rank::Hyper, set_rank};

/// The operation.
pub struct SetAttnLoraRank;

impl ArchOp for SetAttnLoraRank {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        set_rank(network, Place::Attention, h.rank)
    }
}

register!(
    ArchOp SetAttnLoraRank, "set-attn-lora-rank",
    summary = "merges attention's adapters, and begins new ones of this rank",
    paper = "arXiv 2307.05695"
);
