//! Muon with cautious weight decay: a parameter decays only where its update agrees with it in sign.
//!
//! ```text
//! O, r as muon,   M = 1[O⊙x ≥ 0]
//! x ← x − lr·weight_decay·M⊙x − lr·r·O
//! ```
//! Chen et al. 2025, "Cautious Weight Decay", arXiv 2510.12402, Algorithm 1, on the Muon of `torch.optim`; as dion's
//! `cautious_wd`. The mask is that of the parameter before the step. Others take `>`, or compare sign bits, which
//! differs at exact zeros alone. Not the same as the cautious optimizers, whose mask is on the update.

use sdk::*;

use crate::muon::{self, Hyper, Muon, State};

/// The rule. Its hyper-parameters and its state are Muon's.
pub struct MuonCwd;

impl Optimizer for MuonCwd {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Muon::hyper()
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        Muon::state(h)
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        muon::accepts("muon-cwd", shape)
    }

    fn update<'t>(
        h: &Hyper<f64>,
        _: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let step = muon::direction(h, g, state)?;
        let agrees = step.mul(x)?.ge(x.mul_scalar(0.0)?)?;
        let decayed = x.add_scaled(agrees.mul(x)?, -h.lr * h.weight_decay)?;
        decayed.add_scaled(step, -h.lr)
    }
}

register!(
    Optimizer MuonCwd, "muon-cwd",
    summary = "Muon whose decay spares what the update pulls back; for weight matrices",
    paper = "arXiv 2510.12402",
    declares = ["sign symmetric", "gradient scale invariant"]
);
