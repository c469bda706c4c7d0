//! Widens every feed-forward half to so many hidden units; the network computes what it did.
//!
//! ```text
//! as widen-mlp, with h' = width
//! ```
//! Chen, Goodfellow and Shlens 2015, "Net2Net: Accelerating Learning via Knowledge Transfer", arXiv 1511.05641.

use sdk::*;

use crate::hidden_units;

/// The operation.
pub struct SetMlpWidth;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    width: T,
}

impl ArchOp for SetMlpWidth {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { width: knob(1024.0, 1.0..=1048576.0, "hidden units of every feed-forward half; more than there are") }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        hidden_units::plan(network, h.width)
    }
}

register!(
    ArchOp SetMlpWidth, "set-mlp-width",
    summary = "widens the feed-forward half of every block to so many hidden units",
    paper = "arXiv 1511.05641"
);
