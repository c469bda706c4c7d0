//! Takes all parameters of one block back into training; each goes on with its own step count and state.
//!
//! ```text
//! frozen(p) ← false        for every parameter p of block `layer`
//! ```
//! The reverse of `freeze-layer`; block by block from the top it is the gradual unfreezing of Howard and Ruder 2018,
//! "Universal Language Model Fine-tuning for Text Classification", arXiv 1801.06146.

use sdk::*;

use crate::layer::{Hyper, with_frozen};

/// The operation.
pub struct UnfreezeLayer;

impl ArchOp for UnfreezeLayer {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        with_frozen(h, network, false)
    }
}

register!(
    ArchOp UnfreezeLayer, "unfreeze-layer",
    summary = "takes a block back into training",
    paper = "arXiv 1801.06146"
);
