//! Adam: bias-corrected first over the root of the second moment; decay goes through the gradient.
//!
//! ```text
//! g ← g + weight_decay·x
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! x ← x − lr/(1 − β₁ᵗ) · m / (√v̄/√(1 − β₂ᵗ) + eps),   v̄ = v, or with amsgrad the largest v so far
//! ```
//! Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 1; amsgrad: Reddi et al.
//! 2018, arXiv 1904.09237. As `torch.optim.Adam`; eps is outside the root and after bias correction everywhere but in
//! TensorFlow, which adds it before.

use sdk::*;

/// The rule.
pub struct Adam;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    amsgrad: T,
}

/// Its state: m, v, the largest v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    max_exp_avg_sq: T,
}

impl Elementwise for Adam {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
            amsgrad: flag(false, "divide by the largest second moment so far"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2),
            max_exp_avg_sq: Slot::zeros().degree(2).only_if(h.amsgrad),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();

        move |x, g, state| {
            let g = g + h.weight_decay * x;
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let mut second = state.exp_avg_sq;
            if h.amsgrad.is_on() {
                state.max_exp_avg_sq = state.max_exp_avg_sq.max(second);
                second = state.max_exp_avg_sq;
            }
            x - step_size * (state.exp_avg / (second.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Elementwise Adam, "adam",
    summary = "adaptive moments, with decay in the gradient",
    paper = "arXiv 1412.6980",
    declares = ["sign symmetric", "gradient scale invariant"]
);
