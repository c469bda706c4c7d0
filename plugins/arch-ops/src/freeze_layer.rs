//! Leaves all parameters of one block out of training; their values and everything else stay.
//!
//! ```text
//! frozen(p) ← true        for every parameter p of block `layer`
//! ```
//! Brock et al. 2017, "FreezeOut: Accelerate Training by Progressively Freezing Layers", arXiv 1706.04983: one step of
//! its schedule.

use sdk::*;

use crate::layer::{Hyper, with_frozen};

/// The operation.
pub struct FreezeLayer;

impl ArchOp for FreezeLayer {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper::schema()
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        with_frozen(h, network, true)
    }
}

register!(
    ArchOp FreezeLayer, "freeze-layer",
    summary = "leaves a block out of training",
    paper = "arXiv 1706.04983"
);
