//! NAdamW: AdamW that looks ahead along its momentum.
//!
//! ```text
//! x ← x·(1 − lr·weight_decay)
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! x ← x − lr/(1 − β₁ᵗ) · (β₁·m + (1 − β₁)·g) / (√v/√(1 − β₂ᵗ) + eps)
//! ```
//! As `NAdamW` of timm, which took it from the AlgoPerf benchmark: Dahl et al. 2023, "Benchmarking Neural Network Training
//! Algorithms", arXiv 2306.07179. `torch.optim.NAdam` has a schedule of the momentum besides, and corrects the two terms
//! apart.

use sdk::*;

/// The rule.
pub struct NAdamW;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

impl Elementwise for NAdamW {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();

        move |x, g, state| {
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let ahead = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            x * keep - step_size * (ahead / (state.exp_avg_sq.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Elementwise NAdamW, "nadamw",
    summary = "AdamW that looks ahead along its momentum",
    paper = "arXiv 2306.07179",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
