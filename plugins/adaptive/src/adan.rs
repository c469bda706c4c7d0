//! Adan: Nesterov momentum through the average change of the gradient.
//!
//! ```text
//! d = g − g₋₁   (first step: 0)
//! m ← β₁·m + (1 − β₁)·g,   n ← β₂·n + (1 − β₂)·d,   v ← β₃·v + (1 − β₃)·(g + β₂·d)²
//! u = (m/(1 − β₁ᵗ) + β₂·n/(1 − β₂ᵗ)) / (√v/√(1 − β₃ᵗ) + eps)
//! x ← (x − lr·u)/(1 + lr·weight_decay)   or   x·(1 − lr·weight_decay) − lr·u   (no_prox)
//! ```
//! Xie et al. 2022, "Adan: Adaptive Nesterov Momentum Algorithm", arXiv 2208.06677, Algorithm 1, with the betas as factors
//! of the old value, as in the authors' code and timm. adan-pytorch leaves the first gradient out.

use sdk::*;

/// The rule.
pub struct Adan;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    beta3: T,
    eps: T,
    weight_decay: T,
    no_prox: T,
}

/// Its state: m, v, n, g₋₁.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    exp_avg_diff: T,
    pre_grad: T,
}

impl Elementwise for Adan {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.98, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.92, 0.0..=1.0, "decay of the average change"),
            beta3: knob(0.99, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            no_prox: flag(false, "decay before the step, as AdamW"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta3),
            exp_avg_diff: Slot::zeros().degree(1).decay(h.beta2),
            pre_grad: Slot::zeros().degree(1).decay(0.0),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let first = Scalar::from(1.5).gt(step.t);
        let (decay, keep) = (1.0 / (1.0 + h.lr * h.weight_decay), 1.0 - h.lr * h.weight_decay);
        let of_average = h.lr / (1.0 - h.beta1.pow(step.t));
        let of_change = h.lr * h.beta2 / (1.0 - h.beta2.pow(step.t));
        let correction3 = (1.0 - h.beta3.pow(step.t)).sqrt();

        move |x, g, state| {
            let change = first.choose(0.0, g - state.pre_grad);
            state.pre_grad = g;
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_diff = h.beta2 * state.exp_avg_diff + (1.0 - h.beta2) * change;
            let ahead = h.beta2 * change + g;
            state.exp_avg_sq = h.beta3 * state.exp_avg_sq + (1.0 - h.beta3) * (ahead * ahead);
            let denominator = state.exp_avg_sq.sqrt() / correction3 + h.eps;
            let step = (of_average * state.exp_avg + of_change * state.exp_avg_diff) / denominator;
            if h.no_prox.is_on() { x * keep - step } else { (x - step) * decay }
        }
    }
}

register!(
    Elementwise Adan, "adan",
    summary = "Nesterov momentum through the change of the gradient",
    paper = "arXiv 2208.06677",
    declares = ["sign symmetric", "gradient scale invariant"]
);
