//! Widens every feed-forward half by a factor; the network computes what it did.
//!
//! ```text
//! h' = round(factor·h);   unit j of h' copies unit g(j) = j mod h
//! W_in'[j] = W_in[g(j)],   b_in'[j] = b_in[g(j)],   W_out'[:, j] = share_j·W_out[:, g(j)],   Σ share_j over copies = 1
//! ```
//! Chen, Goodfellow and Shlens 2015, "Net2Net: Accelerating Learning via Knowledge Transfer", arXiv 1511.05641
//! (Net2WiderNet), with g in order instead of at random, and unequal shares instead of noise.

use sdk::*;

use crate::hidden_units;

/// The operation.
pub struct WidenMlp;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    factor: T,
}

impl ArchOp for WidenMlp {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { factor: knob(2.0, 1.0..=1024.0, "how many times as many hidden units; above 1") }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        hidden_units::plan(network, (h.factor * network.fact("mlp_width")?).round())
    }
}

register!(
    ArchOp WidenMlp, "widen-mlp",
    summary = "widens the feed-forward half of every block by a factor",
    paper = "arXiv 1511.05641"
);
