//! ADOPT: Adam that normalizes with the second moment of before the step, and so converges with any β₂.
//!
//! ```text
//! first step:  v ← g², nothing else
//! n = clip(g / max(√v, eps), (t − 1)^clip_exp),   m ← β₁·m + (1 − β₁)·n
//! x ← x − lr·m,   v ← β₂·v + (1 − β₂)·g²
//! ```
//! Taniguchi et al. 2024, "ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate", arXiv 2411.02853,
//! Algorithm 2; as timm. Decay goes through the gradient, or is decoupled. pytorch_optimizer clips at t^clip_exp; the
//! default of clip_exp is 1/4 in the paper.

use sdk::*;

/// The rule.
pub struct Adopt;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    clip_exp: T,
    weight_decay: T,
    decoupled: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

impl Elementwise for Adopt {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.9999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-6, 0.0..=1.0, "smallest root"),
            clip_exp: knob(0.333, 0.0..=10.0, "growth of the clipping bound; 0 stands for no clipping"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            decoupled: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;

        let first = Scalar::from(1.5).gt(step.t);
        let bound = h.clip_exp.gt(0.0).select((step.t - 1.0).pow(h.clip_exp), f64::MAX);
        let lowest = -bound;
        let below = 1.0 - h.beta2;

        move |x, g, state| {
            let g = if h.decoupled.is_on() { g } else { g + h.weight_decay * x };
            let normed = (g / state.exp_avg_sq.sqrt().max(h.eps)).max(lowest).min(bound);
            let average = h.beta1 * state.exp_avg + (1.0 - h.beta1) * normed;
            let decayed = if h.decoupled.is_on() { x * keep } else { x };
            state.exp_avg = first.choose(state.exp_avg, average);
            state.exp_avg_sq = first.choose(g * g, h.beta2 * state.exp_avg_sq + below * (g * g));
            first.choose(x, decayed - h.lr * average)
        }
    }
}

register!(
    Elementwise Adopt, "adopt",
    summary = "Adam with the second moment of before the step",
    paper = "arXiv 2411.02853",
    declares = ["sign symmetric", "gradient scale invariant"]
);
