//! Larger adapters in attention: those there are, are merged into their weights, and new ones begin as nothing.
//!
//! ```text
//! divisor ← divisor / factor,  r ← ⌊n_embd / divisor⌋
//! W ← W + (α/r)·B·A            then A fresh, B = 0
//! ```
//! Hu et al. 2021, "LoRA", arXiv 2106.09685, for the adapter; Lialin et al. 2023, "ReLoRA", arXiv 2307.05695, for
//! merging it while training.

use sdk::*;

use crate::adapter::{Place, decrease_scaling, scaling::Hyper};

/// The operation.
pub struct DecreaseAttnLoraScaling;

impl ArchOp for DecreaseAttnLoraScaling {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        decrease_scaling(network, Place::Attention, h.factor)
    }
}

register!(
    ArchOp DecreaseAttnLoraScaling, "decrease-attn-lora-scaling",
    summary = "divides attention's LoRA divisor: merges the adapters, and begins larger ones",
    paper = "arXiv 2307.05695"
);
