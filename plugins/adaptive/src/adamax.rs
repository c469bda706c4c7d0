//! AdaMax: Adam with the infinity norm in place of the second moment.
//!
//! ```text
//! g ← g + weight_decay·x
//! m ← β₁·m + (1 − β₁)·g,   u ← max(β₂·u, |g| + eps)
//! x ← x − lr/(1 − β₁ᵗ) · m/u
//! ```
//! Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 2, which has no eps; as
//! `torch.optim.Adamax`, where eps is inside the maximum. u is above 0 whenever eps is.

use sdk::*;

/// The rule.
pub struct Adamax;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
}

/// Its state: m, u.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_inf: T,
}

impl Elementwise for Adamax {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(2e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the largest gradient"),
            eps: knob(1e-8, 1e-30..=1.0, "added to the size of the gradient"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_inf: Slot::zeros().degree(1).decay(h.beta2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        move |x, g, state| {
            let g = g + h.weight_decay * x;

            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_inf = (h.beta2 * state.exp_inf).max(g.abs() + h.eps);
            x - step_size * (state.exp_avg / state.exp_inf)
        }
    }
}

register!(
    Elementwise Adamax, "adamax",
    summary = "Adam with the largest gradient in place of the second moment",
    paper = "arXiv 1412.6980",
    declares = ["sign symmetric", "gradient scale invariant"]
);
