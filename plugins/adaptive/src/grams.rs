//! Grams: the length of Adam's step, the direction of the gradient.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! u = |m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + eps)| · sign(g)
//! x ← x·(1 − lr·weight_decay) − lr·u
//! ```
//! Cao, Li and Liang 2024, "Gradient Descent with Adaptive Momentum Scaling", arXiv 2412.17107, Algorithm 1; as
//! pytorch_optimizer. Coupled decay there is added to the gradient after its last use, and so does nothing; here it goes
//! through the gradient.

use sdk::*;

/// The rule.
pub struct Grams;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    weight_decay: T,
    weight_decouple: T,
    eps: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

impl Elementwise for Grams {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            weight_decouple: flag(true, "decay the parameter, not the gradient"),
            eps: knob(1e-6, 0.0..=1.0, "added to the root"),
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
            let (x, g) = if h.weight_decouple.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let length = (state.exp_avg / (state.exp_avg_sq.sqrt() / correction2 + h.eps)).abs();
            x - step_size * (length * g.sign())
        }
    }
}

register!(
    Elementwise Grams, "grams",
    summary = "Adam's step length in the gradient's direction",
    paper = "arXiv 2412.17107",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
